//! The steps that code must come to again, and what each of them was.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::failure::Failure;
use crate::step_id::{SlotId, StepId};
use crate::time::Timestamp;

/// Journaled steps that code has not reached yet, by branch and position.
#[derive(Debug, Default)]
pub(crate) struct ReplayCursor {
    pub(super) branches: HashMap<Arc<str>, BTreeMap<u32, JournaledStep>>,
    slots: HashMap<(Arc<str>, u32), SlotId>,
    pub(super) incarnations: BTreeMap<(Arc<str>, u32), u32>,
    pub(crate) replaying: bool,
    /// Whether an operator's retry made the journal forget steps: code may come to new ones while it is replayed.
    pub(crate) was_reset: bool,
    /// Results of steps that code has not reached yet, although it had before a retry.
    results: BTreeMap<(Arc<str>, u32), Result<Bytes, Failure>>,
    /// Steps that a retry kept because they may have acted, although it forgot what came before them: code may take another
    /// way now and never come to them.
    pub(super) detached: HashSet<(Arc<str>, u32)>,
    pub(crate) steps: u32,
    pub(crate) latest: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JournaledStep {
    pub(crate) name: String,
    pub(crate) kind: JournaledKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JournaledKind {
    Effect { hash: [u8; 32] },
    Read { hash: Option<[u8; 32]> },
    Sleep,
    Signal,
    Child { workflow: String, hash: [u8; 32] },
    Value(Bytes),
    FanOut { width: u32, duplicates: Vec<u32> },
    Branch { path: String },
    Race { winner: u32 },
}

impl fmt::Display for JournaledKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Effect { .. } => f.write_str("a call with effects"),
            Self::Read { .. } => f.write_str("a read"),
            Self::Sleep => f.write_str("a sleep"),
            Self::Signal => f.write_str("a wait for a signal"),
            Self::Child { workflow, .. } => write!(f, "a child run of {workflow}"),
            Self::Value(_) => f.write_str("a value"),
            Self::FanOut { width, duplicates } => {
                write!(f, "a fan-out over {width} items, {} of them duplicates", duplicates.len())
            }
            Self::Branch { path } => write!(f, "branch {path}"),
            Self::Race { winner } => write!(f, "a race that step {winner} won"),
        }
    }
}

impl ReplayCursor {
    /// The past of a run that begins now.
    pub(crate) fn none(now: Timestamp) -> Self {
        Self { latest: now, ..Self::default() }
    }

    pub(crate) fn take_branch(&mut self, path: &str) -> BTreeMap<u32, JournaledStep> {
        self.branches.remove(path).unwrap_or_default()
    }

    pub(crate) fn incarnation(&self, branch: &str, position: u32) -> u32 {
        if self.incarnations.is_empty() {
            return 1;
        }
        self.incarnations.get(&(branch.into(), position)).copied().unwrap_or(1)
    }

    pub(crate) fn reached(&mut self, place: &StepId, slot: SlotId) {
        self.slots.insert((Arc::clone(&place.branch), place.position), slot);
    }

    pub(crate) fn slot_of(&self, branch: &str, position: u32) -> Option<SlotId> {
        self.slots.get(&(branch.into(), position)).copied()
    }

    pub(crate) fn forget_slots(&mut self) {
        self.slots = HashMap::new();
        // After a retry code may come to journaled branches later than it did before.
        if !self.was_reset {
            self.branches = HashMap::new();
        }
    }

    /// Keeps the result of a step that code comes to later.
    pub(crate) fn keep(&mut self, place: &StepId, result: Result<Bytes, Failure>) {
        self.results.insert((Arc::clone(&place.branch), place.position), result);
    }

    pub(crate) fn take_kept(&mut self, place: &StepId) -> Option<Result<Bytes, Failure>> {
        if self.results.is_empty() {
            return None;
        }
        self.results.remove(&(Arc::clone(&place.branch), place.position))
    }

    /// A step whose result was kept, and that code did not come to although it had to.
    pub(crate) fn any_kept(&self) -> Option<String> {
        let missed = self.results.keys().find(|at| !self.detached.contains(*at));
        missed.map(|(branch, position)| crate::step_id::path(branch, "", *position))
    }

    /// Whether code may end without coming to the step.
    pub(crate) fn is_detached(&self, place: &StepId) -> bool {
        !self.detached.is_empty() && self.detached.contains(&(Arc::clone(&place.branch), place.position))
    }
}
