//! Runs that belong together: created, ended and heard of in each other's appends.

use bytes::Bytes;
use uuid::Uuid;

use super::NewRun;

/// The run that another one is a child of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The id of the parent.
    pub run: Uuid,
    /// How many runs are above the child.
    pub depth: u32,
}

/// What an append does with the run's children and its parent.
#[derive(Clone, Debug, Default)]
pub struct RelatedRuns {
    /// Runs to create; one that is there already stays as it is.
    pub children: Vec<NewRun>,
    /// Runs to ask to end, where they have not ended and no one has asked.
    pub cancels: Vec<Uuid>,
    /// What the run's parent is told of its end.
    pub report: Option<ChildEndNotice>,
}

/// The end of a run, for the inbox of its parent. One that has ended takes it no more.
#[derive(Clone, Debug)]
pub struct ChildEndNotice {
    /// The id of the parent.
    pub parent: Uuid,
    /// An encoded `orchestrator.journal.v1.ChildEnded`.
    pub payload: Bytes,
}
