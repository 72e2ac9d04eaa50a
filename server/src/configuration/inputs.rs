//! Schedules of the configuration whose runs cannot start, because an empty input breaks the rules of its contract.

use engine::rules::Rules;
use engine::time::Timestamp;
use engine::workflow::Registry;

use super::Configuration;
use crate::installed;

/// One warning for each. They are no mistakes: the schedule of the same name may belong to a release with other rules.
pub(crate) fn broken_inputs(configuration: &Configuration, workflows: &Registry) -> Vec<String> {
    let Some(rules) = installed::rules() else { return Vec::new() };
    let now = Timestamp::from_micros(jiff::Timestamp::now().as_microsecond());
    let enabled = configuration.schedules.0.iter().filter(|(_, schedule)| schedule.enabled);
    enabled
        .filter_map(|(name, schedule)| {
            let input = &workflows.get(&schedule.workflow)?.input_type;
            // Runs of a configured schedule have an empty input.
            let first = rules.check_message(input, &[], now).into_iter().next()?;
            Some(format!("schedules.{name} starts no runs: an empty {input} breaks its rules ({first})"))
        })
        .collect()
}
