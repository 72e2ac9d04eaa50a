//! Schedules that become due while the orchestrator runs: how late their runs are created and make their first call.

use std::time::Duration;

use anyhow::ensure;
use engine::Workflow as _;
use engine::time::{Clock, Timestamp};
use tokio::time::{Instant, sleep};

use super::subject::Subject;
use crate::echo::{now, span};
use crate::load::until_over;
use crate::process::Orchestrator;
use crate::sample::{bytes, count};
use crate::workflows::Tick;

/// From the start of the orchestrator to the first tick, at least.
const LEAD: Duration = Duration::from_secs(6);
const PATIENCE: Duration = Duration::from_secs(120);
/// How often the ledger is looked at while ticks come.
const LOOK: Duration = Duration::from_millis(50);

/// What becomes due.
pub(super) struct Load {
    pub(super) name: &'static str,
    pub(super) count: usize,
    /// Time from one to the next.
    pub(super) apart: Duration,
    /// How long this machine takes to add one, at most.
    pub(super) each: Duration,
    /// Overrides of the configuration.
    pub(super) set: Vec<String>,
}

/// Each figure in the unit in which it is reported.
pub(super) struct Due {
    /// Of the creation of runs.
    pub(super) late_p50: f64,
    pub(super) late_p99: f64,
    /// Of their first calls: the median in milliseconds, the others in seconds.
    pub(super) first_call_p50: f64,
    pub(super) first_call_p99: f64,
    /// From the first nominal time to the moment at which all runs are durable.
    pub(super) created: f64,
    pub(super) rate: f64,
    pub(super) cpu: f64,
    pub(super) peak: f64,
    pub(super) busiest: f64,
    pub(super) over: f64,
}

pub(super) async fn measure(subject: &Subject, load: Load) -> anyhow::Result<Due> {
    let first = Clock::system().now().after(LEAD + load.each * u32::try_from(load.count)? * 2);
    subject.add_due(load.name, load.count, load.apart, first).await?;
    let orchestrator = subject.start(&load.set).await?;
    let until_first = span(now(), first.as_micros());
    ensure!(until_first > LEAD / 4, "the machine is too slow for {} schedules", load.count);
    sleep(until_first - LEAD / 8).await;
    let idle = orchestrator.usage()?;

    let created = until_created(&orchestrator, first, load.count).await?;
    let used = orchestrator.usage()?.cpu - idle.cpu;
    let over = until_over(&orchestrator, Tick::NAME, PATIENCE).await?;
    let over = span(first.as_micros(), now()).as_secs_f64() - over.elapsed().as_secs_f64();
    let peak = orchestrator.usage()?.peak_bytes;
    let late = lateness(&orchestrator, first)?;
    let account = subject.echo.account(first.as_micros()).await?;
    ensure!(account.calls == load.count as u64, "{} of {} ticks made their call", account.calls, load.count);
    ensure!(account.doubled == 0 && account.repeated == 0, "effects were asked for again");
    orchestrator.stop().await?;
    let at = |per_cent: usize| late.get((late.len() * per_cent / 100).min(late.len() - 1)).copied().unwrap_or(f64::NAN);
    Ok(Due {
        late_p50: at(50),
        late_p99: at(99),
        first_call_p50: span(0, account.late_p50_micros).as_secs_f64() * 1e3,
        first_call_p99: span(0, account.late_p99_micros).as_secs_f64(),
        created: created.as_secs_f64(),
        rate: count(load.count) / created.as_secs_f64(),
        cpu: used.as_secs_f64() * 1e6 / count(load.count),
        peak: bytes(peak.saturating_sub(idle.resident_bytes)) / 1e6,
        busiest: bytes(account.busiest_second),
        over,
    })
}

/// Waits until so many ticks since then have started their runs, as another connection to the store sees it. Says how
/// long after the first of them that is.
async fn until_created(orchestrator: &Orchestrator, first: Timestamp, count: usize) -> anyhow::Result<Duration> {
    let until = Instant::now() + PATIENCE;
    let reader = orchestrator.reader()?;
    loop {
        let created: i64 = reader
            .prepare_cached("SELECT count(*) FROM ticks WHERE first >= ?1 AND outcome = 1")?
            .query_row([first.as_micros()], |row| row.get(0))?;
        if usize::try_from(created).is_ok_and(|created| created >= count) {
            return Ok(span(first.as_micros(), now()));
        }
        ensure!(Instant::now() < until, "{created} of {count} ticks have started a run after {PATIENCE:?}");
        sleep(LOOK).await;
    }
}

/// How late the ticks since then were by the ledger, in seconds and in order.
fn lateness(orchestrator: &Orchestrator, first: Timestamp) -> anyhow::Result<Vec<f64>> {
    let reader = orchestrator.reader()?;
    let mut statement = reader.prepare("SELECT at - first FROM ticks WHERE first >= ?1 ORDER BY 1")?;
    let late = statement.query_map([first.as_micros()], |row| row.get::<_, i64>(0))?;
    late.map(|late| Ok(span(0, late?).as_secs_f64())).collect()
}
