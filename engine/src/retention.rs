//! How long what is over is kept: the policy.

use std::collections::HashMap;
use std::time::Duration;

use crate::state::State;

/// How long runs are kept once they have ended, and audit entries once they were made. By default everything stays.
///
/// Whatever is in the store is held to the policy that is in force, not to the one under which it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// For runs of workflows that have none of their own.
    pub runs: Kept,
    /// By the name of the workflow.
    pub workflows: HashMap<String, Kept>,
    /// How long audit entries are kept; `None` for ever.
    pub audit: Option<Duration>,
}

/// How long runs are kept by the state in which they ended; none for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Runs that ended as SUCCEEDED.
    pub succeeded: Option<Duration>,
    /// Runs that ended as FAILED.
    pub failed: Option<Duration>,
    /// Runs that ended as CANCELLED.
    pub cancelled: Option<Duration>,
    /// Runs that ended as TERMINATED.
    pub terminated: Option<Duration>,
}

impl Kept {
    /// The states in which a run can end.
    pub(crate) const ENDS: [State; 4] = [State::Succeeded, State::Failed, State::Cancelled, State::Terminated];

    const fn after(&self, end: State) -> Option<Duration> {
        match end {
            State::Succeeded => self.succeeded,
            State::Failed => self.failed,
            State::Cancelled => self.cancelled,
            State::Terminated => self.terminated,
            _ => None,
        }
    }
}

impl Retention {
    /// How long runs of a workflow are kept that ended so; none for ever.
    pub fn of(&self, workflow: &str, end: State) -> Option<Duration> {
        self.workflows.get(workflow).unwrap_or(&self.runs).after(end)
    }
}
