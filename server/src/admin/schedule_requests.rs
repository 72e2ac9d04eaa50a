//! Reads the schedules that callers send: every field of a spec and a policy, all violations together.

use std::time::Duration;

use bytes::Bytes;
use engine::schedule::{CatchUp, CatchUpMode, DstGap, DstOverlap, Exclusions, Overlap, Policy, Rule, Spec};

use super::requests::{self, Violations};
use crate::proto::orchestrator::admin::v1;

/// Ticks that wait for the end of a run, where a policy does not say how many.
const DEFAULT_BUFFER: u32 = 100;
/// There are no more of anything in a spec; the engine says it where there are too many rules.
const MOST: usize = 10_001;

impl Violations {
    /// The name of a schedule, which must be there.
    pub(super) fn schedule_name(&mut self, text: &str) {
        self.name("schedule", text);
        if text.is_empty() {
            self.note("schedule", "expected the name of a schedule");
        }
    }

    pub(super) fn spec(&mut self, field: &str, spec: v1::ScheduleSpec) -> Spec {
        let v1::ScheduleSpec { rules, exclude_dates, exclude_crons, start_time, end_time, time_zone, jitter } = spec;
        let rules = rules.into_iter().take(MOST).enumerate();
        let rules = rules.filter_map(|(index, rule)| self.rule(&format!("{field}.rules[{index}]"), rule)).collect();
        let mut dates = Vec::new();
        for (index, date) in exclude_dates.iter().take(MOST).enumerate() {
            match date.parse() {
                Ok(date) => dates.push(date),
                Err(_) => {
                    self.note(&format!("{field}.exclude_dates[{index}]"), "expected a day, as 2026-12-24");
                    break;
                }
            }
        }
        Spec {
            rules,
            exclude: Exclusions { dates, patterns: exclude_crons },
            start: self.time(&format!("{field}.start_time"), start_time),
            end: self.time(&format!("{field}.end_time"), end_time),
            zone: time_zone,
            jitter: self.span(&format!("{field}.jitter"), jitter).unwrap_or_default(),
        }
    }

    fn rule(&mut self, field: &str, rule: v1::ScheduleRule) -> Option<Rule> {
        match rule.kind {
            Some(v1::schedule_rule::Kind::Interval(interval)) => Some(Rule::Every {
                interval: self.span(&format!("{field}.interval.every"), interval.every).unwrap_or_default(),
                phase: self.span(&format!("{field}.interval.phase"), interval.phase).unwrap_or_default(),
            }),
            Some(v1::schedule_rule::Kind::Cron(cron)) => {
                let gap = match cron.dst_gap() {
                    v1::DstGap::Unspecified => None,
                    v1::DstGap::Skip => Some(DstGap::Skip),
                    v1::DstGap::Shift => Some(DstGap::Shift),
                    v1::DstGap::EndOfGap => Some(DstGap::EndOfGap),
                };
                let overlap = match cron.dst_overlap() {
                    v1::DstOverlap::Unspecified => None,
                    v1::DstOverlap::First => Some(DstOverlap::First),
                    v1::DstOverlap::Last => Some(DstOverlap::Last),
                    v1::DstOverlap::Both => Some(DstOverlap::Both),
                };
                Some(Rule::Cron { pattern: cron.pattern, gap, overlap })
            }
            Some(v1::schedule_rule::Kind::At(at)) => self.time(&format!("{field}.at"), Some(at)).map(Rule::At),
            None => {
                self.note(field, "expected an interval, a cron pattern or a time");
                None
            }
        }
    }

    pub(super) fn policy(&mut self, policy: &v1::SchedulePolicy) -> Policy {
        let default = Policy::default();
        let mode = match policy.catch_up() {
            v1::CatchUp::Unspecified => default.catch_up.mode,
            v1::CatchUp::All => CatchUpMode::All,
            v1::CatchUp::Last => CatchUpMode::Last,
            v1::CatchUp::None => CatchUpMode::None,
        };
        let window = self.span("schedule.policy.catch_up_window", policy.catch_up_window);
        let limit = self.count("schedule.policy.catch_up_limit", policy.catch_up_limit);
        let run_limit = u64::try_from(policy.run_limit).unwrap_or_else(|_| {
            self.note("schedule.policy.run_limit", "expected no negative number");
            0
        });
        Policy {
            overlap: self
                .overlap("schedule.policy.overlap_limit", policy.overlap(), policy.overlap_limit)
                .unwrap_or(default.overlap),
            catch_up: CatchUp {
                mode,
                window: window.unwrap_or(default.catch_up.window),
                limit: if limit == 0 { default.catch_up.limit } else { limit },
            },
            run_limit: (run_limit > 0).then_some(run_limit),
            pause_on_failure: policy.pause_on_failure,
            deadline: self.span("schedule.policy.deadline", policy.deadline),
        }
    }

    /// An overlap policy; none where none is said. The field is that of the limit.
    pub(super) fn overlap(&mut self, field: &str, overlap: v1::OverlapPolicy, limit: i32) -> Option<Overlap> {
        let limit = self.count(field, limit);
        match overlap {
            v1::OverlapPolicy::Unspecified => None,
            v1::OverlapPolicy::Skip => Some(Overlap::Skip),
            v1::OverlapPolicy::BufferOne => Some(Overlap::BufferOne),
            v1::OverlapPolicy::BufferAll => Some(Overlap::BufferAll(if limit == 0 { DEFAULT_BUFFER } else { limit })),
            v1::OverlapPolicy::AllowAll => Some(Overlap::AllowAll),
            v1::OverlapPolicy::AllowN => {
                if limit == 0 {
                    self.note(field, "expected how many runs may continue at the same time");
                }
                Some(Overlap::AllowN(limit))
            }
            v1::OverlapPolicy::CancelOther => Some(Overlap::CancelOther),
        }
    }

    pub(super) fn count(&mut self, field: &str, count: i32) -> u32 {
        u32::try_from(count).unwrap_or_else(|_| {
            self.note(field, "expected no negative number");
            0
        })
    }

    fn span(&mut self, field: &str, span: Option<prost_types::Duration>) -> Option<Duration> {
        let read = Duration::try_from(span?).ok();
        if read.is_none() {
            self.note(field, "expected no negative duration");
        }
        read
    }

    /// The input of a schedule's runs.
    pub(super) fn input(&mut self, form: Option<v1::schedule::InputForm>, input_type: &str) -> Bytes {
        match form {
            None => Bytes::new(),
            Some(v1::schedule::InputForm::Input(any)) => requests::packed("schedule.input", any, input_type, self),
            Some(v1::schedule::InputForm::InputJson(json)) => {
                requests::from_json("schedule.input", &json, input_type, self)
            }
        }
    }
}

/// The parts of a schedule that an update changes.
#[derive(Debug)]
pub(super) struct Mask(Vec<String>);

/// Fields of a spec and of a policy that can be changed alone.
const PARTS: [&str; 19] = [
    "workflow",
    "input",
    "spec",
    "policy",
    "spec.rules",
    "spec.exclude_dates",
    "spec.exclude_crons",
    "spec.start_time",
    "spec.end_time",
    "spec.time_zone",
    "spec.jitter",
    "policy.overlap",
    "policy.overlap_limit",
    "policy.catch_up",
    "policy.catch_up_window",
    "policy.catch_up_limit",
    "policy.run_limit",
    "policy.pause_on_failure",
    "policy.deadline",
];

impl Mask {
    pub(super) fn read(mask: Option<prost_types::FieldMask>, violations: &mut Violations) -> Self {
        let paths = mask.map(|mask| mask.paths).unwrap_or_default();
        for path in paths.iter().take(MOST) {
            if path != "*" && !PARTS.contains(&path.as_str()) {
                violations
                    .note("update_mask", format!("{} is not one of {}", crate::text::echo(path), PARTS.join(", ")));
                break;
            }
        }
        let all = paths.is_empty() || paths.iter().any(|path| path == "*");
        Self(if all { PARTS.map(str::to_owned).to_vec() } else { paths })
    }

    pub(super) fn has(&self, part: &str) -> bool {
        let whole = part.split('.').next().unwrap_or(part);
        self.0.iter().any(|path| path == part || path == whole)
    }

    /// Takes from the stored schedule what the mask does not name.
    pub(super) fn apply(&self, given: v1::Schedule, stored: v1::Schedule) -> v1::Schedule {
        let (new, old) = (given.spec.unwrap_or_default(), stored.spec.unwrap_or_default());
        macro_rules! parts {
            ($message:ident, $prefix:literal, $new:ident, $old:ident, $($field:ident),+) => {
                v1::$message {
                    $($field: if self.has(concat!($prefix, ".", stringify!($field))) { $new.$field } else { $old.$field },)+
                }
            };
        }
        let spec = parts!(
            ScheduleSpec,
            "spec",
            new,
            old,
            rules,
            exclude_dates,
            exclude_crons,
            start_time,
            end_time,
            time_zone,
            jitter
        );
        let (new, old) = (given.policy.unwrap_or_default(), stored.policy.unwrap_or_default());
        let policy = parts!(
            SchedulePolicy,
            "policy",
            new,
            old,
            overlap,
            overlap_limit,
            catch_up,
            catch_up_window,
            catch_up_limit,
            run_limit,
            pause_on_failure,
            deadline
        );
        v1::Schedule {
            schedule: given.schedule,
            workflow: if self.has("workflow") { given.workflow } else { stored.workflow },
            input_form: if self.has("input") { given.input_form } else { stored.input_form },
            spec: Some(spec),
            policy: Some(policy),
            etag: given.etag,
            ..v1::Schedule::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_changes_what_its_mask_names_and_nothing_else() {
        let schedule = |workflow: &str, zone: &str, limit| v1::Schedule {
            workflow: workflow.to_owned(),
            spec: Some(v1::ScheduleSpec { time_zone: zone.to_owned(), ..Default::default() }),
            policy: Some(v1::SchedulePolicy {
                run_limit: limit,
                catch_up_limit: i32::try_from(limit).unwrap(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let update = |paths: &[&str]| {
            let mut violations = Violations::default();
            let paths = paths.iter().map(|path| (*path).to_owned()).collect();
            let mask = Mask::read(Some(prost_types::FieldMask { paths }), &mut violations);
            violations.or(()).map(|()| mask.apply(schedule("new", "Europe/Berlin", 2), schedule("old", "UTC", 1)))
        };
        let zone = |schedule: &v1::Schedule| schedule.spec.clone().unwrap().time_zone;
        let limits = |schedule: &v1::Schedule| {
            let policy = schedule.policy.unwrap();
            (policy.run_limit, policy.catch_up_limit)
        };
        let one = update(&["policy.run_limit"]).unwrap();
        assert_eq!((one.workflow.as_str(), zone(&one).as_str(), limits(&one)), ("old", "UTC", (2, 1)));
        let whole = update(&["spec"]).unwrap();
        assert_eq!((whole.workflow.as_str(), zone(&whole).as_str(), limits(&whole)), ("old", "Europe/Berlin", (1, 1)));
        let all = update(&[]).unwrap();
        assert_eq!((all.workflow.as_str(), zone(&all).as_str(), limits(&all)), ("new", "Europe/Berlin", (2, 2)));
        assert!(update(&["spec.nothing"]).unwrap_err().message().contains("spec.nothing"));
    }
}
