//! How soon a cancel that one replica is asked for reaches a run that another one holds.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use server::proto::orchestrator::admin::v1::run_service_client::RunServiceClient;
use server::proto::orchestrator::admin::v1::{CancelRunRequest, RunState, WatchRunRequest};

use super::{Database, stop};
use crate::How;
use crate::cases::runs::Case;
use crate::echo::now;
use crate::load::start_chain;
use crate::process::Echo;
use crate::report::{Figure, Report};
use crate::sample::Sample;

/// How long the call takes that the run is in: longer than everything here.
const CALL: Duration = Duration::from_secs(50);

/// Runs that are cancelled in each round.
const RUNS: usize = 20;

pub(super) async fn measure(how: &How, report: &mut Report) -> anyhow::Result<()> {
    let echo = Echo::start(CALL)?;
    for (hints, goal) in [(false, 1_000_000.0), (true, 50_000.0)] {
        let mut rounds = Vec::new();
        for _ in 0..how.rounds {
            rounds.push(cancels(hints, &echo, how).await?);
        }
        let times = Sample::median(&rounds);
        let name = if hints { "cancel over replicas" } else { "cancel over replicas, hints switched off" };
        report.add(Figure::new("postgres", format!("{name}, p50"), times.p50, "us"));
        report.add(Figure::new("postgres", format!("{name}, longest"), times.max, "us").at_most(goal));
    }
    Ok(())
}

async fn cancels(hints: bool, echo: &Echo, how: &How) -> anyhow::Result<Sample> {
    let database = Database::new().await;
    let mut options = database.options(how);
    options.set.push(format!("store.hints={hints}"));
    let mut replicas = Vec::new();
    for _ in 0..2 {
        replicas.push(crate::process::Orchestrator::start(echo, &options).await?);
    }
    let [mut holder, mut other] =
        [RunServiceClient::new(replicas[0].connection()?), RunServiceClient::new(replicas[1].connection()?)];
    let (mut times, begun) = (Vec::new(), Instant::now());
    for _ in 0..RUNS {
        let run = start_chain(&mut holder, Case::Reads.workflow()).await?;
        let mut watch =
            holder.watch_run(WatchRunRequest { run_id: run.clone(), ..WatchRunRequest::default() }).await?.into_inner();
        let asked = now();
        other.cancel_run(CancelRunRequest { run_id: run.clone(), ..CancelRunRequest::default() }).await?;
        // When it ended is what counts: a watch gathers what changes within its least gap.
        let (ended, moment) = loop {
            let run = watch.message().await?.context("the watch ends before the run has ended")?;
            if let Some(end) = run.end_time {
                break (run, end.seconds * 1_000_000 + i64::from(end.nanos) / 1_000);
            }
        };
        ensure!(ended.state() == RunState::Cancelled, "run {} is {:?}", ended.run_id, ended.state());
        times.push(u32::try_from(moment - asked).unwrap_or(u32::MAX));
        // Not always at the same moment between two looks.
        tokio::time::sleep(Duration::from_millis(37)).await;
    }
    stop(replicas).await?;
    Ok(Sample::of(times, begun.elapsed()))
}
