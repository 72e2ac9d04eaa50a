//! A step that a journal leaves open, and what is known of its attempts.

use bytes::Bytes;
use uuid::Uuid;

use crate::failure::Failure;
use crate::place::Place;
use crate::rpc::Level;
use crate::time::Timestamp;

/// A step that has not settled.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    pub(crate) place: Place,
    pub(crate) kind: OpenKind,
    /// When it began, or when an operator had it begin anew.
    pub(crate) begun_at: Timestamp,
    /// Attempts that were begun.
    pub(crate) attempts: u32,
    /// Those of them that do not count: an operator forgave them, or the run was given back before they were sent.
    pub(crate) forgiven: u32,
    /// Whether an attempt may have had its effect: one was ambiguous, or one was begun and its end is not known.
    pub(crate) in_doubt: bool,
    /// When the next attempt is due, where the last one's end is known.
    pub(crate) retry_at: Option<Timestamp>,
    /// Whether the last attempt was begun and its end is not known.
    pub(crate) cut_off: bool,
    /// Whether an operator said to make the call again, although it may have had its effect.
    pub(crate) allowed: bool,
    /// Sequence number of the start of the step that this one takes back.
    pub(crate) undoes: Option<u64>,
    pub(crate) last_failure: Option<Failure>,
}

#[derive(Clone, Debug)]
pub(crate) enum OpenKind {
    Effect {
        sequence: u64,
        key: Uuid,
        incarnation: u32,
        level: Level,
        request: Bytes,
        started_at: Timestamp,
        /// When the last attempt must have had its answer.
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

impl Open {
    /// Whether an attempt may have had its effect.
    pub(crate) fn doubtful(&self) -> bool {
        self.in_doubt || (self.cut_off && matches!(&self.kind, OpenKind::Effect { level, .. } if level.has_effects()))
    }

    /// Whether an operator's word to make the call again is still to be kept.
    pub(crate) fn asked_again(&self) -> bool {
        self.allowed && !self.cut_off
    }

    /// Whether only an operator can say what becomes of the step.
    pub(crate) fn undecided(&self, now: Timestamp) -> bool {
        let OpenKind::Effect { level, started_at, .. } = &self.kind else { return false };
        self.doubtful() && !self.asked_again() && !level.may_repeat(Some(*started_at), now)
    }
}
