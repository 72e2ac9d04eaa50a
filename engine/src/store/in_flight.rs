//! A look at the runs in flight of a store that may be in use by another process, without a part in it.

use bytes::Bytes;
use uuid::Uuid;

use super::StoreError;
use crate::state::State;

/// A run that has not ended, with its journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// The run.
    pub run: Uuid,
    /// Name of its workflow.
    pub workflow: String,
    /// The version that created it.
    pub version: u32,
    /// The state that it is in.
    pub state: State,
    /// Number of facts that its journal must have.
    pub sequence: u64,
    /// Entries, each after the number of its last fact.
    pub entries: Vec<(u64, Bytes)>,
}

/// Reads runs in flight. It writes nothing, and each answer is of one moment.
pub trait LookAtRuns {
    /// Runs that have not ended.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn count(&mut self) -> Result<u64, StoreError>;

    /// The ids of those that come after this one, in their order. One that moves between two pages is neither left out nor found
    /// twice.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn ids(&mut self, after: Option<Uuid>, limit: u32) -> Result<Vec<Uuid>, StoreError>;

    /// The run with its journal, if it has not ended.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn run(&mut self, run: Uuid) -> Result<Option<InFlight>, StoreError>;
}
