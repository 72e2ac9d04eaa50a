//! What operators ask of a run, who asks and why, and what is kept of it.

use bytes::Bytes;
use uuid::Uuid;

use super::{Filter, Signal, Status, Value};
use crate::time::Timestamp;

/// Who asks for a change, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requester {
    /// As it was proven; where nothing has to be proven, as the caller calls itself.
    pub caller: String,
    /// What the caller calls itself, where `caller` is proven; empty if it says nothing.
    pub said: String,
    /// What the caller says about why.
    pub reason: String,
    /// What tells a repeated request from a new one; `None` if the caller does not say.
    pub request: Option<RequestKey>,
}

impl Requester {
    /// A request without an id of its own.
    pub fn new(caller: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { caller: caller.into(), said: String::new(), reason: reason.into(), request: None }
    }

    /// The change that is asked for.
    pub fn to(self, action: &'static str, detail: impl Into<String>) -> AuditedChange {
        AuditedChange { action, detail: detail.into(), asked: self, schedule: None }
    }
}

/// What makes a request of the API idempotent (AIP-155): kept at least 24 hours, whatever is deleted. Callers and
/// actions have ids of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestKey {
    /// The id that the caller chose.
    pub id: Uuid,
    /// SHA-256 of who makes it, if that is proven, and of the request without its id; another request under the same id is
    /// refused.
    pub hash: [u8; 32],
}

/// What is remembered of a request that changes many runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkRequest {
    /// When it was made for the first time. A repeated one selects only runs that the first one selected.
    pub first_made: Timestamp,
    /// Whether all runs that it selected were changed.
    pub completed: bool,
}

/// A change that somebody asked for. Its audit entry and its request id are committed with it (semantics.md D4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditedChange {
    /// The method of the admin API, for example `CancelRun`.
    pub action: &'static str,
    /// What exactly, where the action alone does not say it.
    pub detail: String,
    /// Who asks, and why.
    pub asked: Requester,
    /// The schedule for which a run is changed.
    pub schedule: Option<String>,
}

/// A change of one run that the store makes by itself.
#[derive(Clone, Debug)]
pub struct Command {
    /// The run.
    pub run: Uuid,
    /// What the time is.
    pub now: Timestamp,
    /// What is audited.
    pub change: AuditedChange,
    /// What is done.
    pub kind: CommandKind,
}

/// What a command does. Those that steer a run bump its control version.
#[derive(Clone, Debug)]
pub enum CommandKind {
    /// Asks the run to end. One that no replica holds becomes due immediately.
    Cancel,
    /// Puts a message into the run's inbox. The run looks at it before it is given back, and becomes due where no one
    /// holds it and it waits for the message.
    Signal(Signal),
    /// Stops a run. If no replica holds it, it is PAUSED immediately.
    Pause(Pause),
    /// Lets a paused run continue.
    Resume,
    /// Keeps a run from retention, or no more.
    Pin(bool),
    /// Removes a run that has ended, its journal and its messages.
    Delete,
    /// Adds facts to a run that no replica holds and moves its row, if both are what the caller has seen.
    Append(Box<UnownedAppend>),
}

/// How a run is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Whether the run's deadline moves by the time that the pause takes.
    pub stops_clock: bool,
    /// When its deadline ends a run whose clock continues.
    pub wake_at: Timestamp,
}

/// A run that an operator stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paused {
    /// When the pause was asked for; its clock stands from then on, if it stops.
    pub at: Timestamp,
    /// What the operator said about why.
    pub reason: String,
    /// Whether the run's deadline moves by the time that the pause takes.
    pub stops_clock: bool,
}

/// Which ended runs are removed at the same time: those of one workflow and end, the oldest first.
#[derive(Clone, Debug)]
pub struct Purge {
    /// Only runs of this workflow.
    pub workflow: String,
    /// Only runs that ended in this state.
    pub state: super::State,
    /// Only runs that ended before this.
    pub ended_before: Timestamp,
    /// Only runs with a larger id: where the last call stopped.
    pub after: Option<Uuid>,
    /// How many runs are looked at, at most,
    pub runs: u32,
    /// and after how many facts of those that are removed no more are.
    pub facts: u64,
}

/// What a purge did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// How many runs were removed.
    pub runs: u32,
    /// Where to continue; none where nothing more can be old enough.
    pub next: Option<Uuid>,
}

/// Facts that are added from outside, and where they leave the run.
#[derive(Clone, Debug)]
pub struct UnownedAppend {
    /// The epoch that the caller has seen.
    pub epoch: u64,
    /// The number of facts that the caller has seen.
    pub sequence: u64,
    /// The control version that the caller has seen.
    pub control: u64,
    /// The facts, encoded as one `orchestrator.journal.v1.Entry`.
    pub entry: Bytes,
    /// How many facts the entry has.
    pub facts: u64,
    /// The move to it must be in the table of moves.
    pub status: Status,
    /// Whether a pause that was asked for still holds; a run that ends or is retried is paused no more.
    pub keeps_pause: bool,
    /// When the run fails with DEADLINE_EXCEEDED from now on.
    pub deadline: Timestamp,
    /// What an end by force does to the run's children and its parent.
    pub related_runs: Option<Box<super::RelatedRuns>>,
}

/// Calls of one method by one caller that were refused because of who made them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Who called, as far as it was proven.
    pub caller: String,
    /// What the caller calls itself; empty if it says nothing.
    pub said: String,
    /// The method of the admin API.
    pub action: String,
    /// Why the first of them was refused.
    pub why: String,
    /// How many they are.
    pub count: u32,
}

/// What is kept of a change, longer than its run, or of refused calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Grows with every entry of the store.
    pub number: u64,
    /// When the change was made, or the first of the refusals written down.
    pub at: Timestamp,
    /// Who asked for it: as it was proven, or as the caller calls itself where nothing has to be proven.
    pub caller: String,
    /// What the caller calls itself, where `caller` is proven; empty if it says nothing.
    pub said: String,
    /// The method of the admin API.
    pub action: String,
    /// What exactly, if the action alone does not say it.
    pub detail: String,
    /// What the caller said about why.
    pub reason: String,
    /// Nil where it speaks of a schedule and started no run.
    pub run: Uuid,
    /// Name of the workflow of the run or of the schedule.
    pub workflow: String,
    /// The schedule that it speaks of; none where it speaks of a run.
    pub schedule: Option<String>,
    /// The id of the request, if it had one.
    pub request: Option<Uuid>,
    /// How many calls were refused; 0 for a change.
    pub refusals: u64,
}

/// What audit entries are filtered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditField {
    /// The text of who called.
    Caller,
    /// The text of what the caller calls itself.
    Said,
    /// The text of the method.
    Action,
    /// The time.
    At,
    /// The id of the run; nil where the entry speaks of none.
    Run,
    /// The text of the workflow's name.
    Workflow,
    /// The text of the schedule's name, if the entry speaks of one.
    Schedule,
    /// The number of refusals.
    Refusals,
}

/// A filter over audit entries. The page continues below `before`.
#[derive(Clone, Debug, Default)]
pub struct ListAudit {
    /// Only entries that meet this. One that fixes a run or a schedule costs by what it finds; any other may read all entries.
    pub filter: Filter<AuditField>,
    /// Only entries with a smaller number.
    pub before: Option<u64>,
    /// How many entries are returned, at most.
    pub limit: u32,
}

impl ListAudit {
    /// The newest entries that speak of this run.
    pub fn of_run(run: Uuid, limit: u32) -> Self {
        let filter = Filter::Compare(AuditField::Run, super::Comparison::Equal, Value::Id(run));
        Self { filter, before: None, limit }
    }

    /// The newest entries that speak of the schedule with this name.
    pub fn of_schedule(name: impl Into<String>, limit: u32) -> Self {
        Self { filter: Filter::is(AuditField::Schedule, name), before: None, limit }
    }
}
