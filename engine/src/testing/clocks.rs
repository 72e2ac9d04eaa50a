//! The clocks of a test's machine: they go with tokio's, and can be set.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::time::{Clock, Timestamp};

/// 2026-01-01, so that times in tests look like times.
const BEGINNING: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

/// One wall clock and one boot clock for all replicas of a world. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clocks {
    begun: Instant,
    /// By how much the wall clock was set, in microseconds.
    set_by: Arc<AtomicI64>,
    /// For how long the machine was suspended, in microseconds.
    suspended: Arc<AtomicI64>,
}

impl Clocks {
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), set_by: Arc::default(), suspended: Arc::default() }
    }

    /// Sets the wall clock back.
    pub fn set_back(&self, by: Duration) {
        self.set_by.fetch_sub(micros(by), Ordering::SeqCst);
    }

    /// Sets the wall clock forward.
    pub fn set_forward(&self, by: Duration) {
        self.set_by.fetch_add(micros(by), Ordering::SeqCst);
    }

    /// The machine stands still for so long: both clocks continue, and no timer of a process does.
    pub fn suspend(&self, span: Duration) {
        self.suspended.fetch_add(micros(span), Ordering::SeqCst);
    }

    /// What the wall clock says.
    pub fn wall(&self) -> Timestamp {
        let set = BEGINNING.as_micros().saturating_add(self.set_by.load(Ordering::SeqCst));
        Timestamp::from_micros(set).after(self.boot())
    }

    /// For how long the machine has been on.
    fn boot(&self) -> Duration {
        let suspended = u64::try_from(self.suspended.load(Ordering::SeqCst)).unwrap_or_default();
        self.begun.elapsed() + Duration::from_micros(suspended)
    }

    /// The clock of a process that starts now.
    pub fn of_a_process(&self) -> Clock {
        let (wall, boot) = (self.clone(), self.clone());
        Clock::from_sources(move || wall.wall(), move || boot.boot())
    }
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}
