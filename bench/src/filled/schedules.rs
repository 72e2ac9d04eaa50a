//! Stores with many schedules, created as over the admin API.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use engine::Workflow as _;
use engine::schedule::{Rule, Spec, Timetable};
use engine::store::sqlite::{Sqlite, SqliteOptions};
use engine::store::{AuditedChange, Requester, Schedule, ScheduleCommand, ScheduleCommandKind, Store};
use engine::time::{Clock, Timestamp};
use futures_util::future::try_join_all;

use crate::workflows::Tick;

/// Schedules that are written at the same time.
const BATCH: usize = 1_000;

const DAY: Duration = Duration::from_hours(24);

/// Zones of those that wait; the clocks of most of them change.
const ZONES: [&str; 5] = ["Europe/London", "America/New_York", "UTC", "Australia/Lord_Howe", "Asia/Tokyo"];

/// A schedule for each number, in a zone of its own time, that is not due for months.
pub(crate) fn waiting(number: usize, now: Timestamp) -> Schedule {
    // Half a year is far away in every zone.
    let month = (month_of(now) + 5) % 12 + 1;
    let (minute, hour, day) = (number % 60, number / 60 % 24, number / 1_440 % 28 + 1);
    let spec = Spec::cron(format!("{minute} {hour} {day} {month} *"), ZONES[number % ZONES.len()]);
    Schedule::new(format!("bench.waiting-{number}"), Tick::NAME, spec)
}

/// A schedule that is due once a day, the first time then.
pub(crate) fn daily(name: String, at: Timestamp) -> Schedule {
    let phase = at.since(Timestamp::from_micros(0)).as_micros() % DAY.as_micros();
    let phase = Duration::from_micros(u64::try_from(phase).unwrap_or_default());
    Schedule::new(name, Tick::NAME, Spec { rules: vec![Rule::Every { interval: DAY, phase }], ..Spec::default() })
}

/// Adds these schedules to the store, which is made if it is missing, as if they were created then.
pub(crate) async fn add(
    path: &Path,
    created: Timestamp,
    schedules: impl Iterator<Item = Schedule>,
) -> anyhow::Result<()> {
    let store = Sqlite::open(path, SqliteOptions::default(), Clock::following_tokio(created))?;
    let mut commands = schedules.map(|schedule| create(schedule, created)).peekable();
    while commands.peek().is_some() {
        let batch: Vec<_> = commands.by_ref().take(BATCH).collect::<anyhow::Result<_>>()?;
        try_join_all(batch.into_iter().map(|command| store.schedule_command(command))).await?;
    }
    store.close().await?;
    Ok(())
}

fn create(mut schedule: Schedule, now: Timestamp) -> anyhow::Result<ScheduleCommand> {
    // With every policy said, as schedules are stored.
    schedule.spec = Timetable::new(schedule.spec).with_context(|| schedule.name.clone())?.spec().clone();
    Ok(ScheduleCommand {
        name: schedule.name.clone(),
        now,
        generation: None,
        change: AuditedChange {
            action: "CreateSchedule",
            detail: String::new(),
            asked: Requester::new("bench", ""),
            schedule: None,
        },
        kind: ScheduleCommandKind::Create(Box::new(schedule)),
    })
}

/// The month in UTC, 0 for January.
fn month_of(now: Timestamp) -> usize {
    let text = now.to_string();
    text.get(5..7).and_then(|month| month.parse::<usize>().ok()).map_or(0, |month| month.saturating_sub(1))
}
