//! Makes the run that a tick starts.

use crate::engine::Engine;
use crate::identity;
use crate::rules;
use crate::run::{new_run, pending};
use crate::schedule::Overlap;
use crate::store::{Origin, ScheduleRow, TickOrigin, TickStart};
use crate::time::Timestamp;

impl Engine {
    /// The start of one tick; otherwise why its run cannot be made.
    pub(super) fn make_start(
        &self,
        row: &ScheduleRow,
        nominal: Timestamp,
        origin: TickOrigin,
        overlap: Overlap,
        late: String,
    ) -> Result<TickStart, String> {
        let schedule = &row.schedule;
        let Some(workflow) = self.shared.workflows.get(&schedule.workflow) else {
            return Err(format!("workflow {} is not known to this release", schedule.workflow));
        };
        if let Err(error) = workflow.check_input(schedule.input.clone()) {
            return Err(format!("its input is not a {}: {error}", workflow.input_type));
        }
        let now = self.shared.clock.now();
        let violations = self.shared.workflows.rules().check_message(&workflow.input_type, &schedule.input, now);
        if !violations.is_empty() {
            return Err(format!("its input breaks the rules of its contract: {}", rules::listed(&violations)));
        }
        let id = identity::tick_run(row.uid, nominal, origin.id());
        let deadline = now.after(schedule.policy.deadline.unwrap_or(workflow.deadline));
        let by = Origin { schedule: schedule.name.clone(), nominal, by: Some(origin) };
        let mut run = new_run(workflow, id, now, deadline, Some(by));
        run.previous_success = row.facts.last_success_nominal;
        pending(&mut run, workflow, schedule.input.clone());
        Ok(TickStart { nominal, overlap, run, buffered: None, late })
    }
}
