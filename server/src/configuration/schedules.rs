//! Schedules as they are configured, and the schedules of the engine that they become.

use std::time::Duration;

use engine::schedule::{
    CatchUp as EngineCatchUp, CatchUpMode, DstGap as Gap, DstOverlap as Twice, Exclusions, Overlap as Meets, Policy,
    Rule, Spec, Timetable,
};
use serde::{Deserialize, Serialize};

use super::word;
use crate::duration;

/// Ticks that wait for the end of a run, where the configuration does not say how many.
const BUFFERED: u32 = 100;

/// When runs of a workflow are started, with the workflow's empty input. `every`, `cron` or both say when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    pub enabled: bool,
    pub workflow: String,
    /// Elapsed time, counted from the Unix epoch.
    #[serde(with = "duration")]
    pub every: Duration,
    /// A pattern of the Open Cron Pattern Specification 1.4.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cron: String,
    /// IANA name; UTC where it is empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub time_zone: String,
    #[serde(deserialize_with = "word::optional::deserialize", skip_serializing_if = "Option::is_none")]
    pub dst_gap: Option<DstGap>,
    #[serde(deserialize_with = "word::optional::deserialize", skip_serializing_if = "Option::is_none")]
    pub dst_overlap: Option<DstOverlap>,
    /// Days, as `2026-12-24`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude_dates: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude_cron: Vec<String>,
    #[serde(with = "duration", skip_serializing_if = "Duration::is_zero")]
    pub jitter: Duration,
    #[serde(deserialize_with = "word::optional::deserialize", skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Overlap>,
    /// For `allow_n` and `buffer_all`.
    #[serde(skip_serializing_if = "is_zero")]
    pub overlap_limit: u32,
    #[serde(deserialize_with = "word::optional::deserialize", skip_serializing_if = "Option::is_none")]
    pub catch_up: Option<CatchUp>,
    #[serde(with = "duration", skip_serializing_if = "Duration::is_zero")]
    pub catch_up_window: Duration,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pause_on_failure: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DstGap {
    Skip,
    Shift,
    EndOfGap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DstOverlap {
    First,
    Last,
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    Skip,
    BufferOne,
    BufferAll,
    AllowAll,
    AllowN,
    CancelOther,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    All,
    Last,
    None,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            enabled: true,
            workflow: String::new(),
            every: Duration::ZERO,
            cron: String::new(),
            time_zone: String::new(),
            dst_gap: None,
            dst_overlap: None,
            exclude_dates: Vec::new(),
            exclude_cron: Vec::new(),
            jitter: Duration::ZERO,
            overlap: None,
            overlap_limit: 0,
            catch_up: None,
            catch_up_window: Duration::ZERO,
            pause_on_failure: false,
        }
    }
}

impl Schedule {
    /// When it has its times; otherwise the key that is wrong, and what would be right.
    pub(crate) fn spec(&self) -> Result<Spec, (&'static str, String)> {
        let mut rules = Vec::new();
        if !self.every.is_zero() || self.cron.is_empty() {
            rules.push(Rule::Every { interval: self.every, phase: Duration::ZERO });
        }
        if !self.cron.is_empty() {
            let gap = self.dst_gap.map(|gap| match gap {
                DstGap::Skip => Gap::Skip,
                DstGap::Shift => Gap::Shift,
                DstGap::EndOfGap => Gap::EndOfGap,
            });
            let overlap = self.dst_overlap.map(|overlap| match overlap {
                DstOverlap::First => Twice::First,
                DstOverlap::Last => Twice::Last,
                DstOverlap::Both => Twice::Both,
            });
            rules.push(Rule::Cron { pattern: self.cron.clone(), gap, overlap });
        }
        let dates = self.exclude_dates.iter().map(|date| date.parse()).collect::<Result<_, _>>();
        let dates = dates.map_err(|_| ("exclude_dates", "expected days, as 2026-12-24".to_owned()))?;
        let spec = Spec {
            rules,
            exclude: Exclusions { dates, patterns: self.exclude_cron.clone() },
            start: None,
            end: None,
            zone: self.time_zone.clone(),
            jitter: self.jitter,
        };
        let key = if self.cron.is_empty() { "every" } else { "cron" };
        Timetable::new(spec.clone()).map(|_| spec).map_err(|error| (key, error.to_string()))
    }

    pub(crate) fn policy(&self) -> Policy {
        let default = Policy::default();
        let overlap = self.overlap.map(|overlap| match overlap {
            Overlap::Skip => Meets::Skip,
            Overlap::BufferOne => Meets::BufferOne,
            Overlap::BufferAll if self.overlap_limit == 0 => Meets::BufferAll(BUFFERED),
            Overlap::BufferAll => Meets::BufferAll(self.overlap_limit),
            Overlap::AllowAll => Meets::AllowAll,
            Overlap::AllowN => Meets::AllowN(self.overlap_limit),
            Overlap::CancelOther => Meets::CancelOther,
        });
        let mode = self.catch_up.map(|catch_up| match catch_up {
            CatchUp::All => CatchUpMode::All,
            CatchUp::Last => CatchUpMode::Last,
            CatchUp::None => CatchUpMode::None,
        });
        let window = if self.catch_up_window.is_zero() { default.catch_up.window } else { self.catch_up_window };
        Policy {
            overlap: overlap.unwrap_or(default.overlap),
            catch_up: EngineCatchUp { mode: mode.unwrap_or(default.catch_up.mode), window, ..default.catch_up },
            pause_on_failure: self.pause_on_failure,
            ..default
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_schedule_says_is_what_the_engine_is_told() {
        let schedule: Schedule = toml(
            r#"
            workflow = "a.b"
            cron = "0 9 * * MON-FRI"
            time_zone = "Europe/Berlin"
            dst_gap = "shift"
            exclude_dates = ["2026-12-24"]
            overlap = "allow_n"
            overlap_limit = 3
            catch_up = "all"
            catch_up_window = "2h"
            "#,
        );
        let spec = schedule.spec().unwrap();
        assert_eq!(
            spec.rules,
            [Rule::Cron { pattern: "0 9 * * MON-FRI".to_owned(), gap: Some(Gap::Shift), overlap: None }]
        );
        let policy = schedule.policy();
        assert_eq!((policy.overlap, policy.catch_up.mode), (Meets::AllowN(3), CatchUpMode::All));
        assert_eq!(policy.catch_up.window, Duration::from_secs(7_200));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_key() {
        let wrong: Schedule = toml("workflow = 'a.b'\ncron = '61 * * * *'");
        let (key, problem) = wrong.spec().unwrap_err();
        assert_eq!(
            (key, problem.as_str()),
            ("cron", "rules[0].cron: minute, column 1: \"61\" is not allowed; 0 to 59 are")
        );
        let wrong: Schedule = toml("workflow = 'a.b'\nevery = '1h'\nexclude_dates = ['Christmas']");
        assert_eq!(wrong.spec().unwrap_err().0, "exclude_dates");
    }

    fn toml(text: &str) -> Schedule {
        let file = config::File::from_str(text, config::FileFormat::Toml);
        config::Config::builder().add_source(file).build().unwrap().try_deserialize().unwrap()
    }
}
