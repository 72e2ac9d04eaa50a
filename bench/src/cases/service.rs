//! `service`: how soon the orchestrator serves and ends, and what it holds when it has nothing to do and much.

use std::sync::Arc;
use std::time::{Duration, Instant};

use server::proto::orchestrator::admin::v1::run_service_client::RunServiceClient;
use tokio::task::JoinHandle;

use crate::How;
use crate::cases::runs::Case;
use crate::filled::fill;
use crate::load::run;
use crate::process::{Echo, Options, Orchestrator, STORE, own_path, temporary};
use crate::report::{Figure, Report};
use crate::sample::{bytes, count, median};

const MANY: usize = 10_000;
const CONNECTIONS: usize = 10;

/// Long enough that all runs are in flight before the first call is answered.
const ANSWER_AFTER: Duration = Duration::from_secs(5);

/// The load that is interrupted, and how long its calls take.
const LOAD: usize = 1_000;
const CALL: Duration = Duration::from_secs(1);

/// How long an orchestrator without work is watched.
const IDLE: Duration = Duration::from_secs(5);

pub(crate) async fn measure(ended_runs: usize, how: &How, report: &mut Report) -> anyhow::Result<()> {
    let options = Options { folder: how.folder.clone(), ..Options::default() };
    let echo = Echo::start(ANSWER_AFTER)?;
    let idle = empty(&echo, &options, how, report).await?;
    many_in_flight(&echo, &options, idle, report).await?;
    let echo = Echo::start(CALL)?;
    interrupted(&echo, &options, how, report).await?;
    after_many(&echo, &options, ended_runs, how, report).await?;
    if let Ok(program) = std::fs::metadata(own_path().with_file_name("orchestrator")) {
        report.add(Figure::new("service", "program", bytes(program.len()) / 1e6, "MB").at_most(25.0));
    }
    Ok(())
}

/// On an empty store; returns the megabytes that it holds without work.
async fn empty(echo: &Echo, options: &Options, how: &How, report: &mut Report) -> anyhow::Result<f64> {
    let (mut ready, mut resident, mut busy) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..how.rounds {
        let orchestrator = Orchestrator::start(echo, options).await?;
        ready.push(orchestrator.ready_in.as_secs_f64() * 1e3);
        let before = orchestrator.usage()?;
        tokio::time::sleep(IDLE).await;
        let after = orchestrator.usage()?;
        busy.push((after.cpu - before.cpu).as_secs_f64() / IDLE.as_secs_f64() * 100.0);
        resident.push(bytes(after.resident_bytes) / 1e6);
        orchestrator.stop().await?;
    }
    report.add(Figure::new("service", "start to SERVING", median(ready), "ms").at_most(100.0));
    let resident = median(resident);
    report.add(Figure::new("service", "resident memory, idle", resident, "MB").at_most(20.0));
    report.add(Figure::new("service", "share of a core, idle", median(busy), "%").at_most(0.5));
    Ok(resident)
}

async fn many_in_flight(echo: &Echo, options: &Options, idle: f64, report: &mut Report) -> anyhow::Result<()> {
    let orchestrator = Orchestrator::start(echo, options).await?;
    let runs = begin(&orchestrator, MANY)?;
    // Each run has its first call in flight for as long as the service takes to answer.
    tokio::time::sleep(ANSWER_AFTER.mul_f64(0.8)).await;
    let mut peak = orchestrator.usage()?.resident_bytes;
    while !runs.iter().all(JoinHandle::is_finished) {
        peak = peak.max(orchestrator.usage()?.resident_bytes);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for run in runs {
        run.await??;
    }
    let peak = bytes(peak) / 1e6;
    report.add(Figure::new("service", "resident memory, 10,000 runs in flight", peak, "MB").at_most(200.0));
    let each = (peak - idle) * 1e3 / count(MANY);
    report.add(Figure::new("service", "resident memory for each of them", each, "kB"));
    orchestrator.stop().await?;
    Ok(())
}

/// Ended and killed under load.
async fn interrupted(echo: &Echo, options: &Options, how: &How, report: &mut Report) -> anyhow::Result<()> {
    let (mut ended, mut ready) = (Vec::new(), Vec::new());
    for _ in 0..how.rounds {
        let orchestrator = Orchestrator::start(echo, options).await?;
        let runs = begin(&orchestrator, LOAD)?;
        // In the middle of a call, so that there is something to wait for.
        tokio::time::sleep(CALL * 3 / 2).await;
        let told = Instant::now();
        orchestrator.stop().await?;
        ended.push(told.elapsed().as_secs_f64() * 1e3);
        runs.iter().for_each(JoinHandle::abort);

        let orchestrator = Orchestrator::start(echo, options).await?;
        let runs = begin(&orchestrator, LOAD)?;
        tokio::time::sleep(CALL * 2).await;
        let folder = orchestrator.kill()?;
        runs.iter().for_each(JoinHandle::abort);
        let orchestrator = Orchestrator::start_over(echo, options, folder).await?;
        ready.push(orchestrator.ready_in.as_secs_f64() * 1e3);
        orchestrator.stop().await?;
    }
    let longest = (CALL + Duration::from_millis(500)).as_secs_f64() * 1e3;
    let name = format!("SIGTERM to exit, {LOAD} calls of {CALL:?} in flight");
    report.add(Figure::new("service", name, median(ended), "ms").at_most(longest));
    let name = format!("start to SERVING after a kill with {LOAD} runs in flight");
    report.add(Figure::new("service", name, median(ready), "ms").at_most(1_000.0));
    Ok(())
}

/// On a store with many runs that are over.
async fn after_many(echo: &Echo, options: &Options, runs: usize, how: &How, report: &mut Report) -> anyhow::Result<()> {
    let folder = Arc::new(temporary(options.folder.as_deref())?);
    fill(&folder.path().join(STORE), runs).await?;
    let mut ready = Vec::new();
    for _ in 0..how.rounds {
        let orchestrator = Orchestrator::start_over(echo, options, Arc::clone(&folder)).await?;
        ready.push(orchestrator.ready_in.as_secs_f64() * 1e3);
        orchestrator.stop().await?;
    }
    let name = format!("start to SERVING, {runs} ended runs");
    report.add(Figure::new("service", name, median(ready), "ms").at_most(1_000.0));
    Ok(())
}

/// Starts so many runs, and has somebody wait for each.
fn begin(orchestrator: &Orchestrator, runs: usize) -> anyhow::Result<Vec<JoinHandle<anyhow::Result<()>>>> {
    let connections = orchestrator.connections(CONNECTIONS)?;
    let begin = |number: usize| {
        let mut client = RunServiceClient::new(connections[number % CONNECTIONS].clone());
        tokio::spawn(async move { run(&mut client, Case::Chain.workflow()).await })
    };
    Ok((0..runs).map(begin).collect())
}
