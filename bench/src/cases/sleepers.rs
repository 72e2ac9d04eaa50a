//! `sleepers`: what runs cost that are asleep, how fast they are put to sleep, and how they wake.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::proto::bench::v1::SleeperRequest;
use anyhow::ensure;
use engine::Workflow as _;
use tokio::time::sleep;

use crate::How;
use crate::echo::{micros, now, span};
use crate::load::{Until, start_each, until_over};
use crate::process::{Echo, Options, Orchestrator, temporary};
use crate::report::{Figure, Report};
use crate::sample::{bytes, count, median};
use crate::workflows::Sleeper;

/// Starts in flight at the same time.
const AT_ONCE: usize = 256;

/// Runs that wake in each second of the wave,
const WAVE_PER_SECOND: usize = 1_000;
/// of which one for ten of those that stay asleep.
const WAVE_SHARE: usize = 10;
/// Time from the start of the wave to its first wake-up: longer than a run stays in memory.
const WAVE_IN: Duration = Duration::from_secs(7);

/// What all that comes before the others wake may take, and how much more for each of them.
const LEAD: Duration = Duration::from_secs(12);
const LEAD_FOR_EACH: Duration = Duration::from_micros(500);

/// All others wake within this time.
const DUE_WITHIN: Duration = Duration::from_secs(1);

const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) async fn measure(sleepers: usize, how: &How, report: &mut Report) -> anyhow::Result<()> {
    let mut rounds = Vec::new();
    for _ in 0..how.rounds {
        rounds.push(round(sleepers, how).await?);
    }
    let of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
    let mut add = |name: String, value: fn(&Round) -> f64, unit: &'static str, goal: Goal| {
        let figure = Figure::new("sleepers", name, of(value), unit);
        report.add(match goal {
            Goal::AtLeast(goal) => figure.at_least(goal),
            Goal::AtMost(goal) => figure.at_most(goal),
            Goal::None => figure,
        });
    };
    add(format!("starts, {AT_ONCE} at once"), |round| round.starts, "runs/s", Goal::AtLeast(15_000.0));
    add("resident memory for each".into(), |round| round.resident, "bytes", Goal::AtMost(300.0));
    add("disk for each".into(), |round| round.disk, "bytes", Goal::AtMost(1_000.0));
    add("share of a core, all asleep".into(), |round| round.busy, "%", Goal::AtMost(1.0));
    let wave = format!("{WAVE_PER_SECOND} a second wake: ");
    add(format!("{wave}late, p50"), |round| round.late_p50, "ms", Goal::None);
    add(format!("{wave}late, p99"), |round| round.late_p99, "ms", Goal::AtMost(100.0));
    let cold = format!("{sleepers} due when started: ");
    add(format!("{cold}first call"), |round| round.cold_first, "s", Goal::None);
    add(format!("{cold}last call"), |round| round.cold_last, "s", Goal::AtMost(10.0));
    add(format!("{cold}all over"), |round| round.cold_over, "s", Goal::None);
    add(format!("{cold}peak memory"), |round| round.cold_peak, "MB", Goal::None);
    Ok(())
}

enum Goal {
    AtLeast(f64),
    AtMost(f64),
    None,
}

/// The result of one round, each figure in the unit in which it is reported.
struct Round {
    starts: f64,
    resident: f64,
    disk: f64,
    busy: f64,
    late_p50: f64,
    late_p99: f64,
    cold_first: f64,
    cold_last: f64,
    cold_over: f64,
    cold_peak: f64,
}

async fn round(sleepers: usize, how: &How) -> anyhow::Result<Round> {
    let echo = Echo::start(Duration::ZERO)?;
    let options = Options { folder: how.folder.clone(), ..Options::default() };
    let folder = Arc::new(temporary(options.folder.as_deref())?);
    let orchestrator = Orchestrator::start_over(&echo, &options, Arc::clone(&folder)).await?;
    let wave = sleepers / WAVE_SHARE;

    // What any load leaves behind in caches is no cost of those that sleep.
    start_each(&orchestrator, Sleeper::NAME, AT_ONCE, 0..wave, Until::Succeeded, |number| SleeperRequest {
        name: format!("warm/{number}"),
        due_micros: 0,
    })
    .await?;
    let (resident_before, disk_before) = (orchestrator.usage()?.resident_bytes, orchestrator.database_bytes()?);

    // After everything else that is measured here, also on a machine that is far too slow.
    let due = now() + micros(LEAD + how.window() + LEAD_FOR_EACH * u32::try_from(sleepers)?);
    let spread = micros(DUE_WITHIN) / i64::try_from(sleepers.max(1))?;
    let took = start_each(&orchestrator, Sleeper::NAME, AT_ONCE, 0..sleepers, Until::Accepted, move |number| {
        let after = spread * i64::try_from(number).unwrap_or(0);
        SleeperRequest { name: number.to_string(), due_micros: due + after }
    })
    .await?;
    sleep(Duration::from_secs(1)).await;
    let before = orchestrator.usage()?;
    sleep(how.window()).await;
    let after = orchestrator.usage()?;
    let busy = (after.cpu - before.cpu).as_secs_f64() / how.window().as_secs_f64() * 100.0;
    let resident = (bytes(after.resident_bytes) - bytes(resident_before)) / count(sleepers);
    let disk = bytes(orchestrator.database_bytes()? - disk_before) / count(sleepers);

    let first = now() + micros(WAVE_IN);
    let every = 1_000_000 / i64::try_from(WAVE_PER_SECOND)?;
    start_each(&orchestrator, Sleeper::NAME, AT_ONCE, 0..wave, Until::Accepted, move |number| SleeperRequest {
        name: format!("wave/{number}"),
        due_micros: first + every * i64::try_from(number).unwrap_or(0),
    })
    .await?;
    ensure!(now() < first, "the wave took too long to start");
    let last = first + every * i64::try_from(wave)?;
    sleep(span(now(), last) + Duration::from_secs(1)).await;
    let late = echo.account(first).await?;
    ensure!(late.calls == wave as u64, "{} of the {wave} runs of the wave woke", late.calls);
    ensure!(now() < due, "the machine is too slow for this number of sleepers");

    orchestrator.stop().await?;
    sleep(span(now(), due + micros(DUE_WITHIN))).await;
    let orchestrator = Orchestrator::start_over(&echo, &options, folder).await?;
    let (started, begun) = (orchestrator.started_micros, Instant::now() - orchestrator.ready_in);
    let over = until_over(&orchestrator, Sleeper::NAME, PATIENCE).await?;
    let account = echo.account(started).await?;
    ensure!(account.calls == sleepers as u64, "{} of {sleepers} runs woke", account.calls);
    let peak = bytes(orchestrator.usage()?.peak_bytes) / 1e6;
    orchestrator.stop().await?;
    Ok(Round {
        starts: count(sleepers) / took.as_secs_f64(),
        resident,
        disk,
        busy,
        late_p50: span(0, late.late_p50_micros).as_secs_f64() * 1e3,
        late_p99: span(0, late.late_p99_micros).as_secs_f64() * 1e3,
        cold_first: span(started, account.first_micros).as_secs_f64(),
        cold_last: span(started, account.last_micros).as_secs_f64(),
        cold_over: (over - begun).as_secs_f64(),
        cold_peak: peak,
    })
}
