//! Bounds that the engine keeps; each is refused with an error that names it, never a slow death, and warned of before.

use std::fmt::Display;
use std::time::Duration;

use uuid::Uuid;

/// The bounds of one engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest input, output, request or response of a run, in bytes.
    pub payload_bytes: usize,
    /// Most bytes of a run's journal. A run that comes beyond ends; twice as many are read, so that what it began still
    /// settles, and no more ever.
    pub journal_bytes: usize,
    /// Most steps that one run may journal.
    pub steps_per_run: u32,
    /// Most items of one fan-out.
    pub fan_out_width: u32,
    /// Most runs held in memory at the same time; further starts stay PENDING until there is room.
    pub runs_in_flight: u32,
    /// Longest fan-out key, step name or reason, in bytes.
    pub name_bytes: usize,
    /// Most child runs that one run starts.
    pub children_per_run: u32,
    /// Most runs that one above the other are each other's children, the first not counted.
    pub child_depth: u32,
    /// Most messages that wait in the inbox of one run.
    pub inbox_messages: u32,
    /// A run that waits no longer than this stays in memory; otherwise it is given back until it is due.
    pub linger: Duration,
    /// The store is asked for runs that are due at least this often, also where nothing says that there are some.
    pub claim_interval: Duration,
    /// Facts of reads are written behind for at most this long,
    pub write_behind: Duration,
    /// and for at most this many bytes.
    pub write_behind_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            payload_bytes: 2 << 20,
            journal_bytes: 128 << 20,
            steps_per_run: 50_000,
            fan_out_width: 10_000,
            runs_in_flight: 20_000,
            name_bytes: 512,
            children_per_run: 10_000,
            child_depth: 8,
            inbox_messages: 1_000,
            linger: Duration::from_secs(5),
            claim_interval: Duration::from_secs(5),
            write_behind: Duration::from_millis(500),
            write_behind_bytes: 64 << 10,
        }
    }
}

/// A limit that is warned of before it bites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    PayloadBytes,
    JournalBytes,
    StepsPerRun,
    FanOutWidth,
    ChildrenPerRun,
    ChildDepth,
    InboxMessages,
}

impl Limit {
    const fn name(self) -> &'static str {
        match self {
            Self::PayloadBytes => "payload_bytes",
            Self::JournalBytes => "journal_bytes",
            Self::StepsPerRun => "steps_per_run",
            Self::FanOutWidth => "fan_out_width",
            Self::ChildrenPerRun => "children_per_run",
            Self::ChildDepth => "child_depth",
            Self::InboxMessages => "inbox_messages",
        }
    }
}

/// Whether this is within a limit, and at least 80 % of it.
pub(crate) const fn is_near(value: u64, max: u64) -> bool {
    value <= max && value.saturating_mul(5) >= max.saturating_mul(4)
}

/// Whether the count that has just come to this is the first that is near.
pub(crate) const fn comes_near(value: u64, max: u64) -> bool {
    is_near(value, max) && (value == 0 || !is_near(value - 1, max))
}

pub(crate) fn warn_near(run: Uuid, workflow: &str, limit: Limit, value: u64, max: u64, at: impl Display) {
    tracing::warn!(run = %run, workflow, limit = limit.name(), value, max, at = %at, "run comes near a limit");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_comes_near_its_limit_once() {
        for max in 1..100 {
            let first: Vec<u64> = (1..=max + 10).filter(|value| comes_near(*value, max)).collect();
            assert_eq!(first, [(max * 4).div_ceil(5).max(1)], "{max}");
        }
        assert!(!is_near(79, 100) && is_near(80, 100) && is_near(100, 100) && !is_near(101, 100));
    }
}
