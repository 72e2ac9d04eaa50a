//! What operators ask of a run, who asks and why, and what is kept of it.

use bytes::Bytes;
use uuid::Uuid;

use super::{Signal, Status};
use crate::time::Timestamp;

/// Who asks for a change, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// As the caller calls itself; nothing here proves it.
    pub caller: String,
    pub reason: String,
    pub request: Option<RequestKey>,
}

impl Asked {
    pub fn new(caller: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { caller: caller.into(), reason: reason.into(), request: None }
    }

    /// The change that is asked for.
    pub(crate) fn to(self, action: &'static str, detail: impl Into<String>) -> Change {
        Change { action, detail: detail.into(), asked: self }
    }
}

/// What makes a request of the API idempotent (AIP-155): kept at least 24 hours, whatever is deleted. Callers and
/// actions have ids of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestKey {
    pub id: Uuid,
    /// SHA-256 of the request without its id; another request under the same id is refused.
    pub hash: [u8; 32],
}

/// A change that somebody asked for. Its audit entry and its request id are committed with it (semantics.md D4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The method of the admin API, for example `CancelRun`.
    pub action: &'static str,
    /// What exactly, where the action alone does not say it.
    pub detail: String,
    pub asked: Asked,
}

/// A change of one run that the store makes by itself.
#[derive(Clone, Debug)]
pub struct Command {
    pub run: Uuid,
    pub now: Timestamp,
    pub change: Change,
    pub order: Order,
}

/// What a command does. Every one but `Pin` and `Signal` bumps the run's control version.
#[derive(Clone, Debug)]
pub enum Order {
    /// Asks the run to end. One that nobody holds becomes due at once.
    Cancel,
    /// Puts a message into the run's inbox. The run looks at it before it is given back, and becomes due where nobody
    /// holds it and it waits for the message.
    Signal(Signal),
    /// Adds facts to a run that nobody holds and moves its row, if both are what whoever asks has seen.
    Amend(Box<Amend>),
}

/// Facts that are added from outside, and where they leave the run.
#[derive(Clone, Debug)]
pub struct Amend {
    pub epoch: u64,
    pub sequence: u64,
    pub control: u64,
    pub entry: Bytes,
    pub facts: u64,
    /// The move to it must be in the table of moves.
    pub status: Status,
    pub deadline: Timestamp,
}

/// What is kept of a change, longer than its run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Grows with every entry of the store.
    pub number: u64,
    pub at: Timestamp,
    pub caller: String,
    pub action: String,
    pub detail: String,
    pub reason: String,
    pub run: Uuid,
    pub workflow: String,
    pub request: Option<Uuid>,
}

/// A filter over audit entries. The page goes on below `before`.
#[derive(Clone, Debug, Default)]
pub struct ListAudit {
    pub run: Option<Uuid>,
    /// Only entries with a smaller number.
    pub before: Option<u64>,
    pub limit: u32,
}
