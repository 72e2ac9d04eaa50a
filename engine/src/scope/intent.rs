//! What code asks the driver to do.

use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use crate::journal::Kind;
use crate::retry::Retry;
use crate::rpc::Method;
use crate::step_id::{SlotId, StepId};
use crate::undo::Undo;

#[derive(Debug)]
pub(crate) enum Intent {
    /// Make this call, or continue with it where the journal has it already.
    Call(Box<CallIntent>),
    Sleep {
        slot: SlotId,
        place: StepId,
        span: Duration,
        journaled: bool,
    },
    /// Wait for a message, at most this long where a time is said.
    Signal {
        slot: SlotId,
        place: StepId,
        type_name: String,
        within: Option<Duration>,
        journaled: bool,
    },
    /// Start this child run, or continue with it where the journal has it already.
    Child(Box<ChildIntent>),
    /// Write this down; it has no result to wait for.
    Fact(Box<Kind>),
    /// A race is decided: the steps that lost are let go.
    RaceDecided {
        place: StepId,
        winner: u32,
        losers: Vec<SlotId>,
        journaled: bool,
    },
}

impl Intent {
    /// Whether it is of use only to code that waits for its result.
    pub(crate) fn is_waited_for(&self) -> bool {
        matches!(self, Self::Call(_) | Self::Sleep { .. } | Self::Signal { .. })
    }

    /// The step that it begins, unless the journal has it.
    pub(super) fn begins(&self) -> Option<SlotId> {
        match self {
            Self::Call(call) if !call.journaled => Some(call.slot),
            Self::Child(child) if !child.journaled => Some(child.slot),
            Self::Sleep { slot, journaled: false, .. } | Self::Signal { slot, journaled: false, .. } => Some(*slot),
            _ => None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct CallIntent {
    pub(crate) slot: SlotId,
    pub(crate) place: StepId,
    pub(crate) method: &'static Method,
    pub(crate) request: Bytes,
    pub(crate) hash: [u8; 32],
    pub(crate) key: Uuid,
    pub(crate) incarnation: u32,
    pub(crate) options: CallOptions,
    pub(crate) undo: Option<Box<Undo>>,
    /// Whether the journal has the step already.
    pub(crate) journaled: bool,
}

#[derive(Debug)]
pub(crate) struct ChildIntent {
    pub(crate) slot: SlotId,
    pub(crate) place: StepId,
    pub(crate) workflow: &'static str,
    pub(crate) output_type: String,
    pub(crate) input: Bytes,
    pub(crate) hash: [u8; 32],
    pub(crate) incarnation: u32,
    pub(crate) deadline: Option<Duration>,
    /// Whether the journal has the step already.
    pub(crate) journaled: bool,
}

/// How a call is made, beside what its contract says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CallOptions {
    pub(crate) retry: Option<Retry>,
    pub(crate) timeout: Option<Duration>,
    /// Whether the result is made durable before code sees anything later.
    pub(crate) durable: bool,
}
