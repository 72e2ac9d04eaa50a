//! How a run is asked to end, by an operator or by its schedule.

use rusqlite::params;
use uuid::Uuid;

use super::database::Database;
use super::job::Fault;
use super::{audit, rows};
use crate::state::State;
use crate::store::{AuditedChange, RunRow, StoreError};
use crate::time::Timestamp;

/// Asks a run to end. One that no replica holds becomes due immediately.
pub(super) fn cancel(db: &Database, row: &RunRow, change: &AuditedChange, now: Timestamp) -> Result<(), Fault> {
    let state = row.status.state;
    if state.is_end() {
        let asked = state == State::Cancelled || row.cancel_requested.is_some();
        return if asked { Ok(()) } else { Err(StoreError::Precondition { run: row.id, state }.into()) };
    }
    // Who asked first keeps the word. A run held by an earlier owner is held by no one.
    db.connection
        .prepare_cached(
            "UPDATE runs SET cancel_requested = coalesce(cancel_requested, ?2), control = control + 1,
                             updated_at = ?3,
                             wake_at = CASE WHEN owner = ?4 THEN wake_at ELSE ?5 END,
                             due_at = CASE WHEN owner = ?4 THEN NULL ELSE ?5 END,
                             owner = CASE WHEN owner = ?4 THEN owner END, paused_at = NULL
             WHERE id = ?1",
        )?
        .execute(params![
            row.id.as_bytes(),
            change.asked.reason,
            db.now.as_micros(),
            db.owner.generation,
            now.as_micros(),
        ])?;
    Ok(())
}

/// The same for a schedule, which asks without a request id.
pub(super) fn by_schedule(db: &Database, run: Uuid, change: &AuditedChange) -> Result<(), Fault> {
    let row = rows::get(&db.connection, run)?;
    cancel(db, &row, change, db.now)?;
    Ok(audit::keep(db, change, run)?)
}
