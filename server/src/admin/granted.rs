//! What the caller of a request may do, held against what the request names: a run, a schedule, a workflow.

use std::future::ready;
use std::pin::Pin;

use engine::engine::{Engine, EngineError};
use engine::store::{ListAudit, ScheduleRefusal, StoreError};
use futures_util::stream::{PollNext, once, select_with_strategy};
use futures_util::{Stream, StreamExt};
use http::Extensions;
use tonic::Status;
use uuid::Uuid;

use super::status;
use crate::access::{Access, Denied};

/// What the caller may do. It comes with every call that was admitted; a call without it is refused.
pub(super) fn of(extensions: &Extensions) -> Result<Access, Status> {
    extensions.get::<Access>().cloned().ok_or_else(|| status::denied(&Denied::UnknownMethod))
}

/// Refuses what belongs to a workflow that is not granted.
pub(super) fn workflow(access: &Access, workflow: &str) -> Result<(), Status> {
    access.check(workflow).map_err(|denied| status::denied(&denied))
}

/// Refuses a run of a workflow that is not granted. The workflow of a run never changes, so this holds for whatever is done
/// to it next. One that was removed is looked up in the audit trail: a request may come again.
pub(super) async fn run(engine: &Engine, access: &Access, id: Uuid) -> Result<(), Status> {
    if !access.is_limited() {
        return Ok(());
    }
    let row = engine.store().run(id).await.map_err(failed)?;
    let of = match row {
        Some(row) => Some(row.workflow),
        None => last_of(engine, ListAudit::of_run(id, 1)).await?,
    };
    held(access, of.as_deref())
}

/// Refuses a schedule of a workflow that is not granted.
pub(super) async fn schedule(engine: &Engine, access: &Access, name: &str) -> Result<(), Status> {
    if !access.is_limited() {
        return Ok(());
    }
    let of = match engine.schedule(name).await {
        Ok(row) => Some(row.schedule.workflow),
        Err(EngineError::Schedule(ScheduleRefusal::NotFound(_))) => {
            let filter = ListAudit::of_schedule(name, 1);
            last_of(engine, filter).await?
        }
        Err(error) => return Err(status::from_engine(error)),
    };
    held(access, of.as_deref())
}

/// A stream about something of this workflow, which ends with a refusal when it is granted no longer.
pub(super) fn while_granted<T: Send + 'static>(
    access: Access,
    workflow: String,
    stream: impl Stream<Item = Result<T, Status>> + Send + 'static,
) -> Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>> {
    let ended = async move { Err(status::denied(&access.ended(&workflow).await)) };
    // What is granted no longer is not sent even if it is there already.
    let ended = once(ended).map(Some);
    let stream = stream.map(Some).chain(once(async { None }));
    Box::pin(select_with_strategy(ended, stream, |()| PollNext::Left).scan(false, |over, item| {
        let item = if *over { None } else { item };
        *over |= matches!(item, Some(Err(_)));
        ready(item)
    }))
}

/// Whoever is granted some workflows is not told whether something of another one exists.
fn held(access: &Access, of: Option<&str>) -> Result<(), Status> {
    match of {
        Some(of) => workflow(access, of),
        None => Err(status::denied(&access.denied())),
    }
}

async fn last_of(engine: &Engine, filter: ListAudit) -> Result<Option<String>, Status> {
    let entries = engine.store().audit(filter).await.map_err(failed)?;
    Ok(entries.into_iter().next().map(|entry| entry.workflow))
}

fn failed(error: StoreError) -> Status {
    status::from_engine(EngineError::Store(error))
}
