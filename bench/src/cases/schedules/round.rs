//! One round: a store that is filled again and again, and the orchestrator that is started over it each time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::Workflow as _;

use super::due::{self, Due, Load};
use super::subject::Subject;
use super::waiting::{self, Waiting};
use crate::How;
use crate::limits::raw_commits;
use crate::load::{Until, start_each};
use crate::process::{Echo, Options, temporary};
use crate::proto::bench::v1::TickRequest;
use crate::sample::count;
use crate::workflows::Tick;

/// Ticks that come one at a time, and how far apart.
const SINGLE: usize = 100;
const APART: Duration = Duration::from_millis(40);

/// The most that memory may grow at the full hour, in megabytes. All runs in memory would be many times that.
pub(super) const FLAT: f64 = 100.0;
/// Runs in memory then, at most.
const IN_FLIGHT: usize = 2_000;
/// The rate of the service behind them has it busy for so many seconds.
const BUSY: usize = 20;
/// Calls in the busiest second by what the rate limit allows. A call gets its place before its start is durable, so one
/// commit that takes long moves calls into the second after it.
pub(super) const NO_SPIKE: f64 = 1.1;

/// Starts in flight at the same time.
const AT_ONCE: usize = 256;

/// The result of one round.
pub(super) struct Round {
    pub(super) waiting: Waiting,
    pub(super) single: Due,
    pub(super) second: Due,
    pub(super) hour: Due,
    /// The most calls in a second that the rate limit of the service allows.
    pub(super) rate_limit: f64,
    /// Starts of the same workflow a second, over the admin API.
    pub(super) starts: f64,
    /// Milliseconds of a commit of one row to a plain SQLite.
    pub(super) commit: f64,
}

/// Of so many schedules, these are due within a second,
pub(super) const fn in_a_second(schedules: usize) -> usize {
    schedules / 10
}

/// and these at one instant.
pub(super) const fn at_an_instant(schedules: usize) -> usize {
    schedules * 6 / 10
}

pub(super) async fn round(schedules: usize, how: &How) -> anyhow::Result<Round> {
    let echo = Echo::start(Duration::ZERO)?;
    let options = Options { folder: how.folder.clone(), ..Options::default() };
    let folder = Arc::new(temporary(options.folder.as_deref())?);
    let subject = Subject { echo, folder, options };
    let commit = raw_commits(how.folder.as_deref(), 1, how.window() / 2).await?.p50 / 1e3;

    let filling = Instant::now();
    let waiting = waiting::measure(&subject, schedules, how).await?;
    // A machine that took long for this takes long for the rest.
    let each = filling.elapsed() / u32::try_from(schedules.max(1))?;

    let single = Load { name: "single", count: SINGLE, apart: APART, each, set: Vec::new() };
    let single = due::measure(&subject, single).await?;

    let many = in_a_second(schedules);
    let apart = Duration::from_secs(1) / u32::try_from(many.max(1))?;
    let second = due::measure(&subject, Load { name: "second", count: many, apart, each, set: Vec::new() }).await?;

    let many = at_an_instant(schedules);
    let rate = (many / BUSY).max(10);
    let burst = rate / 10;
    let set = vec![
        format!("limits.runs_in_flight={IN_FLIGHT}"),
        format!("services.echo.rate.calls={rate}"),
        format!("services.echo.rate.burst={burst}"),
    ];
    let hour = due::measure(&subject, Load { name: "hour", count: many, apart: Duration::ZERO, each, set }).await?;

    let orchestrator = subject.start(&[]).await?;
    let took = start_each(&orchestrator, Tick::NAME, AT_ONCE, 0..many, Until::Accepted, |_| TickRequest {}).await?;
    orchestrator.stop().await?;
    let starts = count(many) / took.as_secs_f64();
    Ok(Round { waiting, single, second, hour, rate_limit: count(rate + burst), starts, commit })
}
