//! What a store's threads and its callers share: the claim of the present owner, and how often it was lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::claim::Claim;

/// Whether this process owns the store at the moment.
#[derive(Debug)]
struct Holding(AtomicBool);

impl Claim for Holding {
    fn is_held(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    holding: Arc<Holding>,
    losses: watch::Sender<u64>,
}

impl Shared {
    /// The state of a store that was just opened: its claim is held.
    pub(super) fn new() -> Self {
        Self { holding: Arc::new(Holding(AtomicBool::new(true))), losses: watch::Sender::new(0) }
    }

    pub(super) fn claim(&self) -> Arc<dyn Claim> {
        self.holding.clone()
    }

    pub(super) fn losses(&self) -> watch::Receiver<u64> {
        self.losses.subscribe()
    }

    /// The store is down, closed, or another's.
    pub(super) fn lose(&self) {
        self.holding.0.store(false, Ordering::Release);
    }

    /// The store is open again. First says that what was held before is held no more.
    pub(super) fn regain(&self) {
        self.losses.send_modify(|count| *count += 1);
        self.holding.0.store(true, Ordering::Release);
    }
}

/// Locks, also after a panic elsewhere: what these mutexes guard is whole between statements.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
