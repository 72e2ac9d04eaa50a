//! The attempts of a call: reserved, sent, and what becomes of the step by each outcome.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Driver;
use super::in_flight::{Completed, InFlight, LandedKind};
use super::step::{Phase, Work, reference};
use crate::failure::{Code, Failure};
use crate::journal::{Kind, store_failure, store_outcome};
use crate::journal_v1 as stored;
use crate::step_id::SlotId;
use crate::time::Timestamp;
use crate::transport::{Attempt, Outcome, Reservation, Reserved, StepPlace, Unsent};

impl Driver {
    /// Makes the next attempt now; where the run stops here, when it continues.
    pub(super) fn retry_now(&mut self, slot: SlotId) {
        if !self.mode.is_stopped() {
            return self.attempt(slot);
        }
        let now = self.shared.clock.now();
        if let Some(step) = self.steps.get_mut(&slot) {
            step.phase = Phase::Until(now);
        }
    }

    /// Begins the next attempt of a call: reserves, and for a read sends immediately.
    pub(super) fn attempt(&mut self, slot: SlotId) {
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
        if step.deadline().is_some_and(|at| at <= now) {
            return self.out_of_time(slot);
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
        self.in_flight.push(InFlight::reserving(slot, attempt, reserving));
    }

    fn reserved(&mut self, slot: SlotId, reservation: Box<dyn Reservation>) {
        let now = self.shared.clock.now();
        let Some(step) = self.steps.get_mut(&slot) else { return };
        match &step.phase {
            Phase::Reserving => {}
            Phase::Down(down) => {
                self.timers.remove(&(down.lingers_until, slot));
                if step.attempts == 1 {
                    step.begun_at = now;
                }
                if step.deadline().is_some_and(|at| at <= now) {
                    return self.out_of_time(slot);
                }
            }
            _ => return,
        }
        let Work::Call(call) = &step.work else { return };
        if call.level.has_effects() {
            step.phase = Phase::Ready(reservation);
        } else {
            let (deadline, _) = self.attempt_deadline(slot);
            self.send(slot, reservation, deadline);
        }
    }

    /// When an attempt that begins now must have its answer, on both clocks: the smallest of the attempt's time and
    /// what the step and the run have left.
    pub(super) fn attempt_deadline(&self, slot: SlotId) -> (Instant, Timestamp) {
        let step = self.steps.get(&slot);
        let said = step.and_then(|step| match &step.work {
            Work::Call(call) => call.options.timeout,
            Work::Sleep { .. } | Work::Signal { .. } | Work::Child(_) => None,
        });
        let path = step.map_or("", |step| &*step.place.name);
        let timeout = self.shared.transport.call_timeout(path, said);
        let now = self.shared.clock.now();
        let ends = [step.and_then(|step| step.deadline()), step.and_then(|step| step.key_known_until(now))];
        let left = ends.into_iter().flatten().min().map_or(Duration::MAX, |at| at.since(now));
        let timeout = timeout.min(left);
        let span = if self.mode.is_ending() { timeout } else { timeout.min(self.row.deadline.since(now)) };
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
        self.in_flight.push(InFlight::sending(slot, step.attempts, reservation.send(attempt)));
    }

    pub(super) fn on_completion(&mut self, landed: Completed) {
        let Completed { slot, attempt, kind } = landed;
        if self.steps.get(&slot).is_none_or(|step| step.attempts != attempt) {
            return;
        }
        match kind {
            LandedKind::Reserved(Ok(Reserved::Ready(reservation))) => self.reserved(slot, reservation),
            LandedKind::Reserved(Ok(Reserved::Down(outage, back))) => self.down(slot, outage, back),
            LandedKind::Reserved(Err(unsent)) => self.on_outcome(slot, Outcome::NotSent(unsent)),
            LandedKind::Sent(outcome) => self.on_outcome(slot, outcome),
        }
    }

    /// An attempt has its outcome: the step settles, is tried again, or waits for a decision.
    fn on_outcome(&mut self, slot: SlotId, outcome: Outcome) {
        let now = self.shared.clock.now();
        let Some(step) = self.steps.get_mut(&slot) else { return };
        let kind = store_outcome(&outcome);
        let (failure, retry_after) = match outcome {
            Outcome::Done(response) => return self.on_response(slot, response),
            Outcome::Refused(failure) => {
                step.failed(kind);
                let (doubt, Work::Call(call)) = (step.doubt, &step.work) else { return };
                let (undoes, attempted_at) = (call.undoes, call.attempted_at);
                if failure.code() == Code::NotFound
                    && let Some(from) = undoes.and_then(|step| self.undo_conclusive_at(step))
                    && attempted_at < from
                {
                    return self.look_again(slot, &failure, from.max(now));
                }
                let repeated = doubt.exists() && matches!(failure.code(), Code::NotFound | Code::AlreadyExists);
                return self.settle(slot, Err(failure), kind, repeated);
            }
            Outcome::NotSent(Unsent { failure, retry_after }) => (failure, retry_after),
            Outcome::Ambiguous { failure, retry_after } => (failure, retry_after),
        };
        step.failed(kind);
        let Work::Call(call) = &step.work else { return };
        let undecided = step.undecided(now);
        let counted = step.attempts.saturating_sub(step.forgiven);
        let pause = call.retry().pause_after(counted, retry_after, self.shared.random.share());
        // An attempt that could only begin too late is not waited for.
        let pause = pause.filter(|pause| step.deadline().is_none_or(|at| now.after(*pause) < at));
        let in_doubt = step.doubt.exists();
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
        // Where the claim is lost, that was told once, for all runs.
        if self.shared.claim.is_held() {
            tracing::warn!(
                run = %self.row.id, step = %step.place, attempt, code = %failure.code(), undecided, method = %name,
                "attempt failed"
            );
            // What a service says may be about a person.
            tracing::debug!(run = %self.row.id, step = %step.place, attempt, error = failure.message(), "what failed");
        }
        let (sequence, place) = reference(step);
        self.record(Kind::AttemptFailed(stored::AttemptFailed {
            step: sequence,
            place,
            attempt,
            outcome: kind.into(),
            failure: Some(store_failure(&failure)),
            retry_at_micros: retry_at.map_or(0, Timestamp::as_micros),
            not_counted: false,
        }));
    }

    /// The step has waited for its next attempt for longer than all its attempts may take.
    fn out_of_time(&mut self, slot: SlotId) {
        let Some(step) = self.steps.get(&slot) else { return };
        let message = format!("the time for all attempts of the step is up, after {} of them", step.attempts);
        let known = if step.doubt.exists() { stored::Outcome::Ambiguous } else { stored::Outcome::NotSent };
        self.settle(slot, Err(Failure::new(Code::DeadlineExceeded, message)), known, false);
    }

    /// What an undo found nothing of may still come: it is made again when that is out of the question.
    fn look_again(&mut self, slot: SlotId, failure: &Failure, from: Timestamp) {
        let Some(step) = self.steps.get_mut(&slot) else { return };
        step.phase = Phase::Until(from);
        let attempt = step.attempts;
        let (sequence, place) = reference(step);
        self.timers.insert((from, slot));
        self.record(Kind::AttemptFailed(stored::AttemptFailed {
            step: sequence,
            place,
            attempt,
            outcome: stored::Outcome::Refused.into(),
            failure: Some(store_failure(failure)),
            retry_at_micros: from.as_micros(),
            not_counted: false,
        }));
    }
}
