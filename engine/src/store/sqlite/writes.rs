//! What every way of changing a run writes: a new run, an entry of a journal, and the columns that follow from a status.

use bytes::Bytes;
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::database::Database;
use super::job::Fault;
use super::{adoption, rows};
use crate::state::State;
use crate::store::{NewRun, Status};
use crate::time::Timestamp;

pub(super) fn exists(connection: &Connection, run: Uuid) -> rusqlite::Result<bool> {
    connection.prepare_cached("SELECT 1 FROM runs WHERE id = ?1")?.exists([run.as_bytes()])
}

/// Writes a run and its first facts, unless its id is taken.
pub(super) fn insert(db: &mut Database, run: &NewRun) -> Result<bool, Fault> {
    let workflow = db.workflows.number(&db.connection, &run.workflow, run.workflow_version)?;
    let status = &run.status;
    let (error_code, error_message) = error(status);
    let end = status.state.is_end();
    let held = run.claimed && !end;
    let due_at = if held { None } else { due(status, run.created_at) };
    let by = run.origin.as_ref().and_then(|origin| origin.by).map(rows::tick_origin_columns);
    let written = db
        .connection
        .prepare_cached(
            "INSERT INTO runs (id, workflow, state, owner, due_at, epoch, sequence, control, steps, created_at,
                               updated_at, deadline, ended_at, wake_at, ending_as, reason, error_code,
                               error_message, schedule, nominal, parent, awaits, tick_origin,
                               tick_of)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20,
                     ?21, ?22, ?23)
             ON CONFLICT (id) DO NOTHING",
        )?
        .execute(params![
            run.id.as_bytes(),
            workflow,
            status.state as u8,
            held.then_some(db.owner.generation),
            rows::micros(due_at),
            i64::from(run.claimed),
            rows::number(run.facts),
            status.steps,
            run.created_at.as_micros(),
            db.now.as_micros(),
            run.deadline.as_micros(),
            end.then_some(db.now.as_micros()),
            rows::micros(if end { None } else { status.wake_at }),
            status.ending_as.map(|state| state as u8),
            status.reason,
            error_code,
            error_message,
            run.origin.as_ref().map(|origin| origin.schedule.as_str()),
            run.origin.as_ref().map(|origin| origin.nominal.as_micros()),
            run.parent.map(|parent| parent.run.into_bytes()),
            rows::lines(&status.awaits),
            by.map(|(kind, _)| kind),
            by.and_then(|(_, of)| of),
        ])?;
    if written == 0 {
        return Ok(false);
    }
    adoption::inherit(&db.connection, db.adoption, run)?;
    journal(db, run.id, rows::number(run.facts), i64::from(run.claimed), &run.entry)?;
    Ok(true)
}

/// Adds an entry whose last fact has this number.
pub(super) fn journal(db: &Database, run: Uuid, sequence: i64, epoch: i64, entry: &Bytes) -> rusqlite::Result<()> {
    db.connection
        .prepare_cached("INSERT INTO journal (run, sequence, epoch, entry) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![run.as_bytes(), sequence, epoch, entry.as_ref()])
        .map(drop)
}

/// When a run that no replica holds may be claimed: a pending one `since` then, others when they wake.
pub(super) fn due(status: &Status, since: Timestamp) -> Option<Timestamp> {
    match status.state {
        State::Pending => Some(since),
        state if state.is_end() => None,
        _ => status.wake_at,
    }
}

pub(super) fn error(status: &Status) -> (Option<i32>, Option<&str>) {
    status.error.as_ref().map(|(code, message)| (*code, message.as_str())).unzip()
}
