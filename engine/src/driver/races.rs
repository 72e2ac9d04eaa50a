//! What becomes of steps that lost a race: waits are over, calls that were not sent are not made, effects settle.

use super::Driver;
use super::step::StepKind;
use crate::step_id::SlotId;

impl Driver {
    /// Code waits for these no more. Gives the numbers of the waits that are over.
    pub(super) fn abandon(&mut self, losers: &[SlotId]) -> Vec<u64> {
        let mut withdrawn = Vec::new();
        for slot in losers {
            let Some(step) = self.steps.get_mut(*slot) else { continue };
            step.abandoned = true;
            if let StepKind::Sleep { sequence, .. } | StepKind::Signal { sequence, .. } = step.kind {
                withdrawn.push(sequence);
            }
            if !step.outlives_race() {
                self.steps.remove(*slot);
            }
        }
        withdrawn
    }

    /// The start of an effect was refused, and code waits for it no more: it is not made.
    pub(super) fn drop_abandoned(&mut self) {
        self.steps.retain(|step| !step.abandoned || step.outlives_race());
    }
}
