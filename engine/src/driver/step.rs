//! The steps of a run that have not settled: what is known of each, and what comes next.

use std::sync::Arc;

use bytes::Bytes;
use rand::RngExt;
use tokio::time::Instant;
use uuid::Uuid;

use super::Driver;
use super::children::ChildWork;
use super::flight::{Flight, Landed, LandedKind};
use super::outage::Down;
use crate::failure::{Code, Failure};
use crate::history::{Open, OpenKind};
use crate::journal::{Kind, store_failure, store_outcome};
use crate::journal_v1 as stored;
use crate::place::{Place, SlotId};
use crate::retry::Retry;
use crate::rpc::Level;
use crate::scope::{CallIntent, CallOptions, Intent};
use crate::state::State;
use crate::time::Timestamp;
use crate::transport::{Attempt, Outcome, Reservation, Reserved, StepPlace, Unsent};
use crate::undo::{Form, Undo};

pub(crate) struct OpenStep {
    pub(crate) place: Place,
    pub(crate) work: Work,
    pub(crate) begun_at: Timestamp,
    /// Attempts that were begun.
    pub(crate) attempts: u32,
    /// Those of them that an operator's retry forgave: they are not counted when it is tried again.
    pub(crate) forgiven: u32,
    /// Whether an attempt may have had its effect.
    pub(crate) in_doubt: bool,
    /// Whether an operator said to make the call again, although it may have had its effect.
    pub(crate) allowed: bool,
    /// Whether code waits for it no more: it lost a race.
    pub(crate) let_go: bool,
    pub(crate) phase: Phase,
}

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
}

impl CallWork {
    fn retry(&self) -> Retry {
        self.options.retry.unwrap_or_default()
    }
}

impl OpenStep {
    /// Whether the step takes another one back.
    pub(super) fn is_undo(&self) -> bool {
        matches!(&self.work, Work::Call(call) if call.undoes.is_some())
    }

    /// What takes the step back, where that is made from its response.
    fn undo_made(&mut self, response: Option<&Bytes>) -> Option<stored::Undo> {
        let (Work::Call(call), Some(response)) = (&mut self.work, response) else { return None };
        match call.undo.take()?.form {
            Form::Known(_) => None,
            // Where the response does not decode, code is told; and so is whoever wants it undone.
            Form::ByResponse(make) => make(response.clone()).ok(),
        }
    }

    /// Whether an attempt may have had its effect, and nobody allows another.
    pub(super) fn undecided(&self, now: Timestamp) -> bool {
        let Work::Call(call) = &self.work else { return false };
        self.in_doubt && !self.allowed && !call.level.may_repeat(call.started.map(|(_, at)| at), now)
    }
}

impl Driver {
    /// Begins what code asked for.
    pub(super) fn intend(&mut self, intent: Intent) {
        match intent {
            Intent::Fact(kind) => self.learn(*kind),
            Intent::Raced { place, winner, losers, journaled } => {
                let withdrawn = self.let_go(&losers);
                if !journaled {
                    self.learn(Kind::Raced(stored::Raced { place: Some(place.stored()), winner, withdrawn }));
                }
            }
            // The journal had it settled, and code has the result, unless it came to an open step later than before
            // a retry.
            Intent::Call(call) if call.journaled => {
                if let Some(open) = self.held.remove(&(Arc::clone(&call.place.branch), call.place.position)) {
                    self.reopen(call.slot, open, Some(*call));
                }
            }
            Intent::Sleep { slot, place, journaled: true, .. }
            | Intent::Signal { slot, place, journaled: true, .. } => {
                if let Some(open) = self.held.remove(&(Arc::clone(&place.branch), place.position)) {
                    self.reopen(slot, open, None);
                }
            }
            Intent::Child(child) if child.journaled => {
                if let Some(open) = self.held.remove(&(Arc::clone(&child.place.branch), child.place.position)) {
                    self.reopen(child.slot, open, None);
                }
            }
            Intent::Call(call) => self.call(*call, 0),
            Intent::Child(child) => self.bear(*child),
            Intent::Signal { slot, place, type_name, within, .. } => self.wait_for(slot, place, type_name, within),
            Intent::Sleep { slot, place, span, .. } => {
                let until = self.shared.clock.now().after(span);
                let sequence = self.next_sequence();
                self.learn(Kind::SleepStarted(stored::SleepStarted {
                    place: Some(place.stored()),
                    until_micros: until.as_micros(),
                }));
                self.flush = true;
                self.sleep_until(slot, place, sequence, until);
            }
        }
    }

    fn sleep_until(&mut self, slot: SlotId, place: Place, sequence: u64, until: Timestamp) {
        let begun_at = self.shared.clock.now();
        let step = OpenStep::waiting(place, Work::Sleep { sequence }, begun_at, Phase::Until(until));
        self.steps.insert(slot, Box::new(step));
        self.timers.insert((until, slot));
    }

    fn call(&mut self, call: CallIntent, attempts: u32) {
        let CallIntent { slot, place, method, request, hash, key, incarnation, options, undo, .. } = call;
        let begun_at = self.shared.clock.now();
        let work = CallWork {
            level: self.level(&place.name, method.level, undo.is_some()),
            request,
            hash,
            key,
            incarnation,
            started: None,
            deadline: begun_at,
            options,
            undo,
            undoes: None,
        };
        let step = OpenStep {
            place,
            work: Work::Call(work),
            begun_at,
            attempts,
            forgiven: 0,
            in_doubt: false,
            allowed: false,
            let_go: false,
            phase: Phase::Reserving,
        };
        self.steps.insert(slot, Box::new(step));
        self.attempt(slot);
    }

    /// The level of a step that is made now. One that is undone, or undoes, must be in the journal before it is sent,
    /// whatever the transport knows of its method.
    pub(super) fn level(&self, path: &str, stated: Level, undo: bool) -> Level {
        let level = self.shared.transport.level(path, stated);
        if undo && !level.has_effects() { stated } else { level }
    }

    /// Goes on with a step that the journal has open. `call` is what code says of it, where code reached it.
    pub(super) fn reopen(&mut self, slot: SlotId, open: Open, call: Option<CallIntent>) {
        let now = self.shared.clock.now();
        let (undecided, in_doubt, allowed) = (open.undecided(now), open.doubtful(), open.asked_again());
        let said = self.ending_options(&open).unwrap_or_default();
        let Open { place, kind, attempts, forgiven, retry_at, undoes, .. } = open;
        let options = call.as_ref().map_or(said, |call| call.options);
        let work = match (kind, call) {
            (OpenKind::Sleep { sequence, until }, _) => return self.sleep_until(slot, place, sequence, until),
            (OpenKind::Child { sequence, run }, _) => return self.wait_for_child(slot, place, sequence, run),
            (OpenKind::Signal { sequence, until }, _) => return self.wait_on(slot, place, sequence, until),
            (OpenKind::Effect { sequence, key, incarnation, level, request, started_at, deadline }, call) => CallWork {
                level,
                request,
                hash: [0; 32],
                key,
                incarnation,
                started: Some((sequence, started_at)),
                deadline,
                options,
                undo: call.and_then(|call| call.undo).or_else(|| self.undo_said(&place)),
                undoes,
            },
            (OpenKind::Call, Some(call)) => CallWork {
                level: self.level(&place.name, call.method.level, call.undo.is_some()),
                request: call.request,
                hash: call.hash,
                key: call.key,
                incarnation: call.incarnation,
                started: None,
                deadline: now,
                options,
                undo: call.undo,
                undoes: None,
            },
            // Never sent, and code does not ask for it any more.
            (OpenKind::Call, None) => return,
        };
        let phase = match retry_at {
            _ if undecided => Phase::Undecided,
            Some(at) if at > now => Phase::Until(at),
            _ => Phase::Reserving,
        };
        let again = matches!(phase, Phase::Reserving);
        if let Phase::Until(at) = phase {
            self.timers.insert((at, slot));
        }
        let work = Work::Call(work);
        let step = OpenStep { place, work, begun_at: now, attempts, forgiven, in_doubt, allowed, let_go: false, phase };
        self.steps.insert(slot, Box::new(step));
        if again {
            self.attempt(slot);
        }
    }

    /// Makes the next attempt now; where the run stops here, when it goes on.
    pub(super) fn again(&mut self, slot: SlotId) {
        if self.parked.is_none() {
            return self.attempt(slot);
        }
        let now = self.shared.clock.now();
        if let Some(step) = self.steps.get_mut(&slot) {
            step.phase = Phase::Until(now);
        }
    }

    /// Begins the next attempt of a call: reserves, and for a read sends at once.
    fn attempt(&mut self, slot: SlotId) {
        let (draining, now) = (self.draining(), self.shared.clock.now());
        let Some(step) = self.steps.get_mut(&slot) else { return };
        if draining {
            step.phase = Phase::Until(now);
            return;
        }
        if step.undecided(now) {
            // The service remembered the key when the attempt was planned, and does no more.
            step.phase = Phase::Undecided;
            return;
        }
        step.attempts += 1;
        step.phase = Phase::Reserving;
        let attempt = step.attempts;
        let Work::Call(call) = &step.work else { return };
        if let Some(reservation) = self.shared.transport.try_reserve(&step.place.name) {
            return self.reserved(slot, reservation);
        }
        let timeout = self.shared.transport.call_timeout(&step.place.name, call.options.timeout);
        let reserving = self.shared.transport.reserve(&step.place.name, self.row.id, timeout);
        self.flights.push(Flight::reserving(slot, attempt, reserving));
    }

    fn reserved(&mut self, slot: SlotId, reservation: Box<dyn Reservation>) {
        let Some(step) = self.steps.get_mut(&slot) else { return };
        let Work::Call(call) = &step.work else { return };
        match &step.phase {
            Phase::Reserving => {}
            Phase::Down(down) => drop(self.timers.remove(&(down.lingers_until, slot))),
            _ => return,
        }
        if call.level.has_effects() {
            step.phase = Phase::Ready(reservation);
        } else {
            let (deadline, _) = self.attempt_deadline(slot);
            self.send(slot, reservation, deadline);
        }
    }

    /// When an attempt that begins now must have its answer, on both clocks: the smaller of the step's time and
    /// what the run has left.
    pub(super) fn attempt_deadline(&self, slot: SlotId) -> (Instant, Timestamp) {
        let step = self.steps.get(&slot);
        let said = step.and_then(|step| match &step.work {
            Work::Call(call) => call.options.timeout,
            Work::Sleep { .. } | Work::Signal { .. } | Work::Child(_) => None,
        });
        let path = step.map_or("", |step| &*step.place.name);
        let timeout = self.shared.transport.call_timeout(path, said);
        let now = self.shared.clock.now();
        let span = if self.ending.is_some() { timeout } else { timeout.min(self.row.deadline.since(now)) };
        (Instant::now() + span, now.after(span))
    }

    pub(super) fn send(&mut self, slot: SlotId, reservation: Box<dyn Reservation>, deadline: Instant) {
        let Some(step) = self.steps.get_mut(&slot) else { return };
        let Work::Call(call) = &step.work else { return };
        step.phase = Phase::Sending;
        let attempt = Attempt {
            request: call.request.clone(),
            level: call.level,
            key: call.level.has_effects().then_some(call.key),
            deadline,
            run: self.row.id,
            step: StepPlace { branch: Arc::clone(&step.place.branch), position: step.place.position },
            number: step.attempts,
            epoch: self.row.epoch,
            claim: Arc::clone(&self.shared.claim),
        };
        self.flights.push(Flight::sending(slot, step.attempts, reservation.send(attempt)));
    }

    pub(super) fn landed(&mut self, landed: Landed) {
        let Landed { slot, attempt, kind } = landed;
        if self.steps.get(&slot).is_none_or(|step| step.attempts != attempt) {
            return;
        }
        match kind {
            LandedKind::Reserved(Ok(Reserved::Ready(reservation))) => self.reserved(slot, reservation),
            LandedKind::Reserved(Ok(Reserved::Down(outage, back))) => self.down(slot, outage, back),
            LandedKind::Reserved(Err(unsent)) => self.tried(slot, Outcome::NotSent(unsent)),
            LandedKind::Sent(outcome) => self.tried(slot, outcome),
        }
    }

    /// An attempt has its outcome: the step settles, is tried again, or waits for a decision.
    fn tried(&mut self, slot: SlotId, outcome: Outcome) {
        let now = self.shared.clock.now();
        let Some(step) = self.steps.get_mut(&slot) else { return };
        let Work::Call(call) = &step.work else { return };
        let kind = store_outcome(&outcome);
        let (failure, retry_after) = match outcome {
            Outcome::Done(response) => return self.done(slot, response),
            Outcome::Refused(failure) => {
                if failure.code() == Code::NotFound
                    && let Some(from) = call.undoes.and_then(|step| self.nothing_there_from(step))
                    && now < from
                {
                    return self.look_again(slot, &failure, from);
                }
                let Some(step) = self.steps.get(&slot) else { return };
                let repeated = step.in_doubt && matches!(failure.code(), Code::NotFound | Code::AlreadyExists);
                return self.settle(slot, Err(failure), kind, repeated);
            }
            Outcome::NotSent(Unsent { failure, retry_after }) => (failure, retry_after),
            Outcome::Ambiguous { failure, retry_after } => {
                step.in_doubt |= call.level.has_effects();
                step.allowed = false;
                (failure, retry_after)
            }
        };
        let undecided = step.undecided(now);
        let pause =
            call.retry().pause_after(step.attempts.saturating_sub(step.forgiven), retry_after, rand::rng().random());
        let in_doubt = step.in_doubt;
        let retry_at = match pause {
            _ if undecided => None,
            Some(pause) => Some(now.after(pause)),
            None => {
                let known = if in_doubt { stored::Outcome::Ambiguous } else { kind };
                return self.settle(slot, Err(failure), known, false);
            }
        };
        let (attempt, name) = (step.attempts, step.place.name.clone());
        match retry_at {
            Some(at) => {
                step.phase = Phase::Until(at);
                self.timers.insert((at, slot));
            }
            None => step.phase = Phase::Undecided,
        }
        tracing::warn!(
            run = %self.row.id, step = %step.place, attempt, code = %failure.code(), error = failure.message(),
            undecided, method = %name, "attempt failed"
        );
        let (sequence, place) = reference(step);
        self.learn(Kind::AttemptFailed(stored::AttemptFailed {
            step: sequence,
            place,
            attempt,
            outcome: kind.into(),
            failure: Some(store_failure(&failure)),
            retry_at_micros: retry_at.map_or(0, Timestamp::as_micros),
        }));
    }

    /// What an undo found nothing of may still come: it is made again when that is out of the question.
    fn look_again(&mut self, slot: SlotId, failure: &Failure, from: Timestamp) {
        let Some(step) = self.steps.get_mut(&slot) else { return };
        step.phase = Phase::Until(from);
        let attempt = step.attempts;
        let (sequence, place) = reference(step);
        self.timers.insert((from, slot));
        self.learn(Kind::AttemptFailed(stored::AttemptFailed {
            step: sequence,
            place,
            attempt,
            outcome: stored::Outcome::Refused.into(),
            failure: Some(store_failure(failure)),
            retry_at_micros: from.as_micros(),
        }));
    }

    fn done(&mut self, slot: SlotId, response: Bytes) {
        let limit = self.shared.limits.payload_bytes;
        let result = if response.len() > limit {
            let message = format!("the response has {} bytes, the limit payload_bytes is {limit}", response.len());
            Err(Failure::new(Code::ResourceExhausted, message))
        } else {
            Ok(response)
        };
        self.settle(slot, result, stored::Outcome::Unspecified, false);
    }

    /// The end of a step: a fact, and its result for code.
    pub(super) fn settle(
        &mut self,
        slot: SlotId,
        result: Result<Bytes, Failure>,
        outcome: stored::Outcome,
        repeated: bool,
    ) {
        let Some(mut step) = self.steps.remove(&slot) else { return };
        let (sequence, place) = reference(&step);
        let undo = step.undo_made(result.as_ref().ok());
        let (request_hash, durable) = match &step.work {
            Work::Call(call) if call.started.is_none() => (Bytes::copy_from_slice(&call.hash), call.options.durable),
            Work::Call(call) => (Bytes::new(), call.options.durable),
            Work::Sleep { .. } | Work::Signal { .. } | Work::Child(_) => (Bytes::new(), false),
        };
        let result = result.map_err(|failure| failure.at(step.place.step_ref()).repeated_if(repeated));
        let stored_result = match &result {
            Ok(response) => stored::step_settled::Result::Response(response.clone()),
            Err(failure) => {
                tracing::warn!(
                    run = %self.row.id, step = %step.place, attempt = step.attempts, code = %failure.code(),
                    error = failure.message(), "step failed"
                );
                stored::step_settled::Result::Failure(store_failure(failure))
            }
        };
        self.learn(Kind::StepSettled(stored::StepSettled {
            step: sequence,
            place,
            attempts: step.attempts,
            result: Some(stored_result),
            repeated,
            outcome: outcome.into(),
            request_hash,
            begun_micros: if sequence == 0 { step.begun_at.as_micros() } else { 0 },
            message: 0,
            undo: undo.clone(),
            undone: step.is_undo()
                && outcome == stored::Outcome::Refused
                && result.as_ref().is_err_and(|failure| failure.code() == Code::NotFound),
        }));
        if let Work::Call(call) = &step.work
            && self.undoing.any
        {
            self.settled_for_undo(call, &result, outcome, undo.as_ref(), step.in_doubt);
        }
        self.flush |= durable;
        if self.code.is_some() {
            self.scope.deliver(slot, result);
        }
        self.conclude();
    }

    /// A timer of this step is due.
    pub(super) fn wake(&mut self, slot: SlotId) {
        match self.steps.get(&slot).map(AsRef::as_ref) {
            Some(OpenStep { phase: Phase::Until(_), work: Work::Sleep { .. }, .. }) => {
                self.settle(slot, Ok(Bytes::new()), stored::Outcome::Unspecified, false);
            }
            // It may be given back now.
            Some(OpenStep { work: Work::Child(_), .. }) => {}
            Some(OpenStep { phase: Phase::Message(Some(until)), .. }) => {
                let until = *until;
                self.overdue(slot, until);
            }
            // A drain begins nothing; the run is given back and goes on elsewhere.
            Some(OpenStep { phase: Phase::Until(_), .. }) if !self.draining() => self.attempt(slot),
            _ => {}
        }
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
