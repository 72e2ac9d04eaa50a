//! `service`: how soon the orchestrator serves, and what it holds in memory.

use std::time::Duration;

use clients::orchestrator::admin::v1::run_service_client::RunServiceClient;

use crate::How;
use crate::cases::runs::Case;
use crate::load::run;
use crate::process::{Echo, Options, Orchestrator};
use crate::report::{Figure, Report};
use crate::sample::{bytes, count, median};

const MANY: usize = 10_000;
const CONNECTIONS: usize = 10;

/// Long enough that all runs are in flight before the first call is answered.
const ANSWER_AFTER: Duration = Duration::from_secs(5);

pub(crate) async fn measure(how: &How, report: &mut Report) -> anyhow::Result<()> {
    let echo = Echo::start(ANSWER_AFTER)?;
    let options = Options { folder: how.folder.clone(), ..Options::default() };
    let (mut ready, mut idle) = (Vec::new(), Vec::new());
    for _ in 0..how.rounds.max(5) {
        let orchestrator = Orchestrator::start(&echo, &options).await?;
        ready.push(orchestrator.ready_in.as_secs_f64() * 1e3);
        tokio::time::sleep(Duration::from_secs(1)).await;
        idle.push(bytes(orchestrator.usage()?.resident_bytes) / 1e6);
        orchestrator.stop().await?;
    }
    report.add(Figure::new("service", "start to SERVING", median(ready), "ms").at_most(100.0));
    let idle = median(idle);
    report.add(Figure::new("service", "resident memory, idle", idle, "MB").at_most(20.0));

    let orchestrator = Orchestrator::start(&echo, &options).await?;
    let connections = orchestrator.connections(CONNECTIONS)?;
    let runs: Vec<_> = (0..MANY)
        .map(|number| {
            let mut client = RunServiceClient::new(connections[number % CONNECTIONS].clone());
            tokio::spawn(async move { run(&mut client, Case::Chain.workflow()).await })
        })
        .collect();
    // Each run has its first call in flight for as long as the service takes to answer.
    tokio::time::sleep(ANSWER_AFTER.mul_f64(0.8)).await;
    let mut peak = orchestrator.usage()?.resident_bytes;
    while !runs.iter().all(tokio::task::JoinHandle::is_finished) {
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
