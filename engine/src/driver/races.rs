//! What becomes of steps that lost a race: waits are over, calls that were not sent are not made, effects settle.

use super::Driver;
use super::step::{LiveStep, Work};
use crate::step_id::SlotId;

impl Driver {
    /// Code waits for these no more. Gives the numbers of the waits that are over.
    pub(super) fn abandon(&mut self, losers: &[SlotId]) -> Vec<u64> {
        let mut withdrawn = Vec::new();
        for slot in losers {
            let Some(step) = self.steps.get_mut(slot) else { continue };
            step.let_go = true;
            if let Work::Sleep { sequence } | Work::Signal { sequence } = step.work {
                withdrawn.push(sequence);
            }
            if !goes_on(step) {
                self.steps.remove(slot);
                self.timers.retain(|(_, waiting)| waiting != slot);
            }
        }
        withdrawn
    }

    /// The start of an effect was refused, and code waits for it no more: it is not made.
    pub(super) fn drop_let_go(&mut self) {
        self.steps.retain(|_, step| !step.let_go || goes_on(step));
    }
}

/// Whether the step continues although code does not wait for it: an effect that was sent, or is about to be.
fn goes_on(step: &LiveStep) -> bool {
    match &step.work {
        Work::Call(call) => call.started.is_some(),
        Work::Child(child) => child.started.is_some(),
        Work::Sleep { .. } | Work::Signal { .. } => false,
    }
}
