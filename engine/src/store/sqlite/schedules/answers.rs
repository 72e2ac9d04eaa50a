//! What requests about schedules are answered that were made before, also once their schedule is removed (semantics.md D4).

use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::super::job::Fault;
use super::super::{requests, rows};
use super::{backfills, by_uid, source, unknown};
use crate::store::stored_schedule;
use crate::store::{AuditedChange, Schedule, ScheduleAnswer, ScheduleRefusal, ScheduleRow, StoreError, TickOutcome};
use crate::time::Timestamp;

/// `SELECT` of removed schedules in the order that [`removed_row`] reads them.
macro_rules! select_removed {
    ($rest:literal) => {
        concat!(
            "SELECT uid, name, source, definition, generation, created_at, updated_at, high_water FROM removed_schedules ",
            $rest
        )
    };
}

/// Returns what the request was answered; none if it was not made before.
pub(in super::super) fn answered(
    connection: &mut Connection,
    change: &AuditedChange,
) -> Result<Option<ScheduleAnswer>, Fault> {
    let Some(found) = requests::found(connection, change)? else { return Ok(None) };
    let answer = match change.action {
        "TriggerSchedule" => {
            let outcome = found.outcome.and_then(TickOutcome::from_number);
            Some(ScheduleAnswer::Triggered { outcome, run: Some(found.of).filter(|run| !run.is_nil()) })
        }
        "BackfillSchedule" => backfills::get(connection, found.of)?.map(Box::new).map(ScheduleAnswer::Backfill),
        _ => by_uid_or_removed(connection, found.of)?.map(Box::new).map(ScheduleAnswer::Schedule),
    };
    Ok(Some(answer.ok_or_else(|| StoreError::from(ScheduleRefusal::NotFound(found.of.to_string())))?))
}

/// The schedule as it is, or as it was when it was removed.
pub(super) fn by_uid_or_removed(connection: &Connection, uid: Uuid) -> rusqlite::Result<Option<ScheduleRow>> {
    match by_uid(connection, uid)? {
        Some(stored) => Ok(Some(stored.row)),
        None => connection
            .prepare_cached(select_removed!("WHERE uid = ?1"))?
            .query_row([uid.as_bytes()], removed_row)
            .optional(),
    }
}

/// The schedule of this name that was removed last.
pub(super) fn removed_last(connection: &Connection, name: &str) -> rusqlite::Result<Option<ScheduleRow>> {
    connection
        .prepare_cached(select_removed!("WHERE name = ?1 ORDER BY rowid DESC LIMIT 1"))?
        .query_row([name], removed_row)
        .optional()
}

/// Keeps what requests that name the schedule are answered from now on.
pub(super) fn keep_removed(connection: &Connection, row: &ScheduleRow, now: Timestamp) -> rusqlite::Result<()> {
    let definition = stored_schedule::encode(&Schedule { input: bytes::Bytes::new(), ..row.schedule.clone() });
    connection
        .prepare_cached(
            "INSERT INTO removed_schedules (uid, name, source, definition, generation, created_at, updated_at, high_water,
                                            removed_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            row.uid.as_bytes(),
            row.schedule.name,
            row.source as u8,
            definition,
            rows::number(row.generation),
            row.created_at.as_micros(),
            row.updated_at.as_micros(),
            row.high_water.as_micros(),
            now.as_micros(),
        ])
        .map(drop)
}

fn removed_row(row: &Row<'_>) -> rusqlite::Result<ScheduleRow> {
    let definition = row.get_ref(3)?.as_blob()?;
    let schedule = stored_schedule::decode(row.get(1)?, definition).map_err(|error| unknown(3, &error.to_string()))?;
    let time = |column| Ok::<_, rusqlite::Error>(Timestamp::from_micros(row.get(column)?));
    Ok(ScheduleRow {
        uid: rows::uuid(row, 0)?,
        source: source(2, row.get(2)?)?,
        generation: rows::count(row, 4)?,
        updated_at: time(6)?,
        high_water: time(7)?,
        ..ScheduleRow::of(schedule, time(5)?)
    })
}
