//! The end of a step: a fact, and a result for code.

use bytes::Bytes;

use super::Driver;
use super::call_step::Phase;
use super::step::{ChildStep, StepKind};
use crate::failure::{Code, Failure};
use crate::journal::{Kind, store_failure};
use crate::journal_v1 as stored;
use crate::limits::Limit;
use crate::step_id::SlotId;

impl Driver {
    pub(super) fn on_response(&mut self, slot: SlotId, response: Bytes) {
        let limit = self.shared.limits.payload_bytes;
        let result = if response.len() > limit {
            let message = format!("the response has {} bytes, the limit payload_bytes is {limit}", response.len());
            Err(Failure::new(Code::ResourceExhausted, message))
        } else {
            if let Some(step) = self.steps.get(slot) {
                self.scope.counts(Limit::PayloadBytes, response.len() as u64, limit as u64, &step.place);
            }
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
        let Some(mut step) = self.steps.remove(slot) else { return };
        let (sequence, place) = step.reference();
        if let (Err(_), Some(call)) = (&result, step.call_mut()) {
            call.failed(outcome);
        }
        let make = result.as_ref().ok().and_then(|response| Some((step.takes_undo()?, response.clone())));
        let (undo, panic) = match make.map(|(make, response)| self.made(make, response)) {
            None => (None, None),
            Some(Ok(undo)) => (undo, None),
            Some(Err(panicked)) => (None, Some(panicked)),
        };
        if panic.is_some() {
            // The response is kept; code continues with it once its undo can be made.
            self.mode.drop_code();
        }
        let (attempts, durable) = step.call().map_or((0, false), |call| (call.attempts, call.options.durable));
        let request_hash = match &step.kind {
            StepKind::Call(call) if call.started.is_none() => Bytes::copy_from_slice(&call.hash),
            // A child that was not started is known by its input.
            StepKind::Child(ChildStep::Requested(intent)) => Bytes::copy_from_slice(&intent.hash),
            StepKind::Call(_) | StepKind::Child(_) | StepKind::Sleep { .. } | StepKind::Signal { .. } => Bytes::new(),
        };
        let result = result.map_err(|failure| failure.at(step.place.step_ref()).repeated_if(repeated));
        let stored_result = match &result {
            Ok(response) => stored::step_settled::Result::Response(response.clone()),
            Err(failure) => {
                tracing::warn!(
                    run = %self.row.id, step = %step.place, attempt = attempts, code = %failure.code(), "step failed"
                );
                // What a service says may be about a person.
                tracing::debug!(run = %self.row.id, step = %step.place, error = failure.message(), "what failed");
                stored::step_settled::Result::Failure(store_failure(failure))
            }
        };
        let settled = stored::StepSettled {
            step: sequence,
            place,
            attempts,
            result: Some(stored_result),
            repeated,
            outcome: outcome.into(),
            request_hash,
            begun_micros: if sequence == 0 { step.begun_at.as_micros() } else { 0 },
            message: 0,
            undo,
            undone: step.is_undo()
                && outcome == stored::Outcome::Refused
                && result.as_ref().is_err_and(|failure| failure.code() == Code::NotFound),
            undelivered: !self.mode.has_code(),
        };
        if let Some(call) = step.call() {
            self.settled_for_undo(call, &settled);
        }
        self.record(Kind::StepSettled(settled));
        if let Some(panicked) = panic {
            return self.panicked(panicked);
        }
        if durable {
            self.writes.request();
        }
        if self.mode.has_code() {
            self.scope.deliver(slot, result);
        }
        self.conclude();
    }

    /// A timer of this step is due.
    pub(super) fn wake(&mut self, slot: SlotId) {
        let Some(step) = self.steps.get(slot) else { return };
        match &step.kind {
            StepKind::Sleep { .. } => self.settle(slot, Ok(Bytes::new()), stored::Outcome::Unspecified, false),
            StepKind::Signal { until, .. } => {
                if let Some(until) = *until {
                    self.overdue(slot, until);
                }
            }
            // A run that stops begins nothing; it is given back, and continues elsewhere or later.
            StepKind::Call(call) => {
                let backs_off = matches!(call.phase(), Phase::BackingOff(_));
                if backs_off && !self.draining() && !self.mode.is_stopped() {
                    self.attempt(slot);
                }
            }
            // It may be given back now.
            StepKind::Child(_) => {}
        }
    }
}
