//! The audit trail: one row for every change that somebody asked for, committed with the change (semantics.md D4).

use engine::store::{AuditEntry, AuditedChange, ListAudit, ScheduleRow};
use tokio_postgres::Row;
use uuid::Uuid;

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
            "INSERT INTO audit (number, at, caller, action, detail, reason, run, workflow, request, schedule)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
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
            ],
        )
        .await
        .map(drop)
}

macro_rules! select_entries {
    ($condition:literal) => {
        concat!(
            "SELECT number, at, caller, action, detail, reason, run, workflow, request, schedule FROM audit
             WHERE number < $1 AND ",
            $condition,
            " ORDER BY number DESC LIMIT $2"
        )
    };
}

/// Newest first.
pub(crate) async fn list(session: &Session<'_>, filter: &ListAudit) -> Result<Vec<AuditEntry>, Fault> {
    let (before, limit) = (filter.before.map_or(i64::MAX, rows::number), i64::from(filter.limit));
    let schedule = filter.schedule.as_deref();
    // Statements of their own, so that each has the index that fits it.
    let found = match (filter.run, schedule) {
        (Some(run), Some(schedule)) => {
            let statement = select_entries!("run = $3 AND schedule = $4");
            session.rows(statement, params![before, limit, run, schedule]).await?
        }
        (Some(run), None) => session.rows(select_entries!("run = $3"), params![before, limit, run]).await?,
        (None, Some(schedule)) => {
            session.rows(select_entries!("schedule = $3"), params![before, limit, schedule]).await?
        }
        (None, None) => session.rows(select_entries!("true"), params![before, limit]).await?,
    };
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
    })
}
