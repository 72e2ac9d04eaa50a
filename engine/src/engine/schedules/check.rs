//! Checks a schedule when it is saved, so that nothing of it fails at three in the morning.

use crate::engine::{Engine, EngineError};
use crate::schedule::{MAX_NAME_BYTES, Timetable};
use crate::store::Schedule;

impl Engine {
    /// Refuses an input that breaks a rule of its contract. Not asked of a schedule that is declared: its ticks say why they
    /// start no runs, and the other schedules go their way (E8).
    pub(super) fn check_rules(&self, schedule: &Schedule) -> Result<(), EngineError> {
        let Some(workflow) = self.shared.workflows.get(&schedule.workflow) else { return Ok(()) };
        let (rules, now) = (self.shared.workflows.rules(), self.shared.clock.now());
        let violations = rules.check_message(&workflow.input_type, &schedule.input, now);
        if violations.is_empty() {
            return Ok(());
        }
        Err(EngineError::RulesBroken { part: "schedule.input", violations })
    }

    /// The schedule with every policy said.
    pub(super) fn checked(&self, mut schedule: Schedule) -> Result<Schedule, EngineError> {
        let invalid = |field: &'static str, problem: String| EngineError::InvalidSchedule {
            name: schedule.name.chars().take(MAX_NAME_BYTES).collect(),
            field,
            problem,
        };
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte);
        if schedule.name.is_empty() || schedule.name.len() > MAX_NAME_BYTES || !schedule.name.bytes().all(allowed) {
            let problem =
                format!("{:?} is not allowed; 1 to {MAX_NAME_BYTES} of a-z, 0-9, _, - and . are", clip(&schedule.name));
            return Err(invalid("name", problem));
        }
        let Some(workflow) = self.shared.workflows.get(&schedule.workflow) else {
            return Err(EngineError::UnknownWorkflow(schedule.workflow));
        };
        let max = self.shared.limits.payload_bytes;
        if schedule.input.len() > max {
            let value = schedule.input.len() as u64;
            return Err(EngineError::LimitExceeded { limit: "payload_bytes", value, max: max as u64 });
        }
        if let Err(error) = workflow.check_input(schedule.input.clone()) {
            return Err(invalid("input", format!("it is not a {}: {error}", workflow.input_type)));
        }
        if let Err((field, problem)) = schedule.policy.check() {
            return Err(invalid(field, problem));
        }
        match Timetable::new(schedule.spec.clone()) {
            Ok(timetable) => schedule.spec = timetable.spec().clone(),
            Err(error) => return Err(invalid("spec", error.to_string())),
        }
        Ok(schedule)
    }
}

fn clip(text: &str) -> String {
    text.chars().take(MAX_NAME_BYTES + 1).collect()
}
