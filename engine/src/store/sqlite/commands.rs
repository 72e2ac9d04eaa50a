//! What operators ask of a run: to end, or to go on after a failure.

use rusqlite::params;

use super::database::Database;
use super::job::Fault;
use super::{requests, rows, runs};
use crate::state::State;
use crate::store::{Cancel, Reopen, RunRow, StoreError};

pub(super) fn cancel(db: &mut Database, cancel: &Cancel) -> Result<RunRow, Fault> {
    if let Some(key) = &cancel.request
        && let Some(run) = requests::find(db, key)?
    {
        return rows::get(&db.connection, run);
    }
    let row = rows::get(&db.connection, cancel.run)?;
    let state = row.status.state;
    if state.is_end() && state != State::Cancelled && row.cancel_requested.is_none() {
        return Err(StoreError::Precondition { run: cancel.run, state }.into());
    }
    if let Some(key) = &cancel.request {
        requests::keep(db, key, cancel.run)?;
    }
    if state.is_end() {
        return Ok(row);
    }
    // Who asked first keeps the word. A run held by an earlier owner is held by nobody.
    db.connection
        .prepare_cached(
            "UPDATE runs SET cancel_requested = coalesce(cancel_requested, ?2), control = control + 1,
                             updated_at = ?3,
                             wake_at = CASE WHEN owner = ?4 THEN wake_at ELSE ?5 END,
                             due_at = CASE WHEN owner = ?4 THEN NULL ELSE ?5 END,
                             owner = CASE WHEN owner = ?4 THEN owner END
             WHERE id = ?1",
        )?
        .execute(params![
            cancel.run.as_bytes(),
            cancel.reason,
            db.now.as_micros(),
            db.owner.generation,
            cancel.now.as_micros(),
        ])?;
    rows::get(&db.connection, cancel.run)
}

pub(super) fn reopen(db: &mut Database, reopen: &Reopen) -> Result<RunRow, Fault> {
    if let Some(key) = &reopen.request
        && let Some(run) = requests::find(db, key)?
    {
        return rows::get(&db.connection, run);
    }
    let row = rows::get(&db.connection, reopen.run)?;
    let state = row.status.state;
    if row.owned || !matches!(state, State::Failed | State::Blocked | State::NeedsDecision) {
        return Err(StoreError::Precondition { run: reopen.run, state }.into());
    }
    if row.epoch != reopen.epoch || row.sequence != reopen.sequence {
        return Err(StoreError::Fenced(reopen.run).into());
    }
    let sequence = rows::number(reopen.sequence.saturating_add(reopen.facts));
    db.connection
        .prepare_cached(
            "UPDATE runs SET state = ?2, reason = '', ending_as = NULL, error_code = NULL, error_message = NULL,
                             ended_at = NULL, cancel_requested = NULL, owner = NULL, wake_at = ?3, due_at = ?3,
                             deadline = ?4, sequence = ?5, control = control + 1, updated_at = ?6
             WHERE id = ?1",
        )?
        .execute(params![
            reopen.run.as_bytes(),
            State::Pending as u8,
            reopen.now.as_micros(),
            reopen.deadline.as_micros(),
            sequence,
            db.now.as_micros(),
        ])?;
    runs::journal(db, reopen.run, sequence, rows::number(reopen.epoch), &reopen.entry)?;
    if let Some(key) = &reopen.request {
        requests::keep(db, key, reopen.run)?;
    }
    rows::get(&db.connection, reopen.run)
}
