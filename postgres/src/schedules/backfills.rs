//! Backfills: ranges of nominal times whose runs are started beside the schedule's own.

use engine::schedule::Spec;
use engine::store::support::encode_schedule;
use engine::store::{BackfillRow, Schedule};
use engine::time::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use super::definition;
use crate::session::{Fault, Session, params};
use crate::{requests, rows};

/// Backfills of one schedule that continue at the same time, at most.
pub(super) const AT_ONCE: usize = 10;
/// Those of one schedule that are listed, at most.
const LISTED: i64 = 100;

macro_rules! select_backfills {
    ($rest:literal) => {
        concat!(
            "SELECT id, from_time, until_time, at_once, per_minute, total, created_at, cursor, started, passed, ended_at,
                    cancelled, last_start, (SELECT count(*) FROM schedule_runs WHERE backfill = backfills.id
                                            AND schedule_runs.schedule = backfills.schedule), definition
             FROM backfills ",
            $rest
        )
    };
}

/// Adds one. Those that ended long before it, and are no longer listed, are dropped for it.
pub(super) async fn insert(session: &Session<'_>, schedule: Uuid, backfill: &BackfillRow) -> Result<(), Fault> {
    session
        .execute(
            "DELETE FROM backfills
             WHERE schedule = $1 AND ended_at < $2
               AND id NOT IN (SELECT id FROM backfills WHERE schedule = $1 ORDER BY created_at DESC LIMIT $3)",
            params![schedule, backfill.created_at.before(requests::KEPT).as_micros(), LISTED - 1],
        )
        .await?;
    session
        .execute(
            "INSERT INTO backfills (id, schedule, from_time, until_time, at_once, per_minute, total, created_at, cursor,
                                    started, passed, ended_at, cancelled, last_start, definition)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, 0, NULL, false, NULL, $10)",
            params![
                backfill.id,
                schedule,
                backfill.from.as_micros(),
                backfill.until.as_micros(),
                i64::from(backfill.at_once),
                i64::from(backfill.per_minute),
                rows::number(backfill.total),
                backfill.created_at.as_micros(),
                backfill.cursor.as_micros(),
                backfill.spec.as_ref().map(|spec| encode_schedule(&Schedule::new("", "", spec.clone()))),
            ],
        )
        .await
        .map(drop)
}

/// Those that continue, the oldest first.
pub(super) async fn active(session: &Session<'_>, schedule: Uuid) -> Result<Vec<BackfillRow>, Fault> {
    let found = session
        .rows(select_backfills!("WHERE schedule = $1 AND ended_at IS NULL ORDER BY created_at"), params![schedule])
        .await?;
    found.iter().map(backfill_row).collect()
}

/// Whether a backfill continues; none if the schedule has no such one.
pub(super) async fn is_active(session: &Session<'_>, schedule: Uuid, id: Uuid) -> Result<Option<bool>, Fault> {
    let found = session
        .row("SELECT ended_at IS NULL FROM backfills WHERE id = $1 AND schedule = $2", params![id, schedule])
        .await?;
    Ok(found.map(|row| row.try_get(0)).transpose()?)
}

/// All of a schedule, newest first.
pub(crate) async fn list(session: &Session<'_>, schedule: &Uuid) -> Result<Vec<BackfillRow>, Fault> {
    let found = session
        .rows(select_backfills!("WHERE schedule = $1 ORDER BY created_at DESC LIMIT $2"), params![schedule, LISTED])
        .await?;
    found.iter().map(backfill_row).collect()
}

/// One backfill; after its schedule was removed, as it was then.
pub(crate) async fn find(session: &Session<'_>, id: &Uuid) -> Result<Option<BackfillRow>, Fault> {
    let found = session.row(select_backfills!("WHERE id = $1"), params![id]).await?;
    found.as_ref().map(backfill_row).transpose()
}

/// Backfills of no schedule any more start no runs. They are kept for the requests that name them.
pub(super) async fn leave(session: &Session<'_>, schedule: Uuid, now: Timestamp) -> Result<(), Fault> {
    session
        .execute(
            "UPDATE backfills SET schedule = $3, cancelled = cancelled OR ended_at IS NULL,
                                  ended_at = coalesce(ended_at, $2)
             WHERE schedule = $1",
            params![schedule, now.as_micros(), Uuid::nil()],
        )
        .await
        .map(drop)
}

/// Moves the cursor. At the end of the range the backfill is over.
pub(super) async fn advance(
    session: &Session<'_>,
    id: Uuid,
    nominal: Timestamp,
    count: u64,
    started_at: Option<Timestamp>,
) -> Result<(), Fault> {
    session
        .execute(
            "UPDATE backfills SET cursor = greatest(cursor, $2), started = started + $3, passed = passed + $4,
                                  last_start = coalesce($5, last_start)
             WHERE id = $1",
            params![
                id,
                nominal.as_micros(),
                if started_at.is_some() { rows::number(count) } else { 0 },
                if started_at.is_some() { 0 } else { rows::number(count) },
                rows::micros(started_at),
            ],
        )
        .await
        .map(drop)
}

pub(super) async fn cancel(session: &Session<'_>, id: Uuid, now: Timestamp) -> Result<(), Fault> {
    session
        .execute(
            "UPDATE backfills SET ended_at = $2, cancelled = true WHERE id = $1 AND ended_at IS NULL",
            params![id, now.as_micros()],
        )
        .await
        .map(drop)
}

/// Nothing is left of its range.
pub(super) async fn end(session: &Session<'_>, id: Uuid, now: Timestamp) -> Result<(), Fault> {
    session
        .execute("UPDATE backfills SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL", params![id, now.as_micros()])
        .await
        .map(drop)
}

fn backfill_row(row: &Row) -> Result<BackfillRow, Fault> {
    let spec: Option<Spec> = match row.try_get::<_, Option<&[u8]>>(14)? {
        Some(bytes) => Some(definition(String::new(), bytes)?.spec),
        None => None,
    };
    Ok(BackfillRow {
        id: row.try_get(0)?,
        from: rows::instant(row, 1)?,
        until: rows::instant(row, 2)?,
        spec,
        at_once: rows::short(row, 3)?,
        per_minute: rows::short(row, 4)?,
        total: rows::count(row, 5)?,
        created_at: rows::instant(row, 6)?,
        cursor: rows::instant(row, 7)?,
        started: rows::count(row, 8)?,
        passed: rows::count(row, 9)?,
        ended_at: rows::time(row, 10)?,
        cancelled: row.try_get(11)?,
        last_start: rows::time(row, 12)?,
        open: rows::short(row, 13)?,
    })
}
