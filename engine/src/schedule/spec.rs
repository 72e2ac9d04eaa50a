//! What a schedule says about its times, as data: rules united, less exclusions, within bounds.

use std::time::Duration;

use jiff::SignedDuration;
use jiff::civil::Date;

use super::cron::CronError;
use super::zone::UnknownZone;
use crate::time::Timestamp;

/// Most rules of one schedule.
pub const MAX_RULES: usize = 100;
/// Most dates that one schedule excludes, and
pub const MAX_EXCLUDED_DATES: usize = 1_000;
/// most cron patterns of such.
pub const MAX_EXCLUDED_PATTERNS: usize = 100;
/// Shortest interval.
pub const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// Longest interval, and longest jitter.
pub const MAX_SPAN: Duration = Duration::from_secs(10 * 366 * 86_400);

/// When a schedule has its nominal times. Where a policy is not said, the timetable that is made of it says the
/// effective one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spec {
    /// A time of any rule is one of the schedule.
    pub rules: Vec<Rule>,
    /// Times that no rule may name.
    pub exclude: Exclusions,
    /// No time is before this,
    pub start: Option<Timestamp>,
    /// and none at or after this.
    pub end: Option<Timestamp>,
    /// IANA name of the zone that dates and cron patterns are in; UTC where it is empty.
    pub zone: String,
    /// A start waits up to this long after its nominal time, always equally long for the same tick.
    pub jitter: Duration,
}

/// Names some times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Every so much elapsed time, counted from the phase after the Unix epoch. 24 hours are not a day where clocks
    /// change.
    Every {
        /// The time from one to the next.
        interval: Duration,
        /// Less than the interval.
        phase: Duration,
    },
    /// Local times of the schedule's zone.
    Cron {
        /// Five to seven fields, or a nickname such as `@daily`.
        pattern: String,
        /// By the kind of pattern where it is not said.
        gap: Option<DstGap>,
        /// The same for times that clocks show twice.
        overlap: Option<DstOverlap>,
    },
    /// Once.
    At(Timestamp),
}

/// Times that are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exclusions {
    /// Whole days in the schedule's zone.
    pub dates: Vec<Date>,
    /// What cron patterns name. One without seconds excludes whole minutes.
    pub patterns: Vec<String>,
}

/// What becomes of local times that clocks skip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DstGap {
    /// They never come.
    Skip,
    /// They come as much later as the clocks were put forward: 02:30 is 03:30.
    Shift,
    /// They come, once, when the clocks are put forward: 02:30 is 03:00.
    EndOfGap,
}

/// What becomes of local times that clocks show twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DstOverlap {
    /// Only the first time counts.
    First,
    /// Only the second time counts.
    Last,
    /// Both count.
    Both,
}

/// A span as people write it, such as `1h 30m`.
fn written(span: Duration) -> String {
    SignedDuration::try_from(span).map_or_else(|_| format!("{span:?}"), |span| format!("{span:#}"))
}

/// Why a spec cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant says what it is, with its fields")]
pub enum SpecError {
    #[error("rules: none is given, so there is no time; an interval, a cron pattern or a time is needed")]
    NoRules,
    #[error("{what}: there are {found}, at most {max} are allowed")]
    TooMany { what: &'static str, found: usize, max: usize },
    #[error("rules[{index}].cron: {error}")]
    Cron { index: usize, error: CronError },
    #[error("exclude.cron[{index}]: {error}")]
    Exclusion { index: usize, error: CronError },
    #[error("rules[{index}].every: {} is not allowed; {} to {} are", written(*.found), written(MIN_INTERVAL), written(MAX_SPAN))]
    Interval { index: usize, found: Duration },
    #[error("rules[{index}].phase: {} is not less than the interval, which is {}", written(*.phase), written(*.interval))]
    Phase { index: usize, phase: Duration, interval: Duration },
    #[error("jitter: {} is not allowed; at most {} is", written(*.found), written(MAX_SPAN))]
    Jitter { found: Duration },
    #[error("time_zone: {0}")]
    Zone(#[from] UnknownZone),
    #[error("end: {end} is not after the start, which is {start}")]
    Bounds { start: Timestamp, end: Timestamp },
    #[error("rules: no time is left between start and end and beside the exclusions")]
    Never,
}

impl Spec {
    /// One interval, whose times are its multiples since the Unix epoch.
    pub fn every(interval: Duration) -> Self {
        Self { rules: vec![Rule::Every { interval, phase: Duration::ZERO }], ..Self::default() }
    }

    /// One cron pattern in a zone.
    pub fn cron(pattern: impl Into<String>, zone: impl Into<String>) -> Self {
        let rule = Rule::Cron { pattern: pattern.into(), gap: None, overlap: None };
        Self { rules: vec![rule], zone: zone.into(), ..Self::default() }
    }
}
