//! Backfills: ranges of nominal times whose runs are started beside the schedule's own.

use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::super::job::Fault;
use super::super::old_requests::KEPT;
use super::super::rows;
use super::unknown;
use crate::schedule::Spec;
use crate::store::{BackfillRow, Schedule, stored_schedule};
use crate::time::Timestamp;

/// Backfills of one schedule that continue at the same time, at most.
pub(super) const AT_ONCE: usize = 10;
/// Those of one schedule that are listed, at most.
const LISTED: u32 = 100;

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
pub(super) fn insert(connection: &Connection, schedule: i64, backfill: &BackfillRow) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "DELETE FROM backfills
             WHERE schedule = ?1 AND ended_at < ?2
               AND id NOT IN (SELECT id FROM backfills WHERE schedule = ?1 ORDER BY created_at DESC LIMIT ?3)",
        )?
        .execute(params![schedule, backfill.created_at.before(KEPT).as_micros(), LISTED - 1])?;
    connection
        .prepare_cached(
            "INSERT INTO backfills (id, schedule, from_time, until_time, at_once, per_minute, total, created_at, cursor,
                                    started, passed, ended_at, cancelled, last_start, definition)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, 0, NULL, 0, NULL, ?10)",
        )?
        .execute(params![
            backfill.id.as_bytes(),
            schedule,
            backfill.from.as_micros(),
            backfill.until.as_micros(),
            backfill.at_once,
            backfill.per_minute,
            rows::number(backfill.total),
            backfill.created_at.as_micros(),
            backfill.cursor.as_micros(),
            backfill.spec.as_ref().map(|spec| stored_schedule::encode(&Schedule::new("", "", spec.clone()))),
        ])
        .map(drop)
}

/// Those that continue, the oldest first.
pub(super) fn active(connection: &Connection, schedule: i64) -> rusqlite::Result<Vec<BackfillRow>> {
    connection
        .prepare_cached(select_backfills!("WHERE schedule = ?1 AND ended_at IS NULL ORDER BY created_at"))?
        .query_map([schedule], backfill_row)?
        .collect()
}

/// Whether a backfill continues; none if the schedule has no such one.
pub(super) fn is_active(connection: &Connection, schedule: i64, id: Uuid) -> rusqlite::Result<Option<bool>> {
    connection
        .prepare_cached("SELECT ended_at IS NULL FROM backfills WHERE id = ?1 AND schedule = ?2")?
        .query_row(params![id.as_bytes(), schedule], |row| row.get(0))
        .optional()
}

/// All of a schedule, newest first.
pub(in super::super) fn list(connection: &mut Connection, schedule: &Uuid) -> Result<Vec<BackfillRow>, Fault> {
    let mut statement = connection.prepare_cached(select_backfills!(
        "WHERE schedule = (SELECT id FROM schedules WHERE uid = ?1) ORDER BY created_at DESC LIMIT ?2"
    ))?;
    let found = statement.query_map(params![schedule.as_bytes(), LISTED], backfill_row)?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

pub(in super::super) fn find(connection: &mut Connection, id: &Uuid) -> Result<Option<BackfillRow>, Fault> {
    Ok(get(connection, *id)?)
}

/// One backfill; after its schedule was removed, as it was then.
pub(super) fn get(connection: &Connection, id: Uuid) -> rusqlite::Result<Option<BackfillRow>> {
    connection.prepare_cached(select_backfills!("WHERE id = ?1"))?.query_row([id.as_bytes()], backfill_row).optional()
}

/// Backfills of no schedule any more start no runs. They are kept for the requests that name them.
pub(super) fn leave(connection: &Connection, schedule: i64, now: Timestamp) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE backfills SET schedule = 0, cancelled = cancelled OR ended_at IS NULL,
                                  ended_at = coalesce(ended_at, ?2)
             WHERE schedule = ?1",
        )?
        .execute(params![schedule, now.as_micros()])
        .map(drop)
}

/// Moves the cursor. At the end of the range the backfill is over.
pub(super) fn advance(
    connection: &Connection,
    id: Uuid,
    nominal: Timestamp,
    count: u64,
    started_at: Option<Timestamp>,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE backfills SET cursor = max(cursor, ?2), started = started + ?3, passed = passed + ?4,
                                  last_start = coalesce(?5, last_start)
             WHERE id = ?1",
        )?
        .execute(params![
            id.as_bytes(),
            nominal.as_micros(),
            if started_at.is_some() { rows::number(count) } else { 0 },
            if started_at.is_some() { 0 } else { rows::number(count) },
            rows::micros(started_at),
        ])
        .map(drop)
}

pub(super) fn cancel(connection: &Connection, id: Uuid, now: Timestamp) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE backfills SET ended_at = ?2, cancelled = 1 WHERE id = ?1 AND ended_at IS NULL")?
        .execute(params![id.as_bytes(), now.as_micros()])
        .map(drop)
}

/// Nothing is left of its range.
pub(in super::super) fn end(connection: &Connection, id: Uuid, now: Timestamp) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE backfills SET ended_at = ?2 WHERE id = ?1 AND ended_at IS NULL")?
        .execute(params![id.as_bytes(), now.as_micros()])
        .map(drop)
}

fn definition(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Spec>> {
    let Some(bytes) = row.get_ref(column)?.as_blob_or_null()? else { return Ok(None) };
    let read = stored_schedule::decode(String::new(), bytes).map_err(|error| unknown(column, &error.to_string()))?;
    Ok(Some(read.spec))
}

fn backfill_row(row: &Row<'_>) -> rusqlite::Result<BackfillRow> {
    let time = |column| Ok::<_, rusqlite::Error>(Timestamp::from_micros(row.get(column)?));
    Ok(BackfillRow {
        id: rows::uuid(row, 0)?,
        from: time(1)?,
        until: time(2)?,
        spec: definition(row, 14)?,
        at_once: row.get(3)?,
        per_minute: row.get(4)?,
        total: rows::count(row, 5)?,
        created_at: time(6)?,
        cursor: time(7)?,
        started: rows::count(row, 8)?,
        passed: rows::count(row, 9)?,
        ended_at: rows::time(row, 10)?,
        cancelled: row.get(11)?,
        last_start: rows::time(row, 12)?,
        open: row.get(13)?,
    })
}
