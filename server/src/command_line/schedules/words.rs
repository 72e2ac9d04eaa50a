//! How schedules are said on the command line, and how their parts are read.

use std::time::Duration;

use clap::ValueEnum;
use prost_types::Timestamp;

use crate::duration::format as format_duration;
use crate::proto::orchestrator::admin::v1::{
    CatchUp, DstGap, DstOverlap, OverlapPolicy, Schedule, SchedulePolicy, ScheduleSource, ScheduleSpec, TickOutcome,
    schedule_rule::Kind,
};

/// Reads a time as RFC 3339 has it.
pub(super) fn parse_time(text: &str) -> Result<Timestamp, String> {
    let time: jiff::Timestamp =
        text.parse().map_err(|error| format!("expected a time as 2026-12-24T18:00:00Z or with an offset: {error}"))?;
    Ok(Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() })
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Overlap {
    Skip,
    BufferOne,
    BufferAll,
    AllowAll,
    AllowN,
    CancelOther,
}

impl From<Overlap> for OverlapPolicy {
    fn from(overlap: Overlap) -> Self {
        match overlap {
            Overlap::Skip => Self::Skip,
            Overlap::BufferOne => Self::BufferOne,
            Overlap::BufferAll => Self::BufferAll,
            Overlap::AllowAll => Self::AllowAll,
            Overlap::AllowN => Self::AllowN,
            Overlap::CancelOther => Self::CancelOther,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Missed {
    All,
    Last,
    None,
}

impl From<Missed> for CatchUp {
    fn from(missed: Missed) -> Self {
        match missed {
            Missed::All => Self::All,
            Missed::Last => Self::Last,
            Missed::None => Self::None,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Skipped {
    Skip,
    Shift,
    EndOfGap,
}

impl From<Skipped> for DstGap {
    fn from(gap: Skipped) -> Self {
        match gap {
            Skipped::Skip => Self::Skip,
            Skipped::Shift => Self::Shift,
            Skipped::EndOfGap => Self::EndOfGap,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Twice {
    First,
    Last,
    Both,
}

impl From<Twice> for DstOverlap {
    fn from(twice: Twice) -> Self {
        match twice {
            Twice::First => Self::First,
            Twice::Last => Self::Last,
            Twice::Both => Self::Both,
        }
    }
}

/// The rules on one line.
pub(super) fn rules(spec: &ScheduleSpec) -> String {
    let rules = spec.rules.iter().filter_map(|rule| rule.kind.as_ref()).map(|kind| match kind {
        Kind::Interval(interval) => {
            let phase = span(interval.phase).map(|phase| format!(" from {phase} on")).unwrap_or_default();
            format!("every {}{phase}", span(interval.every).unwrap_or_default())
        }
        Kind::Cron(cron) => {
            let gap = short(cron.dst_gap().as_str_name(), "DST_GAP_");
            let overlap = short(cron.dst_overlap().as_str_name(), "DST_OVERLAP_");
            format!("{} (gap {gap}, overlap {overlap})", cron.pattern)
        }
        Kind::At(at) => super::super::table::time(Some(at)),
    });
    rules.collect::<Vec<_>>().join("; ")
}

pub(super) fn excluded(spec: &ScheduleSpec) -> String {
    [&spec.exclude_dates[..], &spec.exclude_crons[..]].concat().join("; ")
}

/// The policy on one line.
pub(super) fn policy(policy: &SchedulePolicy) -> String {
    let mut said = short(policy.overlap().as_str_name(), "OVERLAP_POLICY_").to_owned();
    if policy.overlap_limit > 0 {
        said += &format!(" of {}", policy.overlap_limit);
    }
    said += &format!(", catch-up {}", short(policy.catch_up().as_str_name(), "CATCH_UP_"));
    if policy.catch_up() != CatchUp::None {
        said += &format!(" within {}", span(policy.catch_up_window).unwrap_or_default());
    }
    if policy.catch_up() == CatchUp::All {
        said += &format!(", at most {}", policy.catch_up_limit);
    }
    if policy.run_limit > 0 {
        said += &format!(", {} runs in all", policy.run_limit);
    }
    if policy.pause_on_failure {
        said += ", pauses on failure";
    }
    said
}

pub(super) fn span(duration: Option<prost_types::Duration>) -> Option<String> {
    let duration: Duration = duration?.try_into().ok()?;
    (!duration.is_zero()).then(|| format_duration(duration))
}

/// What is to be seen of a schedule at a glance.
pub(super) fn state(schedule: &Schedule) -> String {
    if schedule.retire_time.is_some() {
        return "RETIRED".to_owned();
    }
    if schedule.pause.is_some() {
        return "PAUSED".to_owned();
    }
    if !schedule.problem.is_empty() {
        return "FAILS TO START".to_owned();
    }
    if schedule.next_times.is_empty() {
        return "OVER".to_owned();
    }
    match schedule.consecutive_skips {
        0 => "ACTIVE".to_owned(),
        skips => format!("SKIPPED {skips} TIMES"),
    }
}

pub(super) fn source(schedule: &Schedule) -> &'static str {
    match schedule.source() {
        ScheduleSource::Unspecified => "",
        ScheduleSource::Api => "api",
        ScheduleSource::Code => "code",
        ScheduleSource::Configuration => "configuration",
    }
}

pub(super) fn outcome(outcome: TickOutcome) -> &'static str {
    short(outcome.as_str_name(), "TICK_OUTCOME_")
}

/// A value of an enum without the name of its enum.
fn short(name: &'static str, prefix: &str) -> &'static str {
    name.strip_prefix(prefix).unwrap_or(name)
}
