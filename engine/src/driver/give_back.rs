//! What becomes of open steps when their run stops here: a drain, a park, an end.

use futures_util::stream::FuturesUnordered;

use super::Driver;
use super::step::{Phase, Work, reference};
use crate::failure::{Code, Failure};
use crate::journal::{Kind, store_failure};
use crate::journal_v1 as stored;
use crate::step_id::SlotId;

impl Driver {
    /// An attempt whose start is durable is not sent after all: it is made again when the run continues, and does not count.
    pub(super) fn defer_attempt(&mut self, slot: SlotId) {
        let now = self.shared.clock.now();
        let Some(step) = self.steps.get_mut(&slot) else { return };
        step.phase = Phase::Until(now);
        step.failed(stored::Outcome::NotSent);
        let attempt = step.attempts;
        let (sequence, place) = reference(step);
        let failure = Failure::new(Code::Cancelled, "the run was given back before the call was sent");
        self.record(Kind::AttemptFailed(stored::AttemptFailed {
            step: sequence,
            place,
            attempt,
            outcome: stored::Outcome::NotSent.into(),
            failure: Some(store_failure(&failure)),
            retry_at_micros: now.as_micros(),
            not_counted: true,
        }));
        self.flush = true;
    }

    /// Waits for nothing any more: what was sent and not answered is in doubt when the run continues.
    pub(super) fn abandon_in_flight(&mut self) {
        self.in_flight = FuturesUnordered::new();
        let now = self.shared.clock.now();
        for step in self.steps.values_mut() {
            if matches!(step.phase, Phase::Sending) {
                step.doubt.cut_off();
                step.phase = Phase::Until(now);
            }
        }
    }

    /// Takes back everything of which no byte was sent: reads and reservations.
    pub(super) fn drop_unsent(&mut self) {
        let keep = self.draining();
        let mut dropped: Vec<SlotId> = Vec::new();
        for (slot, step) in &mut self.steps {
            let Work::Call(call) = &step.work else { continue };
            let unsent = match &step.phase {
                Phase::Reserving | Phase::Down(_) | Phase::Ready(_) => true,
                // A drain lets reads finish; cancel and park have no use for them.
                Phase::Sending => !call.level.has_effects() && !keep,
                Phase::Starting(..) | Phase::Until(_) | Phase::Message(_) | Phase::Undecided | Phase::Unborn => false,
            };
            if unsent {
                dropped.push(*slot);
            }
        }
        for slot in dropped {
            let Some(step) = self.steps.get_mut(&slot) else { continue };
            // The flight, if there is one, lands unseen.
            step.attempts = step.attempts.saturating_sub(1);
            let started = matches!(&step.work, Work::Call(call) if call.started.is_some());
            if keep || started {
                step.phase = Phase::Until(self.shared.clock.now());
            } else {
                self.steps.remove(&slot);
            }
        }
    }
}
