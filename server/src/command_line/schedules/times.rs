//! The flags that say when a schedule has its times.

use std::time::Duration;

use clap::Args;
use prost_types::Timestamp;

use super::words;
use crate::duration::parse as parse_duration;
use crate::proto::orchestrator::admin::v1::schedule_rule::Kind;
use crate::proto::orchestrator::admin::v1::{CronRule, DstGap, DstOverlap, IntervalRule, ScheduleRule, ScheduleSpec};

/// When a schedule has its times.
#[derive(Debug, Args)]
pub(super) struct Times {
    /// Every so much elapsed time; may be repeated. 24h are not a day where clocks change.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    every: Vec<Duration>,
    /// Counted from this after the Unix epoch; for every interval.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    phase: Option<Duration>,
    /// A cron pattern, for example '0 9 * * MON-FRI'; may be repeated.
    #[arg(long, value_name = "PATTERN")]
    cron: Vec<String>,
    /// One time; may be repeated.
    #[arg(long, value_name = "TIME", value_parser = words::parse_time)]
    at: Vec<Timestamp>,
    /// IANA name of the zone of cron patterns and dates; UTC if left out.
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// What happens to local times that clocks skip; if left out, the kind of pattern decides.
    #[arg(long, value_enum, ignore_case = true)]
    dst_gap: Option<words::Skipped>,
    /// What happens to local times that clocks show twice; if left out, the kind of pattern decides.
    #[arg(long, value_enum, ignore_case = true)]
    dst_overlap: Option<words::Twice>,
    /// A day without times, as 2026-12-24; may be repeated.
    #[arg(long, value_name = "DATE")]
    exclude_date: Vec<String>,
    /// A cron pattern of times that are left out; may be repeated.
    #[arg(long, value_name = "PATTERN")]
    exclude_cron: Vec<String>,
    /// No time is before this.
    #[arg(long, value_name = "TIME", value_parser = words::parse_time)]
    start: Option<Timestamp>,
    /// No time is at or after this.
    #[arg(long, value_name = "TIME", value_parser = words::parse_time)]
    end: Option<Timestamp>,
    /// A start waits up to this long after its time.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    jitter: Option<Duration>,
}

impl Times {
    pub(super) fn spec(&self) -> ScheduleSpec {
        let every = self.every.iter().map(|every| {
            Kind::Interval(IntervalRule {
                every: (*every).try_into().ok(),
                phase: self.phase.and_then(|phase| phase.try_into().ok()),
            })
        });
        let cron = self.cron.iter().map(|pattern| {
            Kind::Cron(CronRule {
                pattern: pattern.clone(),
                dst_gap: self.dst_gap.map_or(DstGap::Unspecified, DstGap::from).into(),
                dst_overlap: self.dst_overlap.map_or(DstOverlap::Unspecified, DstOverlap::from).into(),
            })
        });
        let at = self.at.iter().copied().map(Kind::At);
        ScheduleSpec {
            rules: every.chain(cron).chain(at).map(|kind| ScheduleRule { kind: Some(kind) }).collect(),
            exclude_dates: self.exclude_date.clone(),
            exclude_crons: self.exclude_cron.clone(),
            start_time: self.start,
            end_time: self.end,
            time_zone: self.time_zone.clone().unwrap_or_default(),
            jitter: self.jitter.and_then(|jitter| jitter.try_into().ok()),
        }
    }

    /// The fields that the flags name.
    pub(super) fn mask(&self) -> impl Iterator<Item = &'static str> {
        let rules = !(self.every.is_empty() && self.cron.is_empty() && self.at.is_empty());
        let said = [
            ("spec.rules", rules),
            ("spec.exclude_dates", !self.exclude_date.is_empty()),
            ("spec.exclude_crons", !self.exclude_cron.is_empty()),
            ("spec.start_time", self.start.is_some()),
            ("spec.end_time", self.end.is_some()),
            ("spec.time_zone", self.time_zone.is_some()),
            ("spec.jitter", self.jitter.is_some()),
        ];
        said.into_iter().filter_map(|(path, said)| said.then_some(path))
    }
}
