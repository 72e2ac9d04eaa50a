//! What one run's append does to others: its children are created and asked to end, its parent hears of its end.

use rusqlite::params;
use uuid::Uuid;

use super::database::Database;
use super::job::Fault;
use super::{inbox, rows, writes};
use crate::state::State;
use crate::store::{Message, RelatedRuns};

/// Why a run is asked to end whose parent ends.
const REASON: &str = "its parent run ended";

pub(super) fn carry(db: &mut Database, related_runs: Option<&RelatedRuns>) -> Result<(), Fault> {
    let Some(related_runs) = related_runs else { return Ok(()) };
    for child in &related_runs.children {
        writes::insert(db, child)?;
    }
    for child in &related_runs.cancels {
        cancel(db, *child)?;
    }
    if let Some(report) = &related_runs.report
        && let Some(parent) = rows::find(&db.connection, report.parent)?
        && !parent.status.state.is_end()
    {
        inbox::put(db, &parent, Message::CHILD_ENDED, &report.payload, db.now)?;
    }
    Ok(())
}

/// A run that no replica holds becomes due immediately, as by an operator's cancel.
fn cancel(db: &Database, run: Uuid) -> rusqlite::Result<()> {
    db.connection
        .prepare_cached(
            "UPDATE runs SET cancel_requested = ?2, control = control + 1, updated_at = ?3,
                             wake_at = CASE WHEN owner = ?4 THEN wake_at ELSE ?3 END,
                             due_at = CASE WHEN owner = ?4 THEN NULL ELSE ?3 END,
                             owner = CASE WHEN owner = ?4 THEN owner END
             WHERE id = ?1 AND state < ?5 AND cancel_requested IS NULL",
        )?
        .execute(params![run.as_bytes(), REASON, db.now.as_micros(), db.owner.generation, State::Succeeded as u8])
        .map(drop)
}
