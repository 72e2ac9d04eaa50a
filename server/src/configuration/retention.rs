//! How long runs that are over, and audit entries, are kept.

use std::collections::BTreeMap;
use std::time::Duration;

use engine::retention::Kept;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::duration;

const DAY: Duration = Duration::from_hours(24);

/// Until when, by the state in which a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    pub succeeded: Time,
    pub failed: Time,
    pub cancelled: Time,
    pub terminated: Time,
    /// What is kept of changes that operators made.
    pub audit: Time,
    /// Workflows that have their own, under names of one's choice.
    pub workflows: BTreeMap<String, WorkflowRetention>,
}

/// What differs for one workflow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkflowRetention {
    pub workflow: String,
    pub succeeded: Option<Time>,
    pub failed: Option<Time>,
    pub cancelled: Option<Time>,
    pub terminated: Option<Time>,
}

/// How long something is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    For(Duration),
    Forever,
}

const FOREVER: &str = "forever";

impl Time {
    /// None for ever, as the engine has it.
    const fn kept(self) -> Option<Duration> {
        match self {
            Self::For(time) => Some(time),
            Self::Forever => None,
        }
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::For(time) => duration::serialize(time, serializer),
            Self::Forever => serializer.serialize_str(FOREVER),
        }
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == FOREVER {
            return Ok(Self::Forever);
        }
        let or_forever = |error| de::Error::custom(format!("{error}, or `{FOREVER}`"));
        duration::parse(&text).map(Self::For).map_err(or_forever)
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            succeeded: Time::For(7 * DAY),
            failed: Time::For(30 * DAY),
            cancelled: Time::For(30 * DAY),
            terminated: Time::For(30 * DAY),
            audit: Time::For(90 * DAY),
            workflows: BTreeMap::new(),
        }
    }
}

impl From<&Retention> for engine::Retention {
    fn from(retention: &Retention) -> Self {
        let Retention { succeeded, failed, cancelled, terminated, audit, workflows } = retention;
        let own = |of: &WorkflowRetention| Kept {
            succeeded: of.succeeded.unwrap_or(*succeeded).kept(),
            failed: of.failed.unwrap_or(*failed).kept(),
            cancelled: of.cancelled.unwrap_or(*cancelled).kept(),
            terminated: of.terminated.unwrap_or(*terminated).kept(),
        };
        Self {
            runs: own(&WorkflowRetention::default()),
            workflows: workflows.values().map(|of| (of.workflow.clone(), own(of))).collect(),
            audit: audit.kept(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_workflow_does_not_say_is_as_for_all() {
        let digests = WorkflowRetention {
            workflow: String::from("digests.weekly"),
            succeeded: Some(Time::For(DAY)),
            failed: Some(Time::Forever),
            ..WorkflowRetention::default()
        };
        let workflows = BTreeMap::from([(String::from("weekly"), digests)]);
        let engine = engine::Retention::from(&Retention { workflows, ..Retention::default() });
        assert_eq!((engine.runs.succeeded, engine.runs.failed), (Some(7 * DAY), Some(30 * DAY)));
        let own = Kept { succeeded: Some(DAY), failed: None, ..engine.runs };
        assert_eq!(engine.workflows["digests.weekly"], own);
    }
}
