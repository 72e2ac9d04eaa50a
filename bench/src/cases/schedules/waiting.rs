//! What schedules cost that are not due for months, and how soon the first tick comes beside them.

use std::time::Duration;

use anyhow::ensure;
use engine::time::Clock;
use tokio::time::{Instant, sleep};

use super::subject::Subject;
use crate::How;
use crate::echo::span;
use crate::filled::schedules::{daily, waiting};
use crate::sample::{bytes, count};

/// How long ago the schedules were created, and one of them was due.
const CREATED: Duration = Duration::from_hours(2);
const DUE: Duration = Duration::from_hours(1);

const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(5);
/// Until nothing of the start is running any more.
const SETTLED: Duration = Duration::from_secs(1);

/// Each figure in the unit in which it is reported.
pub(super) struct Waiting {
    pub(super) serving: f64,
    pub(super) first_tick: f64,
    pub(super) start_cpu: f64,
    pub(super) busy: f64,
    pub(super) resident: f64,
    pub(super) disk: f64,
}

pub(super) async fn measure(subject: &Subject, schedules: usize, how: &How) -> anyhow::Result<Waiting> {
    let empty = subject.start_empty().await?;
    sleep(SETTLED).await;
    let (resident_empty, disk_empty) = (empty.usage()?.resident_bytes, empty.database_bytes()?);
    empty.stop().await?;

    let now = Clock::system().now();
    let overdue = daily("bench.overdue".to_owned(), now.before(DUE));
    subject.add(now.before(CREATED), (0..schedules).map(|number| waiting(number, now)).chain([overdue])).await?;

    let orchestrator = subject.start(&[]).await?;
    let until = Instant::now() + PATIENCE;
    let first = loop {
        let account = subject.echo.account(orchestrator.started_micros).await?;
        if account.calls > 0 {
            break account.first_micros;
        }
        ensure!(Instant::now() < until, "no tick came after {PATIENCE:?}");
        sleep(LOOK).await;
    };
    sleep(SETTLED).await;
    let before = orchestrator.usage()?;
    sleep(how.window()).await;
    let after = orchestrator.usage()?;
    let disk = orchestrator.database_bytes()?.saturating_sub(disk_empty);
    let figures = Waiting {
        serving: orchestrator.ready_in.as_secs_f64(),
        first_tick: span(orchestrator.started_micros, first).as_secs_f64(),
        start_cpu: before.cpu.as_secs_f64(),
        busy: (after.cpu - before.cpu).as_secs_f64() / how.window().as_secs_f64() * 100.0,
        resident: (bytes(after.resident_bytes) - bytes(resident_empty)) / count(schedules),
        disk: bytes(disk) / count(schedules),
    };
    orchestrator.stop().await?;
    Ok(figures)
}
