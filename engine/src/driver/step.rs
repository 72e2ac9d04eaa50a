//! A step of a run that has not settled: what is known of it, and what it waits for.

use bytes::Bytes;
use tokio::time::Instant;
use uuid::Uuid;

use super::children::ChildWork;
use super::outage::Down;
use crate::doubt::Doubt;
use crate::journal_v1 as stored;
use crate::retry::Retry;
use crate::rpc::{Level, MARGIN};
use crate::scope::CallOptions;
use crate::state::State;
use crate::step_id::StepId;
use crate::time::Timestamp;
use crate::transport::Reservation;
use crate::undo::{Make, Undo, UndoSource};

pub(crate) struct LiveStep {
    pub(crate) place: StepId,
    pub(crate) work: Work,
    pub(crate) begun_at: Timestamp,
    /// Attempts that were begun.
    pub(crate) attempts: u32,
    /// Those of them that are not counted when it is tried again: an operator forgave them, or they were given back unsent.
    pub(crate) forgiven: u32,
    /// Whether an attempt may have acted; never of a read.
    pub(crate) doubt: Doubt,
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
    /// When every attempt that was started must have had its answer.
    pub(crate) deadline: Timestamp,
    /// When the last attempt that was started was about to be sent.
    pub(crate) attempted_at: Timestamp,
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

impl LiveStep {
    /// A step that only waits.
    pub(super) fn waiting(place: StepId, work: Work, begun_at: Timestamp, phase: Phase) -> Self {
        Self { place, work, begun_at, attempts: 0, forgiven: 0, doubt: Doubt::default(), let_go: false, phase }
    }

    /// Whether the step takes another one back.
    pub(super) fn is_undo(&self) -> bool {
        matches!(&self.work, Work::Call(call) if call.undoes.is_some())
    }

    /// Makes what takes the step back, if that is made from its response.
    pub(super) fn takes_undo(&mut self) -> Option<Box<Make>> {
        let Work::Call(call) = &mut self.work else { return None };
        match call.undo.take()?.source {
            UndoSource::ByResponse(make) => Some(make),
            UndoSource::Known(_) => None,
        }
    }

    /// When the time for all attempts is up, where one is said.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let Work::Call(call) = &self.work else { return None };
        call.retry().total().map(|total| self.begun_at.after(total))
    }

    /// When an attempt that begins now must have its answer so that it surely acts while the service knows the key, if the
    /// service forgets keys at all and no operator allows the attempt all the same. The first attempt too: a later one may
    /// come to the service before it (E4, E5).
    pub(super) fn key_known_until(&self, now: Timestamp) -> Option<Timestamp> {
        let Work::Call(call) = &self.work else { return None };
        let Level::Keyed { horizon } = call.level else { return None };
        // A key that is forgotten before an attempt is surely over is used for one attempt only.
        let known = horizon.checked_sub(MARGIN).filter(|known| !known.is_zero() && !self.doubt.is_allowed())?;
        // As long as none may have acted, the service has not seen the key.
        let first = call.started.filter(|_| self.doubt.exists()).map_or(now, |(_, at)| at);
        Some(first.after(known))
    }

    /// Whether only an operator can say what becomes of the step.
    pub(super) fn undecided(&self, now: Timestamp) -> bool {
        let Work::Call(call) = &self.work else { return false };
        self.doubt.needs_decision(call.level, call.started.map(|(_, at)| at), now)
    }

    /// An attempt failed in this way. A read leaves nothing to doubt.
    pub(super) fn failed(&mut self, outcome: stored::Outcome) {
        if matches!(&self.work, Work::Call(call) if call.level.has_effects()) {
            self.doubt.fail(outcome);
        }
    }
}

impl CallWork {
    pub(super) fn retry(&self) -> Retry {
        self.options.retry.unwrap_or_default()
    }
}

/// How a fact names a step: by the number of its start, or by its place.
pub(super) fn reference(step: &LiveStep) -> (u64, Option<stored::Place>) {
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
pub(super) fn backs_off(step: &LiveStep) -> bool {
    matches!((&step.work, &step.phase), (Work::Call(_), Phase::Until(_) | Phase::Down(_)))
}

/// The state that the open steps amount to.
pub(super) fn state_of<'s>(steps: impl Iterator<Item = &'s Box<LiveStep>> + Clone) -> State {
    if steps.clone().any(|step| matches!(step.phase, Phase::Undecided)) {
        State::NeedsDecision
    } else if steps.clone().any(|step| backs_off(step)) {
        State::BackingOff
    } else {
        State::Waiting
    }
}
