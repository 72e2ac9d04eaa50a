//! Instants as they are stored.

use std::fmt;
use std::time::Duration;

mod clock;
mod steps;

pub use clock::Clock;
pub use steps::{ClockStep, ClockSteps};

/// An instant in whole microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The instant this many microseconds after the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The instant this much later; the end of time where there is none.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The instant this much earlier; the beginning of time where there is none.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The second in which this is.
    #[must_use]
    pub const fn to_second(self) -> Self {
        Self(self.0 - self.0.rem_euclid(1_000_000))
    }

    /// The time from `earlier` to this; zero where `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The instant as seconds and nanoseconds, the shape of `google.protobuf.Timestamp`.
    pub const fn parts(self) -> (i64, i32) {
        #[expect(clippy::cast_possible_truncation, reason = "a remainder of 1,000,000 times 1,000 fits 32 bits")]
        let nanos = (self.0.rem_euclid(1_000_000) * 1_000) as i32;
        (self.0.div_euclid(1_000_000), nanos)
    }
}

impl From<Timestamp> for prost_types::Timestamp {
    fn from(at: Timestamp) -> Self {
        let (seconds, nanos) = at.parts();
        Self { seconds, nanos }
    }
}

impl From<prost_types::Timestamp> for Timestamp {
    /// The instant to the microsecond; the end or the beginning of time if it is beyond what this type holds.
    fn from(time: prost_types::Timestamp) -> Self {
        Self(time.seconds.saturating_mul(1_000_000).saturating_add(i64::from(time.nanos) / 1_000))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC; the bare number of microseconds where the calendar has no such year.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => write!(f, "{time}"),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_reads_as_rfc_3339() {
        assert_eq!(Timestamp::from_micros(1_767_225_600_000_000).to_string(), "2026-01-01T00:00:00Z");
        assert_eq!(Timestamp::from_micros(1_767_225_600_250_000).to_string(), "2026-01-01T00:00:00.25Z");
        assert_eq!(Timestamp::from_micros(i64::MAX).to_string(), format!("{}us", i64::MAX));
    }
}
