//! Days in UTC.

use engine::prelude::*;

pub(super) const DAY: Duration = Duration::from_hours(24);

/// Returns the time since the day (UTC) began.
pub(super) fn into_day(at: Timestamp) -> Duration {
    let day = i64::try_from(DAY.as_micros()).unwrap_or(i64::MAX);
    Duration::from_micros(u64::try_from(at.as_micros().rem_euclid(day)).unwrap_or(0))
}
