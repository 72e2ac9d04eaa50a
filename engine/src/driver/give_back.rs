//! What becomes of open steps when their run stops here: a drain, a park, an end.

use super::Driver;
use super::call_step::Phase;
use crate::failure::{Code, Failure};
use crate::journal::{Kind, store_failure};
use crate::journal_v1 as stored;
use crate::step_id::SlotId;

impl Driver {
    /// An attempt whose start is durable is not sent after all: it is made again when the run continues, and does not count.
    pub(super) fn defer_attempt(&mut self, slot: SlotId) {
        let now = self.shared.clock.now();
        let Some(step) = self.steps.get_mut(slot) else { return };
        let (sequence, place) = step.reference();
        let Some(call) = step.call_mut() else { return };
        call.enter(Phase::BackingOff(now));
        call.failed(stored::Outcome::NotSent);
        let attempt = call.attempts;
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
        self.writes.request();
    }

    /// Waits for nothing any more: what was sent and not answered is in doubt when the run continues.
    pub(super) fn abandon_in_flight(&mut self) {
        self.steps.abandon_in_flight();
        let now = self.shared.clock.now();
        for call in self.steps.values_mut().filter_map(|step| step.call_mut()) {
            if matches!(call.phase(), Phase::Sending) {
                call.doubt.cut_off();
                call.enter(Phase::BackingOff(now));
            }
        }
    }

    /// Takes back everything of which no byte was sent: reads and reservations.
    pub(super) fn drop_unsent(&mut self) {
        let (keep, now) = (self.draining(), self.shared.clock.now());
        let unsent = self.steps.slots(|step| match step.phase() {
            Some(Phase::Reserving | Phase::Down(_) | Phase::Ready(_)) => true,
            // A drain lets reads finish; cancel and stop have no use for them.
            Some(Phase::Sending) => !keep && step.call().is_some_and(|call| !call.level.has_effects()),
            Some(Phase::Starting(..) | Phase::BackingOff(_) | Phase::Undecided) | None => false,
        });
        for slot in unsent {
            let Some(call) = self.steps.call_mut(slot) else { continue };
            // The end of what is in flight, if anything is, is ignored.
            call.attempts = call.attempts.saturating_sub(1);
            if keep || call.started.is_some() {
                call.enter(Phase::BackingOff(now));
            } else {
                self.steps.remove(slot);
            }
        }
    }
}
