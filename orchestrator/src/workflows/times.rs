//! Conversions of times and days for messages.

use std::time::Duration;

use engine::time::Timestamp;

pub(super) const DAY: Duration = Duration::from_hours(24);

pub(super) fn time(at: Timestamp) -> prost_types::Timestamp {
    let (seconds, nanos) = at.parts();
    prost_types::Timestamp { seconds, nanos }
}

/// The time in a message, to the microsecond.
pub(super) fn timestamp(time: prost_types::Timestamp) -> Timestamp {
    Timestamp::from_micros(time.seconds.saturating_mul(1_000_000).saturating_add(i64::from(time.nanos) / 1_000))
}

/// Time since the beginning of the day (UTC).
pub(super) fn into_day(at: Timestamp) -> Duration {
    let day = i64::try_from(DAY.as_micros()).unwrap_or(i64::MAX);
    Duration::from_micros(u64::try_from(at.as_micros().rem_euclid(day)).unwrap_or(0))
}
