//! What a store's threads and its callers share: the claim of the present owner, how often it was lost, and how many
//! operations wait.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

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
    /// Operations that the thread that writes has not taken yet.
    waiting: AtomicUsize,
    /// What is damaged, where something is: nothing is built on it any more.
    damage: OnceLock<String>,
}

impl Shared {
    /// The state of a store that was just opened: its claim is held.
    pub(super) fn new() -> Self {
        Self {
            holding: Arc::new(Holding(AtomicBool::new(true))),
            losses: watch::Sender::new(0),
            waiting: AtomicUsize::new(0),
            damage: OnceLock::new(),
        }
    }

    /// An operation waits to be written.
    pub(super) fn queued(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    /// The thread that writes has taken so many.
    pub(super) fn taken(&self, count: usize) {
        self.waiting.fetch_sub(count, Ordering::Relaxed);
    }

    /// Operations that wait; about as many, while others are being queued.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
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

    /// Something of the database is damaged. The claim is lost from now on, and for good.
    pub(super) fn damaged(&self, what: &str) {
        if self.damage.set(what.to_owned()).is_ok() {
            tracing::error!(error = what, "the store is damaged; restore a backup");
        }
        self.lose();
    }

    pub(super) fn damage(&self) -> Option<&str> {
        self.damage.get().map(String::as_str)
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
