//! Finds out that code waits for something that is no step: nothing that it could wait for is open, or somebody else than
//! the run woke it. Not detected: such a wait beside open steps that ends without waking the run.

use super::Driver;
use crate::safeguards::ForeignWaits;
use crate::scope::Fault;

impl Driver {
    /// Where code waits although no step is open, it waits for something else.
    pub(super) fn look_for_foreign_wait(&mut self) {
        if self.mode.has_code() && self.steps.is_empty() && self.steps.held().next().is_none() {
            self.foreign_wait();
        }
    }

    /// Code waits, or waited, for what is no step.
    pub(super) fn foreign_wait(&mut self) {
        let Some(code) = self.mode.code_mut() else { return };
        let told = code.tell_foreign();
        let after = self.scope.last_built().unwrap_or_else(|| "its begin".to_owned());
        match self.shared.safeguards.foreign_waits {
            ForeignWaits::Refused => self.fault(Fault::ForeignWait { after }),
            ForeignWaits::Warned if told => {}
            ForeignWaits::Warned => tracing::warn!(
                run = %self.row.id, workflow = self.workflow.name, after,
                "workflow waits for what is no step, a crash meanwhile can block its run"
            ),
        }
    }
}
