//! What many ended and waiting runs cost those that go, and what a snapshot costs that somebody holds open.

use std::time::{Duration, Instant};

use super::Database;
use crate::How;
use crate::cases::runs::Case;
use crate::filled::database::fill;
use crate::load::keep_in_flight;
use crate::process::Echo;
use crate::report::{Figure, Report};
use crate::sample::Sample;

const IN_FLIGHT: usize = 256;

pub(super) async fn measure(
    ended: usize,
    waiting: usize,
    snapshot: Duration,
    how: &How,
    report: &mut Report,
) -> anyhow::Result<()> {
    let echo = Echo::start(Duration::ZERO)?;
    let (empty, filled) = (Database::new().await, Database::new().await);
    filled.replica(&echo, how).await?.stop().await?;
    let client = filled.connect().await;
    fill(&client, ended, waiting).await?;

    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..how.rounds {
        for (database, samples) in [(&empty, &mut without), (&filled, &mut with)] {
            let replica = database.replica(&echo, how).await?;
            samples.push(keep_in_flight(&replica, Case::Chain.workflow(), IN_FLIGHT, how.window()).await?);
            replica.stop().await?;
        }
    }
    let (without, with) = (Sample::median(&without), Sample::median(&with));
    let name = format!("runs, {IN_FLIGHT} in flight, {ended} ended, {waiting} waiting");
    let rate = Figure::new("postgres", &name, with.per_second, "runs/s").beside(without.per_second);
    report.add(rate.at_least(0.9));

    // Whoever reads for long keeps what was changed from being cleaned up.
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM leases").await?;
    let replica = filled.replica(&echo, how).await?;
    let (begun, mut last) = (Instant::now(), None);
    while last.is_none() || begun.elapsed() < snapshot {
        last = Some(keep_in_flight(&replica, Case::Chain.workflow(), IN_FLIGHT, how.window()).await?);
    }
    replica.stop().await?;
    client.batch_execute("COMMIT").await?;
    let name = format!("the same at the end of a snapshot of {} min", snapshot.as_secs() / 60);
    if let Some(last) = last {
        report.add(Figure::new("postgres", name, last.per_second, "runs/s").beside(with.per_second).at_least(0.9));
    }
    Ok(())
}
