//! A run as it starts, and as it ended.

use bytes::Bytes;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::authoring::workflow::Definition;
use crate::failure::Failure;
use crate::journal::{Buffer, Kind};
use crate::journal_v1 as stored;
use crate::state::State;
use crate::store::{NewRun, Origin, RunRow, Status, StoreError};
use crate::time::Timestamp;

/// A run that is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// The id of the run.
    pub id: Uuid,
    /// The run as the start made it. If the same request started it before: as it is, or as it was when it was removed.
    pub row: Box<RunRow>,
    /// Whether this start made the run; false if the same request started it before.
    pub new: bool,
}

/// Who asked for a start, and learns whether it is durable.
pub(crate) type Starter = oneshot::Sender<Result<Started, StoreError>>;

/// A run that has ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The row of the run.
    pub row: RunRow,
    /// The encoded input message.
    pub input: Bytes,
    /// The encoded output message, if the run SUCCEEDED.
    pub output: Option<Bytes>,
    /// Why the run ended, if it did not succeed.
    pub failure: Option<Failure>,
}

/// A run of a workflow that is not stored yet: pending, and without facts.
pub(crate) fn new_run(
    workflow: &Definition,
    id: Uuid,
    now: Timestamp,
    deadline: Timestamp,
    origin: Option<Origin>,
) -> NewRun {
    NewRun {
        id,
        workflow: workflow.name.to_owned(),
        workflow_version: workflow.version,
        created_at: now,
        deadline,
        origin,
        previous_success: None,
        parent: None,
        change: None,
        claimed: false,
        entry: Bytes::new(),
        facts: 0,
        status: Status {
            state: State::Pending,
            reason: String::new(),
            ending_as: None,
            wake_at: None,
            awaits: Vec::new(),
            steps: 0,
            error: None,
        },
    }
}

/// Completes a run that no replica drives yet: its first fact, and due immediately.
pub(crate) fn pending(run: &mut NewRun, workflow: &Definition, input: Bytes) {
    let mut buffer = Buffer::default();
    buffer.push(run.created_at, created_fact(run, workflow, input));
    (run.entry, run.facts) = buffer.take();
    run.status.wake_at = Some(run.created_at);
}

/// The first fact of a run.
pub(crate) fn created_fact(run: &NewRun, workflow: &Definition, input: Bytes) -> Kind {
    Kind::Created(stored::Created {
        workflow: run.workflow.clone(),
        workflow_version: run.workflow_version,
        input: Some(stored::Payload { type_name: workflow.input_type.clone(), value: input }),
        deadline_micros: run.deadline.as_micros(),
        schedule: run.origin.as_ref().map(|origin| origin.schedule.clone()).unwrap_or_default(),
        nominal_micros: run.origin.as_ref().map(|origin| origin.nominal.as_micros()).unwrap_or_default(),
        parent: run.parent.map(|parent| parent.run.to_string()).unwrap_or_default(),
        depth: run.parent.map_or(0, |parent| parent.depth),
        tracks_delivery: true,
        previous_success_micros: run.previous_success.map(Timestamp::as_micros),
    })
}

/// The row of a run as it will be created.
pub(crate) fn row_of(run: &NewRun) -> RunRow {
    RunRow {
        id: run.id,
        workflow: run.workflow.clone(),
        workflow_version: run.workflow_version,
        status: run.status.clone(),
        created_at: run.created_at,
        updated_at: run.created_at,
        ended_at: None,
        deadline: run.deadline,
        origin: run.origin.clone(),
        epoch: 0,
        sequence: 0,
        control: 0,
        messages: 0,
        parent: run.parent.map(|parent| parent.run),
        cancel_requested: None,
        paused: None,
        pinned: false,
        owned: run.claimed,
        copied_at: None,
        set_back: None,
    }
}
