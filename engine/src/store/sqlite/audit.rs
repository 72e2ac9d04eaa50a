//! The audit trail: one row for every change that somebody asked for, committed with the change (semantics.md D4).

use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::database::Database;
use super::job::Fault;
use super::{requests, rows};
use crate::store::{AuditEntry, AuditedChange, ListAudit, ScheduleRow};
use crate::time::Timestamp;

/// Writes down what was changed, and which request it was. The run must be there still.
///
/// One row of values, not a `SELECT`: SQLite would copy every page that a statement of many rows may touch, to take it
/// back by itself.
pub(super) fn keep(db: &Database, change: &AuditedChange, run: Uuid) -> rusqlite::Result<()> {
    requests::keep(db, change, run)?;
    db.connection
        .prepare_cached(
            "INSERT INTO audit (at, caller, action, detail, reason, run, workflow, request, schedule)
             VALUES (?2, ?3, ?4, ?5, ?6, ?1, (SELECT workflow FROM runs WHERE id = ?1), ?7, ?8)",
        )?
        .execute(params![
            run.as_bytes(),
            db.now.as_micros(),
            change.asked.caller,
            change.action,
            change.detail,
            change.asked.reason,
            change.asked.request.as_ref().map(|key| key.id.into_bytes()),
            change.schedule,
        ])
        .map(drop)
}

/// The same for a change of a schedule, which may start a run; the request is answered with what `of` names from now on.
pub(super) fn keep_of_schedule(
    db: &mut Database,
    change: &AuditedChange,
    schedule: &ScheduleRow,
    of: Uuid,
    run: Option<Uuid>,
) -> rusqlite::Result<()> {
    requests::keep(db, change, of)?;
    let workflow = db.workflows.number(&db.connection, &schedule.schedule.workflow, 1)?;
    let run = run.unwrap_or_default();
    db.connection
        .prepare_cached(
            "INSERT INTO audit (at, caller, action, detail, reason, run, workflow, request, schedule)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            db.now.as_micros(),
            change.asked.caller,
            change.action,
            change.detail,
            change.asked.reason,
            run.as_bytes(),
            workflow,
            change.asked.request.as_ref().map(|key| key.id.into_bytes()),
            schedule.schedule.name,
        ])
        .map(drop)
}

/// `SELECT` of entries in the order that [`entry`] reads them.
macro_rules! select_entries {
    ($index:literal, $condition:literal) => {
        concat!(
            "SELECT audit.number, audit.at, audit.caller, audit.action, audit.detail, audit.reason, audit.run,
                    workflows.name, audit.request, audit.schedule
             FROM audit ",
            $index,
            " CROSS JOIN workflows ON workflows.id = audit.workflow
             WHERE audit.number < ?1 AND ",
            $condition,
            " ORDER BY audit.number DESC LIMIT ?2"
        )
    };
}

/// Newest first.
pub(super) fn list(connection: &mut Connection, filter: &ListAudit) -> Result<Vec<AuditEntry>, Fault> {
    let (before, limit) = (filter.before.map_or(i64::MAX, rows::number), filter.limit);
    let run = filter.run.map(Uuid::into_bytes);
    // Statements of their own, so that each has the index that fits it.
    let found = match (run, &filter.schedule) {
        (Some(run), schedule) => connection
            .prepare_cached(select_entries!(
                "INDEXED BY audit_by_run",
                "audit.run = ?3 AND (?4 IS NULL OR audit.schedule = ?4)"
            ))?
            .query_map(params![before, limit, run, schedule], entry)?
            .collect::<rusqlite::Result<_>>()?,
        (None, Some(schedule)) => connection
            .prepare_cached(select_entries!("INDEXED BY audit_by_schedule", "audit.schedule = ?3"))?
            .query_map(params![before, limit, schedule], entry)?
            .collect::<rusqlite::Result<_>>()?,
        (None, None) => connection
            .prepare_cached(select_entries!("", "true"))?
            .query_map(params![before, limit], entry)?
            .collect::<rusqlite::Result<_>>()?,
    };
    Ok(found)
}

fn entry(row: &Row<'_>) -> rusqlite::Result<AuditEntry> {
    Ok(AuditEntry {
        number: rows::count(row, 0)?,
        at: Timestamp::from_micros(row.get(1)?),
        caller: row.get(2)?,
        action: row.get(3)?,
        detail: row.get(4)?,
        reason: row.get(5)?,
        run: rows::uuid(row, 6)?,
        workflow: row.get(7)?,
        request: row.get::<_, Option<[u8; 16]>>(8)?.map(Uuid::from_bytes),
        schedule: row.get(9)?,
    })
}
