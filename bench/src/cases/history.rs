//! `history`: what many ended runs cost those that have not ended, and searches.

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::time::Timestamp;
use server::proto::orchestrator::admin::v1::run_service_client::RunServiceClient;
use server::proto::orchestrator::admin::v1::{ListRunsRequest, RunState};
use transport::channel::connect;

use crate::How;
use crate::cases::runs::Case;
use crate::echo::{micros, now};
use crate::filled::{fill, id};
use crate::load::keep_in_flight;
use crate::process::{Echo, Options, Orchestrator, STORE, temporary};
use crate::report::{Figure, Report};
use crate::sample::{Sample, count, median};

const IN_FLIGHT: usize = 256;

/// All that is in the store at first is older than this.
const PURGE: &str = "retention.succeeded=24h";

/// Pages that are asked for in each way.
const PAGES: usize = 200;

pub(crate) async fn measure(ended_runs: usize, how: &How, report: &mut Report) -> anyhow::Result<()> {
    let echo = Echo::start(Duration::ZERO)?;
    let options = Options { folder: how.folder.clone(), ..Options::default() };
    let purging = Options { set: vec![PURGE.to_owned()], ..options.clone() };
    let filled = Arc::new(temporary(options.folder.as_deref())?);
    fill(&filled.path().join(STORE), ended_runs).await?;

    let (mut without, mut with, mut while_purged) = (Vec::new(), Vec::new(), Vec::new());
    let (mut pages_without, mut pages_with, mut purged) = (Vec::new(), Vec::new(), Vec::new());
    // One after the other in each round, so that what the machine does beside this is the same for all.
    for _ in 0..how.rounds {
        let empty = Arc::new(temporary(options.folder.as_deref())?);
        let stores = [(empty, &mut without, &mut pages_without), (Arc::clone(&filled), &mut with, &mut pages_with)];
        for (folder, runs, pages) in stores {
            let orchestrator = Orchestrator::start_over(&echo, &options, folder).await?;
            runs.push(keep_in_flight(&orchestrator, Case::Chain.workflow(), IN_FLIGHT, how.window()).await?);
            pages.push(list(&orchestrator).await?);
            orchestrator.stop().await?;
        }
        let orchestrator = Orchestrator::start_over(&echo, &purging, Arc::clone(&filled)).await?;
        let (begun, old) = (Instant::now(), old_runs(&orchestrator)?);
        while_purged.push(keep_in_flight(&orchestrator, Case::Chain.workflow(), IN_FLIGHT, how.window()).await?);
        purged.push(count(old - old_runs(&orchestrator)?) / begun.elapsed().as_secs_f64());
        orchestrator.stop().await?;
    }
    let (without, with) = (Sample::median(&without), Sample::median(&with));
    let name = format!("runs, {IN_FLIGHT} in flight, {ended_runs} ended");
    let rate = Figure::new("history", &name, with.per_second, "runs/s").beside(without.per_second);
    report.add(rate.at_least(0.9));
    let while_purged = Sample::median(&while_purged);
    let rate = Figure::new("history", format!("{name}, which are being removed"), while_purged.per_second, "runs/s");
    report.add(rate.beside(with.per_second).at_least(0.9));
    report.add(Figure::new("history", "runs removed meanwhile", median(purged), "runs/s"));
    for (index, (name, _)) in filters().into_iter().enumerate() {
        let p50 = |pages: &[Vec<Sample>]| {
            Sample::median(&pages.iter().filter_map(|page| page.get(index).cloned()).collect::<Vec<_>>()).p50
        };
        let page = Figure::new("history", format!("page of 50, {name}, p50"), p50(&pages_with), "us");
        report.add(page.beside(p50(&pages_without)));
    }
    Ok(())
}

/// Runs that ended long ago.
fn old_runs(orchestrator: &Orchestrator) -> anyhow::Result<usize> {
    let hour_ago = now() - micros(Duration::from_hours(1));
    let runs = "SELECT count(*) FROM runs WHERE id < ?1";
    let before = id(Timestamp::from_micros(hour_ago));
    let old: u32 = orchestrator.reader()?.query_row(runs, [before.as_bytes()], |row| row.get(0))?;
    Ok(usize::try_from(old)?)
}

fn filters() -> Vec<(&'static str, ListRunsRequest)> {
    let states = |states: &[RunState]| ListRunsRequest {
        states: states.iter().map(|state| i32::from(*state)).collect(),
        ..ListRunsRequest::default()
    };
    let workflow = ListRunsRequest { workflow: Case::Chain.workflow().to_owned(), ..ListRunsRequest::default() };
    vec![
        ("all", ListRunsRequest::default()),
        ("succeeded", states(&[RunState::Succeeded])),
        ("failed or blocked", states(&[RunState::Failed, RunState::Blocked])),
        ("of a workflow", workflow),
    ]
}

/// The times of pages, by filter.
async fn list(orchestrator: &Orchestrator) -> anyhow::Result<Vec<Sample>> {
    let mut client = RunServiceClient::new(connect(&orchestrator.admin)?);
    let mut samples = Vec::new();
    for (_, request) in filters() {
        let mut times = Vec::with_capacity(PAGES);
        let begun = Instant::now();
        for _ in 0..PAGES {
            let asked = Instant::now();
            client.list_runs(request.clone()).await?;
            times.push(u32::try_from(asked.elapsed().as_micros()).unwrap_or(u32::MAX));
        }
        samples.push(Sample::of(times, begun.elapsed()));
    }
    Ok(samples)
}
