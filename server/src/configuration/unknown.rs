//! Workflows that the configuration names and this program does not have.

use engine::workflow::Registry;

use super::Configuration;
use crate::text::echo;

/// One warning for each. They are no mistakes: a release of another version may have the workflow, and retention holds
/// for runs of one that is gone.
pub(crate) fn unknown_workflows(configuration: &Configuration, workflows: &Registry) -> Vec<String> {
    let enabled = configuration.schedules.0.iter().filter(|(_, schedule)| schedule.enabled);
    let schedules = enabled.map(|(name, schedule)| ("schedules", name, &schedule.workflow, "and starts no runs"));
    let kept = configuration.retention.workflows.iter();
    let kept = kept.map(|(name, own)| ("retention.workflows", name, &own.workflow, "and keeps runs that it has left"));
    schedules
        .chain(kept)
        .filter(|(.., workflow, _)| workflows.get(workflow).is_none())
        .map(|(section, name, workflow, consequence)| {
            format!(
                "{section}.{name}.workflow names {}, which this program does not have, {consequence}",
                echo(workflow)
            )
        })
        .collect()
}
