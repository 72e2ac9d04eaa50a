//! A step of a run that has not settled: a call, a sleep, a wait for a signal, or a child run.

use uuid::Uuid;

use super::call_step::{CallStep, Phase};
use crate::journal_v1 as stored;
use crate::scope::ChildIntent;
use crate::state::State;
use crate::step_id::StepId;
use crate::time::Timestamp;
use crate::undo::{Make, UndoSource};

pub(super) struct LiveStep {
    pub(super) place: StepId,
    pub(super) begun_at: Timestamp,
    /// Whether code no longer waits for it: it lost a race.
    pub(super) abandoned: bool,
    /// When something is due. Only [`Steps`](super::steps::Steps) sets it.
    pub(super) timer: Option<Timestamp>,
    pub(super) kind: StepKind,
}

#[expect(clippy::large_enum_variant, reason = "steps are boxed one by one, and nearly all of them are calls")]
pub(super) enum StepKind {
    Call(CallStep),
    /// Waits for a time.
    Sleep {
        sequence: u64,
    },
    /// Waits for a message, and for a time if one is stated.
    Signal {
        sequence: u64,
        until: Option<Timestamp>,
    },
    Child(ChildStep),
}

/// A child run that a run waits for.
pub(super) enum ChildStep {
    /// The next append creates it.
    Requested(Box<ChildIntent>),
    /// The append that creates it is under way.
    Starting { sequence: u64, run: Uuid, intent: Box<ChildIntent> },
    /// Its end is waited for.
    Started { sequence: u64, run: Uuid },
}

impl ChildStep {
    /// Number of the fact that starts it, if one is written.
    pub(super) const fn sequence(&self) -> Option<u64> {
        match self {
            Self::Requested(_) => None,
            Self::Starting { sequence, .. } | Self::Started { sequence, .. } => Some(*sequence),
        }
    }

    /// The fact that starts it is written, with this number.
    pub(super) fn enter_starting(&mut self, number: u64, child: Uuid) {
        let before = std::mem::replace(self, Self::Started { sequence: number, run: child });
        if let Self::Requested(intent) = before {
            *self = Self::Starting { sequence: number, run: child, intent };
        }
    }

    /// The fact that starts it is durable.
    pub(super) fn enter_started(&mut self) -> Option<Uuid> {
        let Self::Starting { sequence, run, .. } = *self else { return None };
        *self = Self::Started { sequence, run };
        Some(run)
    }

    /// The fact that starts it was refused.
    pub(super) fn leave_starting(&mut self) {
        let before = std::mem::replace(self, Self::Started { sequence: 0, run: Uuid::nil() });
        *self = match before {
            Self::Starting { intent, .. } => Self::Requested(intent),
            other => other,
        };
    }
}

impl LiveStep {
    pub(super) fn new(place: StepId, begun_at: Timestamp, kind: StepKind) -> Self {
        Self { place, begun_at, abandoned: false, timer: None, kind }
    }

    pub(super) fn call(&self) -> Option<&CallStep> {
        match &self.kind {
            StepKind::Call(call) => Some(call),
            _ => None,
        }
    }

    pub(super) fn call_mut(&mut self) -> Option<&mut CallStep> {
        match &mut self.kind {
            StepKind::Call(call) => Some(call),
            _ => None,
        }
    }

    /// What a call waits for.
    pub(super) fn phase(&self) -> Option<&Phase> {
        self.call().map(CallStep::phase)
    }

    /// Whether the step takes another one back.
    pub(super) fn is_undo(&self) -> bool {
        self.call().is_some_and(|call| call.undoes.is_some())
    }

    /// Whether only an operator can say what becomes of the step.
    pub(super) fn is_undecided(&self) -> bool {
        matches!(self.phase(), Some(Phase::Undecided))
    }

    /// Whether the next append starts it.
    pub(super) fn is_ready(&self) -> bool {
        self.is_requested_child() || matches!(self.phase(), Some(Phase::Ready(_)))
    }

    pub(super) fn is_requested_child(&self) -> bool {
        matches!(self.kind, StepKind::Child(ChildStep::Requested(_)))
    }

    /// Whether the step waits for its next attempt; a sleep does not.
    pub(super) fn backs_off(&self) -> bool {
        matches!(self.phase(), Some(Phase::BackingOff(_) | Phase::Down(_)))
    }

    /// Whether nothing continues but waiting: for a time, a message, a service or a decision.
    pub(super) fn is_idle(&self) -> bool {
        match &self.kind {
            StepKind::Call(call) => {
                matches!(call.phase(), Phase::BackingOff(_) | Phase::Down(_) | Phase::Undecided)
            }
            StepKind::Sleep { .. } | StepKind::Signal { .. } => true,
            StepKind::Child(child) => child.sequence().is_some(),
        }
    }

    /// Whether the step continues although code does not wait for it: an effect or a child whose start is written.
    pub(super) fn outlives_race(&self) -> bool {
        match &self.kind {
            StepKind::Call(call) => call.started.is_some(),
            StepKind::Child(child) => child.sequence().is_some(),
            StepKind::Sleep { .. } | StepKind::Signal { .. } => false,
        }
    }

    /// Makes what takes the step back, if that is made from its response.
    pub(super) fn takes_undo(&mut self) -> Option<Box<Make>> {
        match self.call_mut()?.undo.take()?.source {
            UndoSource::ByResponse(make) => Some(make),
            UndoSource::Known(_) => None,
        }
    }

    /// When the time for all attempts is up, if one is stated.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.call()?.retry().total().map(|total| self.begun_at.after(total))
    }

    /// How a fact names the step: by the number of its start, or by its place.
    pub(super) fn reference(&self) -> (u64, Option<stored::Place>) {
        let sequence = match &self.kind {
            StepKind::Call(call) => call.started.map(|(sequence, _)| sequence),
            StepKind::Sleep { sequence, .. } | StepKind::Signal { sequence, .. } => Some(*sequence),
            StepKind::Child(child) => child.sequence(),
        };
        sequence.map_or_else(|| (0, Some(self.place.stored())), |sequence| (sequence, None))
    }
}

/// The state that the open steps amount to.
pub(super) fn state_of<'s>(steps: impl Iterator<Item = &'s LiveStep> + Clone) -> State {
    if steps.clone().any(|step| step.is_undecided()) {
        State::NeedsDecision
    } else if steps.clone().any(|step| step.backs_off()) {
        State::BackingOff
    } else {
        State::Waiting
    }
}
