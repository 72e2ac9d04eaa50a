//! State that the handlers of a service share, and the conversions of time that all of them need.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

/// State behind a lock that is never held across an await: there is no way to get it out of the closure.
pub(crate) struct Shared<T>(Arc<Mutex<T>>);

impl<T> Shared<T> {
    pub(crate) fn new(state: T) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut T) -> R) -> R {
        // A handler that panicked answered with an error; the data it left is as good as any.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// The time now, as the contracts write it.
pub(crate) fn now() -> prost_types::Timestamp {
    to_proto(Timestamp::now())
}

pub(crate) fn to_proto(time: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}

/// `None` where the message is no valid time.
pub(crate) fn from_proto(time: prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(time.seconds, time.nanos).ok()
}

/// Seconds since midnight UTC.
pub(crate) fn second_of_day(time: Timestamp) -> i64 {
    time.as_second().rem_euclid(24 * 3_600)
}

/// A text that orders like the reverse of time, for lists with the newest first.
pub(crate) fn newest_first(time: Option<prost_types::Timestamp>, id: &str) -> String {
    let seconds = time.map_or(0, |time| time.seconds);
    format!("{:020}/{id}", i64::MAX - seconds.max(0))
}
