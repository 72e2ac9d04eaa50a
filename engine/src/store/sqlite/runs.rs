//! Creating runs and appending to them: the path that every step of every run takes.

use rusqlite::params;

use super::database::Database;
use super::job::Fault;
use super::{audit, inbox, related_runs, requests, rows, writes};
use crate::store::{Append, Appended, Created, NewRun, StoreError};

pub(super) fn create(db: &mut Database, run: &NewRun) -> Result<Created, Fault> {
    if let Some(change) = &run.change
        && let Some(existing) = requests::answer(&db.connection, change)?
    {
        return Ok(Created::Existing(Box::new(existing)));
    }
    if !writes::insert(db, run)? {
        let state = rows::get(&db.connection, run.id)?.status.state;
        return Err(StoreError::Precondition { run: run.id, state }.into());
    }
    if let Some(change) = &run.change {
        audit::keep(db, change, run.id)?;
    }
    Ok(Created::New)
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
        writes::journal(db, append.run, sequence, epoch, &append.entry)?;
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
    let (error_code, error_message) = writes::error(status);
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
    let (error_code, error_message) = writes::error(status);
    let end = status.state.is_end();
    let held = !append.release && !end;
    let due_at = if held { None } else { writes::due(status, db.now) };
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
