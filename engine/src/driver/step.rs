//! A step of a run that has not settled: what is known of it, and what it waits for.

use bytes::Bytes;
use tokio::time::Instant;
use uuid::Uuid;

use super::children::ChildWork;
use super::outage::Down;
use crate::journal_v1 as stored;
use crate::place::Place;
use crate::retry::Retry;
use crate::rpc::Level;
use crate::scope::CallOptions;
use crate::state::State;
use crate::time::Timestamp;
use crate::transport::Reservation;
use crate::undo::{Form, Undo};

pub(crate) struct OpenStep {
    pub(crate) place: Place,
    pub(crate) work: Work,
    pub(crate) begun_at: Timestamp,
    /// Attempts that were begun.
    pub(crate) attempts: u32,
    /// Those of them that are not counted when it is tried again: an operator forgave them, or they were given back unsent.
    pub(crate) forgiven: u32,
    /// Whether an attempt may have had its effect.
    pub(crate) in_doubt: bool,
    /// Whether an operator said to make the call again, although it may have had its effect.
    pub(crate) allowed: bool,
    /// Whether code waits for it no more: it lost a race.
    pub(crate) let_go: bool,
    pub(crate) phase: Phase,
}

#[expect(clippy::large_enum_variant, reason = "steps are boxed one by one, and nearly all of them are calls")]
pub(crate) enum Work {
    Call(CallWork),
    Sleep { sequence: u64 },
    Signal { sequence: u64 },
    Child(ChildWork),
}

pub(crate) struct CallWork {
    pub(crate) level: Level,
    pub(crate) request: Bytes,
    pub(crate) hash: [u8; 32],
    pub(crate) key: Uuid,
    pub(crate) incarnation: u32,
    /// Sequence number and time of the durable start, once there is one.
    pub(crate) started: Option<(u64, Timestamp)>,
    /// When the last attempt that was started must have had its answer.
    pub(crate) deadline: Timestamp,
    pub(super) options: CallOptions,
    /// What takes the call back.
    pub(crate) undo: Option<Box<Undo>>,
    /// Sequence number of the start of the step that this call takes back.
    pub(crate) undoes: Option<u64>,
}

pub(crate) enum Phase {
    /// Waits for a permit and a connection.
    Reserving,
    /// Waits for its service, which is down.
    Down(Down),
    /// Has both; waits for its start to be written.
    Ready(Box<dyn Reservation>),
    /// Its start is being made durable.
    Starting(Box<dyn Reservation>, Instant),
    Sending,
    /// Waits for a time, for the next attempt or as a sleep.
    Until(Timestamp),
    /// Waits for a message, and for a time where one is said.
    Message(Option<Timestamp>),
    /// A child run that the next append creates.
    Unborn,
    /// Only an operator can say whether it happened.
    Undecided,
}

impl OpenStep {
    /// A step that only waits.
    pub(super) fn waiting(place: Place, work: Work, begun_at: Timestamp, phase: Phase) -> Self {
        Self { place, work, begun_at, attempts: 0, forgiven: 0, in_doubt: false, allowed: false, let_go: false, phase }
    }

    /// Whether the step takes another one back.
    pub(super) fn is_undo(&self) -> bool {
        matches!(&self.work, Work::Call(call) if call.undoes.is_some())
    }

    /// What takes the step back, where that is made from its response.
    pub(super) fn undo_made(&mut self, response: Option<&Bytes>) -> Option<stored::Undo> {
        let (Work::Call(call), Some(response)) = (&mut self.work, response) else { return None };
        match call.undo.take()?.form {
            Form::Known(_) => None,
            // Where the response does not decode, code is told; and so is whoever wants it undone.
            Form::ByResponse(make) => make(response.clone()).ok(),
        }
    }

    /// When the time for all attempts is up, where one is said.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let Work::Call(call) = &self.work else { return None };
        call.retry().total().map(|total| self.begun_at.after(total))
    }

    /// Whether an attempt may have had its effect, and nobody allows another.
    pub(super) fn undecided(&self, now: Timestamp) -> bool {
        let Work::Call(call) = &self.work else { return false };
        self.in_doubt && !self.allowed && !call.level.may_repeat(call.started.map(|(_, at)| at), now)
    }
}

impl CallWork {
    pub(super) fn retry(&self) -> Retry {
        self.options.retry.unwrap_or_default()
    }
}

/// How a fact names a step: by the number of its start, or by its place.
pub(super) fn reference(step: &OpenStep) -> (u64, Option<stored::Place>) {
    match &step.work {
        Work::Call(CallWork { started: Some((sequence, _)), .. })
        | Work::Sleep { sequence }
        | Work::Signal { sequence }
        | Work::Child(ChildWork { started: Some((sequence, _)), .. }) => (*sequence, None),
        Work::Child(_) => (0, Some(step.place.stored())),
        Work::Call(_) => (0, Some(step.place.stored())),
    }
}

/// Whether the step waits for its next attempt; a sleep does not.
pub(super) fn backs_off(step: &OpenStep) -> bool {
    matches!((&step.work, &step.phase), (Work::Call(_), Phase::Until(_) | Phase::Down(_)))
}

/// The state that the open steps amount to.
pub(super) fn state_of<'s>(steps: impl Iterator<Item = &'s Box<OpenStep>> + Clone) -> State {
    if steps.clone().any(|step| matches!(step.phase, Phase::Undecided)) {
        State::NeedsDecision
    } else if steps.clone().any(|step| backs_off(step)) {
        State::BackingOff
    } else {
        State::Waiting
    }
}
