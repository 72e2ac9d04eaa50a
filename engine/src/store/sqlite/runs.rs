//! Creating runs and appending to them: the path that every step of every run takes.

use bytes::Bytes;
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::database::Database;
use super::job::Fault;
use super::{adoption, audit, inbox, related_runs, requests, rows};
use crate::state::State;
use crate::store::{Append, Appended, Created, NewRun, Status, StoreError};
use crate::time::Timestamp;

pub(super) fn create(db: &mut Database, run: &NewRun) -> Result<Created, Fault> {
    if let Some(change) = &run.change
        && let Some(existing) = requests::answer(&db.connection, change)?
    {
        return Ok(Created::Existing(Box::new(existing)));
    }
    if !insert(db, run)? {
        let state = rows::get(&db.connection, run.id)?.status.state;
        return Err(StoreError::Precondition { run: run.id, state }.into());
    }
    if let Some(change) = &run.change {
        audit::keep(db, change, run.id)?;
    }
    Ok(Created::New)
}

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
    adoption::inherit(db, run)?;
    journal(db, run.id, rows::number(run.facts), i64::from(run.claimed), &run.entry)?;
    Ok(true)
}

pub(super) fn append(db: &mut Database, append: &Append) -> Result<Appended, Fault> {
    let epoch = rows::number(append.epoch);
    let sequence = rows::number(append.sequence.saturating_add(append.facts));
    let gives_back = append.release || append.status.state.is_end();
    // Most appends keep the run's state, and then no index has to be touched. Whether this one does is found out by
    // trying: a look first would cost every append what a miss costs the few.
    let moved = (!gives_back && keep(db, append, sequence)?) || move_on(db, append, sequence)?;
    if !moved {
        return why_not(db, append);
    }
    if append.facts > 0 || !append.entry.is_empty() {
        journal(db, append.run, sequence, epoch, &append.entry)?;
    }
    inbox::take(db, append)?;
    related_runs::carry(db, append.related_runs.as_deref())?;
    for change in &append.changes {
        audit::keep(db, change, append.run)?;
    }
    Ok(Appended::Done)
}

/// Moves a run that stays in its state and with its owner.
fn keep(db: &Database, append: &Append, sequence: i64) -> rusqlite::Result<bool> {
    let status = &append.status;
    let (error_code, error_message) = error(status);
    let changed = db
        .connection
        .prepare_cached(
            "UPDATE runs SET sequence = ?6, updated_at = ?7, steps = ?8, wake_at = ?9, ending_as = ?10, reason = ?11,
                             error_code = ?12, error_message = ?13
             WHERE id = ?1 AND epoch = ?2 AND sequence = ?3 AND owner = ?4 AND state = ?5
               AND (?14 IS NULL OR control = ?14)",
        )?
        .execute(params![
            append.run.as_bytes(),
            rows::number(append.epoch),
            rows::number(append.sequence),
            db.owner.generation,
            status.state as u8,
            sequence,
            db.now.as_micros(),
            status.steps,
            rows::micros(status.wake_at),
            status.ending_as.map(|state| state as u8),
            status.reason,
            error_code,
            error_message,
            append.control.map(rows::number),
        ])?;
    Ok(changed > 0)
}

/// Moves a run into another state, or out of its owner's hands.
fn move_on(db: &Database, append: &Append, sequence: i64) -> rusqlite::Result<bool> {
    let status = &append.status;
    let (error_code, error_message) = error(status);
    let end = status.state.is_end();
    let held = !append.release && !end;
    let due_at = if held { None } else { due(status, db.now) };
    let changed = db
        .connection
        .prepare_cached(
            "UPDATE runs SET sequence = ?6, updated_at = ?7, steps = ?8, wake_at = ?9, ending_as = ?10, reason = ?11,
                             error_code = ?12, error_message = ?13, state = ?5, owner = ?15, due_at = ?16,
                             ended_at = ?17, awaits = ?18
             WHERE id = ?1 AND epoch = ?2 AND sequence = ?3 AND owner = ?4
               AND (?14 IS NULL OR control = ?14) AND (?19 IS NULL OR messages = ?19)",
        )?
        .execute(params![
            append.run.as_bytes(),
            rows::number(append.epoch),
            rows::number(append.sequence),
            db.owner.generation,
            status.state as u8,
            sequence,
            db.now.as_micros(),
            status.steps,
            rows::micros(if end { None } else { status.wake_at }),
            status.ending_as.map(|state| state as u8),
            status.reason,
            error_code,
            error_message,
            append.control.map(rows::number),
            held.then_some(db.owner.generation),
            rows::micros(due_at),
            end.then_some(db.now.as_micros()),
            rows::lines(&status.awaits),
            append.messages.map(rows::number),
        ])?;
    Ok(changed > 0)
}

/// Says why an append did not find its run the way its owner knows it.
fn why_not(db: &Database, append: &Append) -> Result<Appended, Fault> {
    let row = rows::get(&db.connection, append.run)?;
    let commanded = append.control.is_some_and(|seen| seen != row.control)
        || append.messages.is_some_and(|seen| seen != row.messages);
    if row.owned && row.epoch == append.epoch && row.sequence == append.sequence && commanded {
        return Ok(Appended::Superseded(Box::new(row)));
    }
    Err(StoreError::Fenced(append.run).into())
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
