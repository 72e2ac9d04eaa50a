//! A step that a journal leaves open, and what is known of its attempts.

use bytes::Bytes;
use uuid::Uuid;

use crate::doubt::Doubt;
use crate::journal_v1::Outcome;
use crate::rpc::Level;
use crate::step_id::StepId;
use crate::time::Timestamp;

/// A step that has not settled.
#[derive(Clone, Debug)]
pub(crate) struct PendingStep {
    pub(crate) place: StepId,
    pub(crate) kind: PendingKind,
    /// When it began, or when an operator had it begin again.
    pub(crate) begun_at: Timestamp,
    /// Attempts that were begun.
    pub(crate) attempts: u32,
    /// Those of them that do not count: an operator forgave them, or the run was given back before they were sent.
    pub(crate) forgiven: u32,
    /// Whether an attempt may have acted; never of a read.
    pub(crate) doubt: Doubt,
    /// When the next attempt is due, if the end of the last one is known.
    pub(crate) retry_at: Option<Timestamp>,
    /// Sequence number of the start of the step that this one takes back.
    pub(crate) undoes: Option<u64>,
}

#[derive(Clone, Debug)]
pub(crate) enum PendingKind {
    Effect {
        sequence: u64,
        key: Uuid,
        incarnation: u32,
        level: Level,
        request: Bytes,
        started_at: Timestamp,
        /// When every attempt must have had its answer.
        deadline: Timestamp,
    },
    /// A call that has not been started durably: a read, or an effect whose attempts were never sent.
    Call,
    Sleep {
        sequence: u64,
        until: Timestamp,
    },
    Signal {
        sequence: u64,
        until: Option<Timestamp>,
    },
    Child {
        sequence: u64,
        run: Uuid,
    },
}

impl PendingKind {
    /// The child run that the step waits for.
    pub(crate) const fn child(&self) -> Option<Uuid> {
        match self {
            Self::Child { run, .. } => Some(*run),
            _ => None,
        }
    }
}

impl PendingStep {
    /// Whether only an operator can say what becomes of the step.
    pub(crate) fn undecided(&self, now: Timestamp) -> bool {
        let PendingKind::Effect { level, started_at, .. } = &self.kind else { return false };
        self.doubt.needs_decision(*level, Some(*started_at), now)
    }

    /// An attempt failed in this way. A read leaves nothing to doubt.
    pub(super) fn failed(&mut self, outcome: Outcome) {
        if matches!(&self.kind, PendingKind::Effect { level, .. } if level.has_effects()) {
            self.doubt.fail(outcome);
        }
    }

    /// Whether an attempt may have acted, or may act still.
    pub(crate) fn in_doubt(&self) -> bool {
        self.doubt.exists()
    }
}
