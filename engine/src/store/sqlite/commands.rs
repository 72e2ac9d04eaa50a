//! What is asked of a run from outside: one change, with its audit entry and its request id.

use rusqlite::params;

use super::database::Database;
use super::job::Fault;
use super::{audit, cancels, inbox, purges, related_runs, requests, rows, schedules, writes};
use crate::state::State;
use crate::store::{Command, CommandKind, Pause, RunRow, StoreError, UnownedAppend};

pub(super) fn command(db: &mut Database, command: &Command) -> Result<RunRow, Fault> {
    if let Some(row) = requests::answer(&db.connection, &command.change)? {
        return Ok(row);
    }
    let row = rows::get(&db.connection, command.run)?;
    if matches!(command.kind, CommandKind::Delete) {
        if !row.status.state.is_end() {
            return Err(StoreError::Precondition { run: row.id, state: row.status.state }.into());
        }
        // Before the run is gone: the entry names its workflow.
        audit::keep(db, &command.change, command.run)?;
        purges::remove(db, command.run)?;
        return Ok(row);
    }
    match &command.kind {
        CommandKind::Signal(signal) => inbox::signal(db, command, &row, signal)?,
        CommandKind::Cancel => cancels::cancel(db, &row, &command.change, command.now)?,
        CommandKind::Pause(how) => pause(db, command, &row, *how)?,
        CommandKind::Resume => resume(db, command, &row)?,
        CommandKind::Pin(pinned) => pin(db, &row, *pinned)?,
        CommandKind::Delete => {}
        CommandKind::Append(append) => {
            self::append(db, command, &row, append)?;
            related_runs::carry(db, append.related_runs.as_deref())?;
        }
    }
    audit::keep(db, &command.change, command.run)?;
    rows::get(&db.connection, command.run)
}

/// A run that is held stops by itself, and says so once nothing of it is under way.
fn pause(db: &Database, command: &Command, row: &RunRow, how: Pause) -> Result<(), Fault> {
    let state = row.status.state;
    if let Some(paused) = &row.paused {
        return if how.stops_clock && !paused.stops_clock { stop_clock(db, command, row) } else { Ok(()) };
    }
    if !state.may_become(State::Paused) || row.cancel_requested.is_some() {
        return Err(StoreError::Precondition { run: row.id, state }.into());
    }
    let wake_at = (!how.stops_clock).then_some(how.wake_at);
    let (state, wake_at, due_at) = match row.owned {
        true => (state, row.status.wake_at, None),
        false => (State::Paused, wake_at, wake_at),
    };
    db.connection
        .prepare_cached(
            "UPDATE runs SET paused_at = ?2, pause_reason = ?3, pause_stops_clock = ?4, control = control + 1,
                             updated_at = ?5, state = ?6, wake_at = ?7, due_at = ?8,
                             reason = CASE WHEN ?9 THEN reason ELSE '' END, owner = CASE WHEN ?9 THEN owner END
             WHERE id = ?1",
        )?
        .execute(params![
            row.id.as_bytes(),
            command.now.as_micros(),
            command.change.asked.reason,
            how.stops_clock,
            db.now.as_micros(),
            state as u8,
            rows::micros(wake_at),
            rows::micros(due_at),
            row.owned,
        ])?;
    Ok(())
}

/// A pause of a run that is paused, and whose clock goes: it stands from now on (semantics.md S3).
fn stop_clock(db: &Database, command: &Command, row: &RunRow) -> Result<(), Fault> {
    db.connection
        .prepare_cached(
            "UPDATE runs SET paused_at = ?2, pause_stops_clock = 1, control = control + 1, updated_at = ?3,
                             wake_at = CASE WHEN ?4 THEN wake_at END, due_at = CASE WHEN ?4 THEN due_at END
             WHERE id = ?1",
        )?
        .execute(params![row.id.as_bytes(), command.now.as_micros(), db.now.as_micros(), row.owned])?;
    Ok(())
}

fn resume(db: &Database, command: &Command, row: &RunRow) -> Result<(), Fault> {
    let state = row.status.state;
    let Some(paused) = row.paused.as_ref().filter(|_| !state.is_end()) else {
        return Err(StoreError::Precondition { run: row.id, state }.into());
    };
    let stood = if paused.stops_clock { command.now.since(paused.at) } else { std::time::Duration::ZERO };
    // A run that is held hears of it when it is given back.
    let due = (!row.owned).then_some(command.now.as_micros());
    db.connection
        .prepare_cached(
            "UPDATE runs SET paused_at = NULL, control = control + 1, updated_at = ?2, deadline = ?3,
                             state = CASE WHEN ?4 IS NULL THEN state ELSE ?5 END,
                             wake_at = coalesce(?4, wake_at), due_at = ?4
             WHERE id = ?1",
        )?
        .execute(params![
            row.id.as_bytes(),
            db.now.as_micros(),
            row.deadline.after(stood).as_micros(),
            due,
            State::Pending as u8,
        ])?;
    Ok(schedules::resumed(db, row)?)
}

fn pin(db: &Database, row: &RunRow, pinned: bool) -> Result<(), Fault> {
    db.connection.prepare_cached("UPDATE runs SET pinned = ?2, updated_at = ?3 WHERE id = ?1")?.execute(params![
        row.id.as_bytes(),
        pinned,
        db.now.as_micros()
    ])?;
    Ok(())
}

/// Appends what an operator decided, if the run is still as the operator saw it (semantics.md O2).
fn append(db: &Database, command: &Command, row: &RunRow, append: &UnownedAppend) -> Result<(), Fault> {
    let (from, status) = (row.status.state, &append.status);
    // Before its state is looked at: what was claimed or changed since it was read is looked at again.
    if row.owned || (row.epoch, row.sequence, row.control) != (append.epoch, append.sequence, append.control) {
        return Err(StoreError::Fenced(row.id).into());
    }
    if !from.may_become(status.state) {
        return Err(StoreError::Precondition { run: row.id, state: from }.into());
    }
    let end = status.state.is_end();
    let sequence = rows::number(append.sequence.saturating_add(append.facts));
    let (error_code, error_message) = writes::error(status);
    // A run that is taken up again after its end is no longer asked to end. One that was only stopped still is: the cancel
    // was acknowledged, and may be on its way.
    let taken_up = from.is_end();
    db.connection
        .prepare_cached(
            "UPDATE runs SET state = ?2, reason = ?3, ending_as = ?4, wake_at = ?5, due_at = ?6, steps = ?7,
                             error_code = ?8, error_message = ?9, ended_at = ?10, deadline = ?11, sequence = ?12,
                             cancel_requested = CASE WHEN ?13 THEN NULL ELSE cancel_requested END,
                             paused_at = CASE WHEN ?15 THEN paused_at END,
                             owner = NULL, control = control + 1, updated_at = ?14
             WHERE id = ?1",
        )?
        .execute(params![
            row.id.as_bytes(),
            status.state as u8,
            status.reason,
            status.ending_as.map(|state| state as u8),
            rows::micros(status.wake_at),
            rows::micros(writes::due(status, command.now)),
            status.steps,
            error_code,
            error_message,
            end.then_some(db.now.as_micros()),
            append.deadline.as_micros(),
            sequence,
            taken_up && !end && status.ending_as.is_none(),
            db.now.as_micros(),
            append.keeps_pause,
        ])?;
    if append.facts > 0 {
        writes::journal(db, row.id, sequence, rows::number(append.epoch), &append.entry)?;
    }
    Ok(())
}
