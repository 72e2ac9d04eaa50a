//! `chain` and `reads`: whole runs over the admin API, compared with the calls and commits that they consist of.

use crate::How;
use crate::limits::{raw_calls, raw_commits};
use crate::load::{STEPS, keep_in_flight, make};
use crate::process::{Echo, Options, Orchestrator, can_count_syncs};
use crate::report::{Figure, Report};
use crate::sample::{Sample, count};

const MEGABYTE: f64 = 1e6;

/// Runs whose waits for the disk are counted.
const COUNTED_RUNS: usize = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    Chain,
    Reads,
}

impl Case {
    fn name(self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::Reads => "reads",
        }
    }

    pub(crate) fn workflow(self) -> &'static str {
        match self {
            Self::Chain => "bench.chain",
            Self::Reads => "bench.reads",
        }
    }

    /// Commits of a run that somebody waits for: a chain's start, the start of each step and the end, as semantics.md
    /// E1 counts them at most; of reads only start and end.
    fn commits(self) -> f64 {
        match self {
            Self::Chain => f64::from(STEPS) + 2.0,
            Self::Reads => 2.0,
        }
    }

    /// Commits of a run that were answered: the first start of a chain rides in the commit that creates the run.
    fn acknowledgements(self) -> f64 {
        match self {
            Self::Chain => f64::from(STEPS) + 1.0,
            Self::Reads => 2.0,
        }
    }
}

pub(crate) async fn measure(case: Case, how: &How, report: &mut Report) -> anyhow::Result<()> {
    let echo = Echo::start(std::time::Duration::ZERO)?;
    let options = Options { folder: how.folder.clone(), ..Options::default() };
    let calls_of_a_run = f64::from(STEPS) + 1.0;
    for &in_flight in how.in_flight() {
        let (mut runs, mut calls, mut commits) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..how.rounds {
            calls.push(raw_calls(&echo.address, in_flight, how.window() / 2).await?);
            commits.push(raw_commits(how.folder.as_deref(), 1, how.window() / 4).await?);
            let orchestrator = Orchestrator::start(&echo, &options).await?;
            runs.push(keep_in_flight(&orchestrator, case.workflow(), in_flight, how.window()).await?);
            orchestrator.stop().await?;
        }
        let (run, call, commit) = (Sample::median(&runs), Sample::median(&calls), Sample::median(&commits));

        let name = format!("{}/{in_flight}", case.name());
        let goes_for_rate = case == Case::Chain && in_flight == 256;
        let rate = Figure::new(&name, "calls", run.per_second * calls_of_a_run, "calls/s").beside(call.per_second);
        report.add(Figure::new(&name, "runs", run.per_second, "runs/s"));
        report.add(Figure::new(&name, "steps", run.per_second * f64::from(STEPS), "steps/s"));
        report.add(if goes_for_rate { rate.at_least(0.5) } else { rate });
        let least = calls_of_a_run * call.p50 + case.commits() * commit.p50;
        let p50 = Figure::new(&name, "run p50", run.p50, "us");
        report.add(if in_flight == 1 { p50.beside(least).at_most(2.0) } else { p50 });
        report.add(Figure::new(&name, "run p99", run.p99, "us"));
        let cpu = Figure::new(&name, "CPU for 1,000 steps", run.cpu * 1_000.0 / f64::from(STEPS), "s");
        report.add(if case == Case::Chain { cpu.at_most(0.06) } else { cpu });
        report.add(Figure::new(&name, "resident memory", run.resident_bytes / MEGABYTE, "MB"));
    }
    if can_count_syncs() {
        for &in_flight in how.in_flight() {
            report.add(syncs(case, in_flight, how, &echo).await?);
        }
    }
    Ok(())
}

/// Calls of `fsync` and `fdatasync` for each durable answer, counted by `strace` in runs of their own.
async fn syncs(case: Case, in_flight: usize, how: &How, echo: &Echo) -> anyhow::Result<Figure> {
    let options = Options { folder: how.folder.clone(), count_syncs: true, ..Options::default() };
    let idle = Orchestrator::start(echo, &options).await?.stop().await?.unwrap_or_default();
    let orchestrator = Orchestrator::start(echo, &options).await?;
    let each = COUNTED_RUNS.div_ceil(in_flight).max(2);
    make(&orchestrator, case.workflow(), in_flight, each).await?;
    let syncs = orchestrator.stop().await?.unwrap_or_default().saturating_sub(idle);
    let answers = count(each * in_flight) * case.acknowledgements();
    let name = format!("{}/{in_flight}", case.name());
    Ok(Figure::new(name, "fsyncs for each durable answer", crate::sample::bytes(syncs) / answers, ""))
}
