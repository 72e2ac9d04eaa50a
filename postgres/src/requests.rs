//! Request ids: what makes a repeated request of the API the same request (semantics.md D4).

use std::time::Duration;

use engine::store::{AuditedChange, BulkRequest, RunRow, Status, StoreError};
use engine::time::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::rows;
use crate::session::{Fault, Session, params};

/// How long a request id is remembered: the promised 24 hours, and one more for clocks that are set back.
pub(crate) const KEPT: Duration = Duration::from_hours(25);

/// At most so many of each are dropped in one transaction, so that other operations do not wait for it.
const DROPPED_TOGETHER: i64 = 256;

/// Stands for the run of a request that changes many, as long as it is not completed.
const MANY: Uuid = Uuid::nil();

/// Stands for the run of a completed request that changed many.
const MANY_COMPLETED: Uuid = Uuid::max();

/// What is remembered of a request.
pub(crate) struct Found {
    /// The run, schedule or backfill that it was about; nil for a trigger that named no run.
    pub(crate) of: Uuid,
    /// What a trigger came to.
    pub(crate) outcome: Option<i16>,
    created_at: Timestamp,
}

/// Reads what is remembered of a request; none if it was not made before.
///
/// # Errors
/// [`StoreError::RequestMismatch`] if another request has this id.
pub(crate) async fn found(session: &Session<'_>, change: &AuditedChange) -> Result<Option<Found>, Fault> {
    let Some(key) = &change.asked.request else { return Ok(None) };
    let found = session
        .row(
            "SELECT hash, of, created_at, outcome FROM requests WHERE id = $1 AND method = $2",
            params![key.id, change.action],
        )
        .await?;
    let Some(row) = found else { return Ok(None) };
    if row.try_get::<_, &[u8]>(0)? != key.hash {
        return Err(StoreError::RequestMismatch(key.id).into());
    }
    Ok(Some(Found { of: row.try_get(1)?, created_at: rows::instant(&row, 2)?, outcome: row.try_get(3)? }))
}

/// Returns the run that an earlier request with this id changed: as it is, or as it was when it was removed.
pub(crate) async fn answer(session: &Session<'_>, change: &AuditedChange) -> Result<Option<RunRow>, Fault> {
    let Some(Found { of: run, .. }) = found(session, change).await? else { return Ok(None) };
    match rows::find(session, run).await? {
        Some(row) => Ok(Some(row)),
        None => Ok(Some(removed(session, run).await?.ok_or(StoreError::NotFound(run))?)),
    }
}

/// Remembers a request that changes many runs, and whether it is completed by now.
pub(crate) async fn bulk(
    session: &Session<'_>,
    (change, completed): &(AuditedChange, bool),
) -> Result<BulkRequest, Fault> {
    let Some(found) = found(session, change).await? else {
        if !keep(session, change, if *completed { MANY_COMPLETED } else { MANY }).await? {
            return Err(Fault::Again);
        }
        return Ok(BulkRequest { first_made: session.now, completed: *completed });
    };
    if let (true, Some(key)) = (*completed, &change.asked.request) {
        session
            .execute(
                "UPDATE requests SET of = $3 WHERE id = $1 AND method = $2",
                params![key.id, change.action, MANY_COMPLETED],
            )
            .await?;
    }
    Ok(BulkRequest { first_made: found.created_at, completed: *completed || found.of == MANY_COMPLETED })
}

/// Remembers a request. Says whether no one has made it meanwhile.
pub(crate) async fn keep(session: &Session<'_>, change: &AuditedChange, of: Uuid) -> Result<bool, Fault> {
    let Some(key) = &change.asked.request else { return Ok(true) };
    let kept = session
        .execute(
            "INSERT INTO requests (id, method, hash, of, created_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
            params![key.id, change.action, &key.hash[..], of, session.now.as_micros()],
        )
        .await?;
    Ok(kept > 0)
}

/// Remembers what a trigger came to.
pub(crate) async fn keep_outcome(
    session: &Session<'_>,
    change: &AuditedChange,
    outcome: Option<i16>,
) -> Result<(), Fault> {
    let Some(key) = &change.asked.request else { return Ok(()) };
    session
        .execute(
            "UPDATE requests SET outcome = $3 WHERE id = $1 AND method = $2",
            params![key.id, change.action, outcome],
        )
        .await
        .map(drop)
}

/// Keeps what the requests that name runs are answered once they are removed. Audit entries say whether there are any.
pub(crate) async fn keep_removed(session: &Session<'_>, runs: &[Uuid]) -> Result<(), Fault> {
    session
        .execute(
            "INSERT INTO removed_runs (id, workflow, state, created_at, updated_at, ended_at, deadline, epoch, sequence,
                                       control, steps, parent, removed_at)
             SELECT id, workflow, state, created_at, updated_at, ended_at, deadline, epoch, sequence, control, steps,
                    parent, $2
             FROM ended
             WHERE id = ANY($1) AND EXISTS (SELECT 1 FROM audit WHERE audit.run = ended.id
                                            AND audit.request IS NOT NULL AND audit.at >= $3)
             ON CONFLICT DO NOTHING",
            params![runs.to_vec(), session.now.as_micros(), session.now.before(KEPT).as_micros()],
        )
        .await
        .map(drop)
}

/// A run as it was when it was removed, without its texts.
async fn removed(session: &Session<'_>, run: Uuid) -> Result<Option<RunRow>, Fault> {
    let found = session
        .row(
            "SELECT removed_runs.id, workflows.name, workflows.version, removed_runs.state, removed_runs.created_at,
                    removed_runs.updated_at, removed_runs.ended_at, removed_runs.deadline, removed_runs.epoch,
                    removed_runs.sequence, removed_runs.control, removed_runs.steps, removed_runs.parent
             FROM removed_runs JOIN workflows ON workflows.id = removed_runs.workflow WHERE removed_runs.id = $1",
            params![run],
        )
        .await?;
    found.as_ref().map(removed_row).transpose()
}

fn removed_row(row: &Row) -> Result<RunRow, Fault> {
    Ok(RunRow {
        id: row.try_get(0)?,
        workflow: row.try_get(1)?,
        workflow_version: rows::small(row, 2)?,
        status: Status {
            state: rows::state(row.try_get(3)?)?,
            reason: String::new(),
            ending_as: None,
            wake_at: None,
            awaits: Vec::new(),
            steps: rows::small(row, 11)?,
            error: None,
        },
        created_at: rows::instant(row, 4)?,
        updated_at: rows::instant(row, 5)?,
        ended_at: rows::time(row, 6)?,
        deadline: rows::instant(row, 7)?,
        origin: None,
        epoch: rows::count(row, 8)?,
        sequence: rows::count(row, 9)?,
        control: rows::count(row, 10)?,
        messages: 0,
        parent: row.try_get(12)?,
        cancel_requested: None,
        paused: None,
        pinned: false,
        owned: false,
        copied_at: None,
        set_back: None,
    })
}

/// Drops some that are old enough, oldest first; says whether there may be more.
pub(crate) async fn drop_old(session: &Session<'_>) -> Result<bool, Fault> {
    let before = session.now.before(KEPT).as_micros();
    let mut more = false;
    for statement in [
        "DELETE FROM requests WHERE (id, method) IN (
             SELECT id, method FROM requests WHERE created_at < $1 ORDER BY created_at LIMIT $2)",
        "DELETE FROM removed_runs WHERE id IN (
             SELECT id FROM removed_runs WHERE removed_at < $1 ORDER BY removed_at LIMIT $2)",
        "DELETE FROM removed_schedules WHERE uid IN (
             SELECT uid FROM removed_schedules WHERE removed_at < $1 ORDER BY removed_at LIMIT $2)",
        "DELETE FROM backfills WHERE id IN (
             SELECT id FROM backfills WHERE schedule = '00000000-0000-0000-0000-000000000000' AND ended_at < $1
             ORDER BY created_at LIMIT $2)",
    ] {
        let dropped = session.execute(statement, params![before, DROPPED_TOGETHER]).await?;
        more |= dropped == DROPPED_TOGETHER.unsigned_abs();
    }
    Ok(more)
}
