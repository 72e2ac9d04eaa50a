//! Request ids: what makes a repeated request of the API the same request (semantics.md D4).

use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::database::Database;
use super::job::Fault;
use super::old_requests::KEPT;
use super::rows;
use crate::store::{AuditedChange, BulkRequest, RunRow, Status, StoreError};
use crate::time::Timestamp;

/// Stands for the run of a request that changes many, as long as it is not completed.
const MANY: Uuid = Uuid::nil();

/// Stands for the run of a completed request that changed many.
const MANY_COMPLETED: Uuid = Uuid::max();

/// What is remembered of a request.
pub(super) struct Found {
    /// The run, schedule or backfill that it was about; nil for a trigger that named no run.
    pub(super) of: Uuid,
    /// What a trigger came to.
    pub(super) outcome: Option<u8>,
    created_at: Timestamp,
}

/// Reads what is remembered of a request; none if it was not made before.
///
/// # Errors
/// [`StoreError::RequestMismatch`] if another request has this id.
pub(super) fn found(connection: &Connection, change: &AuditedChange) -> Result<Option<Found>, Fault> {
    let Some(key) = &change.asked.request else { return Ok(None) };
    let found = connection
        .prepare_cached("SELECT hash, run, created_at, outcome FROM requests WHERE id = ?1 AND method = ?2")?
        .query_row(params![key.id.as_bytes(), change.action], |row| {
            let created_at = Timestamp::from_micros(row.get(2)?);
            Ok((row.get::<_, [u8; 32]>(0)?, Found { of: rows::uuid(row, 1)?, outcome: row.get(3)?, created_at }))
        })
        .optional()?;
    match found {
        Some((hash, _)) if hash != key.hash => Err(StoreError::RequestMismatch(key.id).into()),
        found => Ok(found.map(|(_, found)| found)),
    }
}

/// Returns the run that an earlier request with this id changed: as it is, or as it was when it was removed.
pub(super) fn answer(connection: &Connection, change: &AuditedChange) -> Result<Option<RunRow>, Fault> {
    let Some(Found { of: run, .. }) = found(connection, change)? else { return Ok(None) };
    match rows::find(connection, run)? {
        Some(row) => Ok(Some(row)),
        None => Ok(Some(removed(connection, run)?.ok_or(StoreError::NotFound(run))?)),
    }
}

/// The same for a reader.
pub(super) fn answered(connection: &mut Connection, change: &AuditedChange) -> Result<Option<RunRow>, Fault> {
    answer(connection, change)
}

/// Remembers a request that changes many runs, and whether it is completed by now.
pub(super) fn bulk(db: &mut Database, (change, completed): &(AuditedChange, bool)) -> Result<BulkRequest, Fault> {
    let Some(found) = found(&db.connection, change)? else {
        keep(db, change, if *completed { MANY_COMPLETED } else { MANY })?;
        return Ok(BulkRequest { first_made: db.now, completed: *completed });
    };
    if let (true, Some(key)) = (*completed, &change.asked.request) {
        db.connection
            .prepare_cached("UPDATE requests SET run = ?3 WHERE id = ?1 AND method = ?2")?
            .execute(params![key.id.as_bytes(), change.action, MANY_COMPLETED.as_bytes()])?;
    }
    Ok(BulkRequest { first_made: found.created_at, completed: *completed || found.of == MANY_COMPLETED })
}

/// Remembers a request. Of two at the same moment the first is kept: only one of them found the run as it was.
pub(super) fn keep(db: &Database, change: &AuditedChange, run: Uuid) -> rusqlite::Result<()> {
    let Some(key) = &change.asked.request else { return Ok(()) };
    db.connection
        .prepare_cached(
            "INSERT INTO requests (method, id, hash, run, created_at) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
        )?
        .execute(params![change.action, key.id.as_bytes(), key.hash, run.as_bytes(), db.now.as_micros()])
        .map(drop)
}

/// Remembers what a trigger came to.
pub(super) fn keep_outcome(db: &Database, change: &AuditedChange, outcome: Option<u8>) -> rusqlite::Result<()> {
    let Some(key) = &change.asked.request else { return Ok(()) };
    db.connection
        .prepare_cached("UPDATE requests SET outcome = ?3 WHERE id = ?1 AND method = ?2")?
        .execute(params![key.id.as_bytes(), change.action, outcome])
        .map(drop)
}

/// Keeps what the requests that name a run are answered once it is removed. Audit entries say whether there are any.
pub(super) fn keep_removed(db: &Database, run: Uuid) -> rusqlite::Result<()> {
    db.connection
        .prepare_cached(
            "INSERT INTO removed_runs (id, workflow, state, created_at, updated_at, ended_at, deadline, epoch, sequence,
                                       control, steps, parent, removed_at)
             SELECT id, workflow, state, created_at, updated_at, ended_at, deadline, epoch, sequence, control, steps,
                    parent, ?2
             FROM runs
             WHERE id = ?1 AND EXISTS (SELECT 1 FROM audit INDEXED BY audit_by_run
                                       WHERE audit.run = ?1 AND audit.request IS NOT NULL AND audit.at >= ?3)
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![run.as_bytes(), db.now.as_micros(), db.now.before(KEPT).as_micros()])
        .map(drop)
}

/// A run as it was when it was removed, without its texts.
fn removed(connection: &Connection, run: Uuid) -> rusqlite::Result<Option<RunRow>> {
    connection
        .prepare_cached(
            "SELECT removed_runs.id, workflows.name, workflows.version, state, created_at, updated_at, ended_at, deadline,
                    epoch, sequence, control, steps, parent
             FROM removed_runs CROSS JOIN workflows ON workflows.id = removed_runs.workflow WHERE removed_runs.id = ?1",
        )?
        .query_row([run.as_bytes()], |row| {
            Ok(RunRow {
                id: rows::uuid(row, 0)?,
                workflow: row.get(1)?,
                workflow_version: row.get(2)?,
                status: Status {
                    state: rows::state(3, row.get(3)?)?,
                    reason: String::new(),
                    ending_as: None,
                    wake_at: None,
                    awaits: Vec::new(),
                    steps: row.get(11)?,
                    error: None,
                },
                created_at: Timestamp::from_micros(row.get(4)?),
                updated_at: Timestamp::from_micros(row.get(5)?),
                ended_at: rows::time(row, 6)?,
                deadline: Timestamp::from_micros(row.get(7)?),
                origin: None,
                epoch: rows::count(row, 8)?,
                sequence: rows::count(row, 9)?,
                control: rows::count(row, 10)?,
                messages: 0,
                parent: row.get::<_, Option<[u8; 16]>>(12)?.map(Uuid::from_bytes),
                cancel_requested: None,
                paused: None,
                pinned: false,
                owned: false,
                copied_at: None,
                set_back: None,
            })
        })
        .optional()
}
