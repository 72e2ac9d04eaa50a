//! Points at which a replica can be killed: before and after every write, send, response and acknowledgement.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// Counts the points that a replica passes, and kills it at one of them.
#[derive(Clone, Debug, Default)]
pub struct Probe(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    passed: AtomicUsize,
    fatal: Option<usize>,
    /// How long a point takes at most.
    delay: Duration,
    killed: AtomicBool,
    notify: Notify,
    names: Mutex<Vec<&'static str>>,
}

impl Probe {
    /// A probe that only counts.
    pub fn counting() -> Self {
        Self::default()
    }

    /// A probe that kills at the point with this number, from 0.
    pub fn killing_at(point: usize) -> Self {
        Self(Arc::new(Inner { fatal: Some(point), ..Inner::default() }))
    }

    /// A probe whose points take up to this long, some longer than others, so that writes and answers overlap.
    /// Kills at the point with this number, where one is given.
    pub fn slow(delay: Duration, fatal: Option<usize>) -> Self {
        Self(Arc::new(Inner { fatal, delay, ..Inner::default() }))
    }

    /// Kills now.
    pub fn kill(&self) {
        self.0.killed.store(true, Ordering::SeqCst);
        self.0.notify.notify_waiters();
    }

    /// A point of life or death. Never returns once the replica is dead.
    pub async fn pass(&self, name: &'static str) {
        let point = self.0.passed.fetch_add(1, Ordering::SeqCst);
        self.0.names.lock().unwrap_or_else(PoisonError::into_inner).push(name);
        if !self.0.delay.is_zero() && !self.is_dead() {
            // A number of its own for every point, the same in every run of a test.
            let share = u32::try_from(point.wrapping_mul(0x9E37_79B9) >> 7 & 3).unwrap_or(0);
            tokio::time::sleep(self.0.delay * share / 3).await;
        }
        if self.0.fatal == Some(point) {
            self.kill();
        }
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether the replica is dead.
    pub fn is_dead(&self) -> bool {
        self.0.killed.load(Ordering::SeqCst)
    }

    /// Waits until the replica is dead.
    pub async fn death(&self) {
        loop {
            let notified = self.0.notify.notified();
            if self.is_dead() {
                return;
            }
            notified.await;
        }
    }

    /// The names of the points passed, in order.
    pub fn points(&self) -> Vec<&'static str> {
        self.0.names.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
