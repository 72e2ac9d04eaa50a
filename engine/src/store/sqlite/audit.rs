//! The audit trail: one row for every change that somebody asked for, committed with the change (semantics.md D4), and one for
//! the refused calls of a caller, a method and a minute.

use rusqlite::{Connection, Row, ToSql, params};
use uuid::Uuid;

use super::database::Database;
use super::job::Fault;
use super::requests;
use super::rows::{self, Bound};
use crate::store::filter::Dialect;
use crate::store::{AuditEntry, AuditField, AuditedChange, ListAudit, Refusal, ScheduleRow};
use crate::time::Timestamp;

/// Writes down what was changed, and which request it was. The run must be there still.
///
/// One row of values, not a `SELECT`: SQLite would copy every page that a statement of many rows may touch, to take it
/// back by itself.
pub(super) fn keep(db: &Database, change: &AuditedChange, run: Uuid) -> rusqlite::Result<()> {
    requests::keep(db, change, run)?;
    db.connection
        .prepare_cached(
            "INSERT INTO audit (at, caller, action, detail, reason, run, workflow, request, schedule, said)
             VALUES (?2, ?3, ?4, ?5, ?6, ?1, (SELECT workflow FROM runs WHERE id = ?1), ?7, ?8, ?9)",
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
            change.asked.said,
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
            "INSERT INTO audit (at, caller, action, detail, reason, run, workflow, request, schedule, said)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
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
            change.asked.said,
        ])
        .map(drop)
}

/// Counts refused calls, each in the entry of its caller, method and minute.
pub(super) fn refused(db: &mut Database, refusals: &[Refusal]) -> Result<(), Fault> {
    let now = db.now.as_micros();
    let mut statement = db.connection.prepare_cached(
        "INSERT INTO audit (at, caller, said, action, detail, reason, run, workflow, refusals, minute)
         VALUES (?1, ?2, ?3, ?4, ?5, '', ?6, 0, ?7, ?8)
         ON CONFLICT (caller, action, minute) WHERE minute IS NOT NULL DO UPDATE SET refusals = refusals + excluded.refusals",
    )?;
    for Refusal { caller, said, action, why, count } in refusals {
        let minute = now.div_euclid(MINUTE_MICROS);
        statement.execute(params![now, caller, said, action, why, Uuid::nil().as_bytes(), count, minute])?;
    }
    Ok(())
}

const MINUTE_MICROS: i64 = 60_000_000;

const DIALECT: Dialect<AuditField> = Dialect {
    column: |field| match field {
        AuditField::Caller => "audit.caller",
        AuditField::Said => "audit.said",
        AuditField::Action => "audit.action",
        AuditField::At => "audit.at",
        AuditField::Run => "audit.run",
        AuditField::Workflow => "workflows.name",
        AuditField::Schedule => "audit.schedule",
        AuditField::Refusals => "audit.refusals",
    },
    parameter: '?',
    position: "instr",
};

/// Newest first.
pub(super) fn list(connection: &mut Connection, filter: &ListAudit) -> Result<Vec<AuditEntry>, Fault> {
    let (before, limit) = (filter.before.map_or(i64::MAX, rows::number), filter.limit);
    // The index that fits is named: there are no statistics to choose it by.
    let index = match (filter.filter.fixed(&AuditField::Run), filter.filter.fixed(&AuditField::Schedule)) {
        (Some(_), _) => "INDEXED BY audit_by_run",
        (None, Some(_)) => "INDEXED BY audit_by_schedule",
        (None, None) => "NOT INDEXED",
    };
    let (mut condition, mut values) = (String::new(), Vec::new());
    filter.filter.compile(&mut condition, &mut values, 3, &DIALECT);
    let sql = format!(
        "SELECT audit.number, audit.at, audit.caller, audit.action, audit.detail, audit.reason, audit.run,
                workflows.name, audit.request, audit.schedule, audit.said, audit.refusals
         FROM audit {index} LEFT JOIN workflows ON workflows.id = audit.workflow
         WHERE audit.number < ?1 AND {condition} ORDER BY audit.number DESC LIMIT ?2"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut params: Vec<&dyn ToSql> = vec![&before, &limit];
    let values: Vec<Bound<'_>> = values.into_iter().map(Bound).collect();
    params.extend(values.iter().map(|value| value as &dyn ToSql));
    let found = statement.query_map(params.as_slice(), entry)?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
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
        workflow: row.get::<_, Option<String>>(7)?.unwrap_or_default(),
        request: row.get::<_, Option<[u8; 16]>>(8)?.map(Uuid::from_bytes),
        schedule: row.get(9)?,
        said: row.get(10)?,
        refusals: rows::count(row, 11)?,
    })
}
