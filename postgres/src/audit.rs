//! The audit trail: one row for every change that somebody asked for, committed with the change (semantics.md D4), and one for
//! the refused calls of a caller, a method and a minute.

use engine::store::filter::Dialect;
use engine::store::{AuditEntry, AuditField, AuditedChange, ListAudit, Refusal, ScheduleRow};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::parameter::{Parameter, parameter};
use crate::session::{Fault, Session, params};
use crate::{requests, rows};

/// Writes down what was changed, and which request it was. If the request was made meanwhile, the transaction is made again,
/// and answers what that was answered.
pub(crate) async fn keep(
    session: &Session<'_>,
    change: &AuditedChange,
    run: Uuid,
    workflow: &str,
) -> Result<(), Fault> {
    if !requests::keep(session, change, run).await? {
        return Err(Fault::Again);
    }
    write(session, change, run, workflow, change.schedule.as_deref()).await
}

/// The same for a change that an owner makes: its request may have been remembered with an earlier append.
pub(crate) async fn keep_again(
    session: &Session<'_>,
    change: &AuditedChange,
    run: Uuid,
    workflow: &str,
) -> Result<(), Fault> {
    requests::keep(session, change, run).await?;
    write(session, change, run, workflow, change.schedule.as_deref()).await
}

/// The same for a change of a schedule, which may start a run; the request is answered with what `of` names from now on.
pub(crate) async fn keep_of_schedule(
    session: &Session<'_>,
    change: &AuditedChange,
    schedule: &ScheduleRow,
    of: Uuid,
    run: Option<Uuid>,
) -> Result<(), Fault> {
    if !requests::keep(session, change, of).await? {
        return Err(Fault::Again);
    }
    let name = &schedule.schedule.name;
    write(session, change, run.unwrap_or_default(), &schedule.schedule.workflow, Some(name)).await
}

async fn write(
    session: &Session<'_>,
    change: &AuditedChange,
    run: Uuid,
    workflow: &str,
    schedule: Option<&str>,
) -> Result<(), Fault> {
    session
        .execute(
            "INSERT INTO audit (number, at, caller, action, detail, reason, run, workflow, request, schedule, said)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            params![
                session.next_entry(),
                session.now.as_micros(),
                change.asked.caller,
                change.action,
                change.detail,
                change.asked.reason,
                run,
                workflow,
                change.asked.request.as_ref().map(|key| key.id),
                schedule,
                change.asked.said,
            ],
        )
        .await
        .map(drop)
}

/// Counts refused calls, each in the entry of its caller, method and minute.
pub(crate) async fn refused(session: &Session<'_>, refusals: &[Refusal]) -> Result<(), Fault> {
    let now = session.now.as_micros();
    // In one order, so that no two replicas wait for each other.
    let mut refusals: Vec<&Refusal> = refusals.iter().collect();
    refusals.sort_unstable_by(|left, right| (&left.caller, &left.action).cmp(&(&right.caller, &right.action)));
    for Refusal { caller, said, action, why, count } in refusals {
        session
            .execute(
                "INSERT INTO audit (number, at, caller, said, action, detail, reason, run, workflow, refusals, minute)
                 VALUES ($1, $2, $3, $4, $5, $6, '', $7, '', $8, $9)
                 ON CONFLICT (caller, action, minute) WHERE minute IS NOT NULL
                 DO UPDATE SET refusals = audit.refusals + excluded.refusals",
                params![
                    session.next_entry(),
                    now,
                    caller,
                    said,
                    action,
                    why,
                    Uuid::nil(),
                    i64::from(*count),
                    now.div_euclid(MINUTE_MICROS)
                ],
            )
            .await?;
    }
    Ok(())
}

const MINUTE_MICROS: i64 = 60_000_000;

const DIALECT: Dialect<AuditField> = Dialect {
    column: |field| match field {
        AuditField::Caller => "caller",
        AuditField::Said => "said",
        AuditField::Action => "action",
        AuditField::At => "at",
        AuditField::Run => "run",
        AuditField::Workflow => "workflow",
        AuditField::Schedule => "schedule",
        AuditField::Refusals => "refusals",
    },
    parameter: '$',
    position: "strpos",
};

/// Newest first.
pub(crate) async fn list(session: &Session<'_>, filter: &ListAudit) -> Result<Vec<AuditEntry>, Fault> {
    let (before, limit) = (filter.before.map_or(i64::MAX, rows::number), i64::from(filter.limit));
    let (mut condition, mut values) = (String::new(), Vec::new());
    filter.filter.compile(&mut condition, &mut values, 3, &DIALECT);
    let statement = format!(
        "SELECT number, at, caller, action, detail, reason, run, workflow, request, schedule, said, refusals FROM audit
         WHERE number < $1 AND {condition} ORDER BY number DESC LIMIT $2"
    );
    let mut params: Vec<&dyn Parameter> = vec![&before, &limit];
    params.extend(values.into_iter().map(parameter));
    let found = session.rows(&statement, &params).await?;
    found.iter().map(entry).collect()
}

fn entry(row: &Row) -> Result<AuditEntry, Fault> {
    Ok(AuditEntry {
        number: rows::count(row, 0)?,
        at: rows::instant(row, 1)?,
        caller: row.try_get(2)?,
        action: row.try_get(3)?,
        detail: row.try_get(4)?,
        reason: row.try_get(5)?,
        run: row.try_get(6)?,
        workflow: row.try_get(7)?,
        request: row.try_get(8)?,
        schedule: row.try_get(9)?,
        said: row.try_get(10)?,
        refusals: rows::count(row, 11)?,
    })
}
