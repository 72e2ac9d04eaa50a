//! `soak`: `chain` for long enough that checkpoints and a growing store show.

use std::time::Duration;

use crate::How;
use crate::cases::runs::Case;
use crate::load::keep_in_flight;
use crate::process::{Echo, Options, Orchestrator};
use crate::report::{Figure, Report};

const IN_FLIGHT: usize = 256;

pub(crate) async fn measure(minutes: u64, how: &How, report: &mut Report) -> anyhow::Result<()> {
    let echo = Echo::start(Duration::ZERO)?;
    let options = Options { folder: how.folder.clone(), ..Options::default() };
    let orchestrator = Orchestrator::start(&echo, &options).await?;
    let in_flight = how.in_flight.first().copied().unwrap_or(IN_FLIGHT);
    let case = format!("soak/{in_flight}");
    for minute in 1..=minutes {
        let run = keep_in_flight(&orchestrator, Case::Chain.workflow(), in_flight, Duration::from_secs(60)).await?;
        let name = |name: &str| format!("minute {minute}: {name}");
        report.add(Figure::new(&case, name("runs"), run.per_second, "runs/s"));
        report.add(Figure::new(&case, name("p50"), run.p50, "us"));
        report.add(Figure::new(&case, name("p99"), run.p99, "us"));
        report.add(Figure::new(&case, name("p99.9"), run.p999, "us"));
        report.add(Figure::new(&case, name("longest"), run.max, "us"));
        report.add(Figure::new(&case, name("resident memory"), run.resident_bytes / 1e6, "MB"));
        let (database, log) = orchestrator.store_bytes();
        report.add(Figure::new(&case, name("database"), crate::sample::bytes(database) / 1e6, "MB"));
        report.add(Figure::new(&case, name("its log"), crate::sample::bytes(log) / 1e6, "MB"));
    }
    orchestrator.stop().await?;
    Ok(())
}
