//! The attempts of a call: reserved, sent, and what becomes of the step by each outcome.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Driver;
use super::call_step::Phase;
use super::in_flight::{Completed, CompletedKind, InFlight};
use super::outcome::{Next, Retry};
use crate::journal::{Kind, store_failure};
use crate::journal_v1 as stored;
use crate::step_id::SlotId;
use crate::time::Timestamp;
use crate::transport::{Attempt, Outcome, Reservation, Reserved, StepPlace};

impl Driver {
    /// Makes the next attempt now; if the run stops here, when it continues.
    pub(super) fn retry_now(&mut self, slot: SlotId) {
        if !self.mode.is_stopped() {
            return self.attempt(slot);
        }
        let now = self.shared.clock.now();
        if let Some(call) = self.steps.call_mut(slot) {
            call.enter(Phase::BackingOff(now));
        }
    }

    /// Begins the next attempt of a call: reserves, and for a read sends immediately.
    pub(super) fn attempt(&mut self, slot: SlotId) {
        let (draining, now) = (self.draining(), self.shared.clock.now());
        let Some(step) = self.steps.get_mut(slot) else { return };
        let out_of_time = step.deadline().is_some_and(|at| at <= now);
        let Some(call) = step.call_mut() else { return };
        if draining {
            call.enter(Phase::BackingOff(now));
            return;
        }
        if call.undecided(now) {
            // The service remembered the key when the attempt was planned, and does no more.
            call.enter(Phase::Undecided);
            return;
        }
        if out_of_time {
            return self.out_of_time(slot);
        }
        call.attempts += 1;
        call.enter(Phase::Reserving);
        let (attempt, timeout) = (call.attempts, call.options.timeout);
        let Some(step) = self.steps.get(slot) else { return };
        let method = &step.place.name;
        if let Some(reservation) = self.shared.transport.try_reserve(method) {
            return self.reserved(slot, reservation);
        }
        let timeout = self.shared.transport.call_timeout(method, timeout);
        let reserving = self.shared.transport.reserve(method, self.row.id, timeout);
        self.steps.begin_flight(InFlight::reserving(slot, attempt, reserving));
    }

    fn reserved(&mut self, slot: SlotId, reservation: Box<dyn Reservation>) {
        let now = self.shared.clock.now();
        let Some(call) = self.steps.get(slot).and_then(|step| step.call()) else { return };
        match call.phase() {
            Phase::Reserving => {}
            Phase::Down(_) => {
                let first = call.attempts == 1;
                self.steps.clear_timer(slot);
                let Some(step) = self.steps.get_mut(slot) else { return };
                if first {
                    step.begun_at = now;
                }
                if step.deadline().is_some_and(|at| at <= now) {
                    return self.out_of_time(slot);
                }
            }
            _ => return,
        }
        let Some(call) = self.steps.call_mut(slot) else { return };
        if call.level.has_effects() {
            call.enter(Phase::Ready(reservation));
        } else {
            call.enter(Phase::Sending);
            let (deadline, _) = self.attempt_deadline(slot);
            self.send(slot, reservation, deadline);
        }
    }

    /// When an attempt that begins now must have its answer, on both clocks: the smallest of the attempt's time and
    /// what the step and the run have left.
    pub(super) fn attempt_deadline(&self, slot: SlotId) -> (Instant, Timestamp) {
        let step = self.steps.get(slot);
        let call = step.and_then(|step| step.call());
        let path = step.map_or("", |step| &*step.place.name);
        let timeout = self.shared.transport.call_timeout(path, call.and_then(|call| call.options.timeout));
        let now = self.shared.clock.now();
        let ends = [step.and_then(|step| step.deadline()), call.and_then(|call| call.key_known_until(now))];
        let left = ends.into_iter().flatten().min().map_or(Duration::MAX, |at| at.since(now));
        let timeout = timeout.min(left);
        let span = if self.mode.is_ending() { timeout } else { timeout.min(self.row.deadline.since(now)) };
        (Instant::now() + span, now.after(span))
    }

    /// Sends an attempt of a call that has entered the phase for it.
    pub(super) fn send(&mut self, slot: SlotId, reservation: Box<dyn Reservation>, deadline: Instant) {
        let Some(step) = self.steps.get(slot) else { return };
        let Some(call) = step.call() else { return };
        let attempt = Attempt {
            request: call.request.clone(),
            level: call.level,
            key: call.level.has_effects().then_some(call.key),
            deadline,
            run: self.row.id,
            step: StepPlace { branch: Arc::clone(&step.place.branch), position: step.place.position },
            number: call.attempts,
            epoch: self.row.epoch,
            claim: Arc::clone(&self.claim),
        };
        self.steps.begin_flight(InFlight::sending(slot, attempt.number, reservation.send(attempt)));
    }

    pub(super) fn on_completion(&mut self, completed: Completed) {
        let Completed { slot, attempt, kind } = completed;
        let current = self.steps.get(slot).and_then(|step| step.call()).is_some_and(|call| call.attempts == attempt);
        if !current {
            return;
        }
        match kind {
            CompletedKind::Reserved(Ok(Reserved::Ready(reservation))) => self.reserved(slot, reservation),
            CompletedKind::Reserved(Ok(Reserved::Down(outage, back))) => self.down(slot, outage, back),
            CompletedKind::Reserved(Err(unsent)) => self.on_outcome(slot, Outcome::NotSent(unsent)),
            CompletedKind::Sent(outcome) => self.on_outcome(slot, outcome),
        }
    }

    /// An attempt has its outcome: the step settles, is tried again, or waits for a decision.
    fn on_outcome(&mut self, slot: SlotId, outcome: Outcome) {
        let now = self.shared.clock.now();
        self.steps.clear_timer(slot);
        let Some(step) = self.steps.get(slot) else { return };
        let conclusive_at = step.call().and_then(|call| self.undo_conclusive_at(call.undoes?));
        let Some(step) = self.steps.get_mut(slot) else { return };
        match step.after(outcome, now, || self.shared.random.share(), conclusive_at) {
            Next::Respond(response) => self.on_response(slot, response),
            Next::Fail { failure, known, repeated } => self.settle(slot, Err(failure), known, repeated),
            Next::Retry(retry) => self.retry_later(slot, retry),
        }
    }

    fn retry_later(&mut self, slot: SlotId, retry: Retry) {
        let Retry { failure, outcome, at, expected } = retry;
        if let Some(at) = at {
            self.steps.set_timer(slot, at);
        }
        let Some(step) = self.steps.get(slot) else { return };
        let Some(call) = step.call() else { return };
        let attempt = call.attempts;
        // If the claim is lost, that was logged one time, for all runs.
        if !expected && self.claim.is_held() {
            tracing::warn!(
                run = %self.row.id, step = %step.place, attempt, code = %failure.code(), undecided = at.is_none(),
                method = %step.place.name, "attempt failed"
            );
            // What a service says may be about a person.
            tracing::debug!(run = %self.row.id, step = %step.place, attempt, error = failure.message(), "what failed");
        }
        let (sequence, place) = step.reference();
        self.record(Kind::AttemptFailed(stored::AttemptFailed {
            step: sequence,
            place,
            attempt,
            outcome: outcome.into(),
            failure: Some(store_failure(&failure)),
            retry_at_micros: at.map_or(0, Timestamp::as_micros),
            not_counted: false,
        }));
    }

    /// The step has waited for its next attempt for longer than all its attempts may take.
    fn out_of_time(&mut self, slot: SlotId) {
        let Some(call) = self.steps.call_mut(slot) else { return };
        let (failure, known) = call.out_of_time();
        self.settle(slot, Err(failure), known, false);
    }
}
