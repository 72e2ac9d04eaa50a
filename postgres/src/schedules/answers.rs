//! What requests about schedules are answered that were made before, also once their schedule is removed (semantics.md D4).

use engine::store::support::encode_schedule;
use engine::store::{AuditedChange, Schedule, ScheduleAnswer, ScheduleRefusal, ScheduleRow, StoreError, TickOutcome};
use engine::time::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{backfills, by_uid, definition, of_source, source};
use crate::session::{Fault, Session, params};
use crate::{requests, rows};

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
pub(crate) async fn answered(session: &Session<'_>, change: &AuditedChange) -> Result<Option<ScheduleAnswer>, Fault> {
    let Some(found) = requests::found(session, change).await? else { return Ok(None) };
    let answer = match change.action {
        "TriggerSchedule" => {
            let number = found.outcome.and_then(|number| u8::try_from(number).ok());
            let outcome = number.and_then(TickOutcome::from_number);
            Some(ScheduleAnswer::Triggered { outcome, run: Some(found.of).filter(|run| !run.is_nil()) })
        }
        "BackfillSchedule" => backfills::find(session, &found.of).await?.map(Box::new).map(ScheduleAnswer::Backfill),
        _ => by_uid_or_removed(session, found.of).await?.map(Box::new).map(ScheduleAnswer::Schedule),
    };
    Ok(Some(answer.ok_or_else(|| StoreError::from(ScheduleRefusal::NotFound(found.of.to_string())))?))
}

/// The schedule as it is, or as it was when it was removed.
pub(super) async fn by_uid_or_removed(session: &Session<'_>, uid: Uuid) -> Result<Option<ScheduleRow>, Fault> {
    if let Some(stored) = by_uid(session, uid).await? {
        return Ok(Some(stored.row));
    }
    let found = session.row(select_removed!("WHERE uid = $1"), params![uid]).await?;
    found.as_ref().map(removed_row).transpose()
}

/// The schedule of this name that was removed last.
pub(super) async fn removed_last(session: &Session<'_>, name: &str) -> Result<Option<ScheduleRow>, Fault> {
    let found = session.row(select_removed!("WHERE name = $1 ORDER BY removed_at DESC LIMIT 1"), params![name]).await?;
    found.as_ref().map(removed_row).transpose()
}

/// Keeps what requests that name the schedule are answered from now on.
pub(super) async fn keep_removed(session: &Session<'_>, row: &ScheduleRow, now: Timestamp) -> Result<(), Fault> {
    let definition = encode_schedule(&Schedule { input: bytes::Bytes::new(), ..row.schedule.clone() });
    session
        .execute(
            "INSERT INTO removed_schedules (uid, name, source, definition, generation, created_at, updated_at,
                                            high_water, removed_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
            params![
                row.uid,
                row.schedule.name,
                of_source(row.source),
                definition,
                rows::number(row.generation),
                row.created_at.as_micros(),
                row.updated_at.as_micros(),
                row.high_water.as_micros(),
                now.as_micros(),
            ],
        )
        .await
        .map(drop)
}

fn removed_row(row: &Row) -> Result<ScheduleRow, Fault> {
    let schedule = definition(row.try_get(1)?, row.try_get(3)?)?;
    Ok(ScheduleRow {
        uid: row.try_get(0)?,
        source: source(row.try_get(2)?)?,
        generation: rows::count(row, 4)?,
        updated_at: rows::instant(row, 6)?,
        high_water: rows::instant(row, 7)?,
        ..ScheduleRow::of(schedule, rows::instant(row, 5)?)
    })
}
