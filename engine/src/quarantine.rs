//! Lets a run whose code may kill its replica continue alone for a while, so that a death is known to be its own (semantics.md S5).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use uuid::Uuid;

/// How long it is tried alone at most; others wait so long for each such run.
const ALONE: Duration = Duration::from_secs(1);

/// Lets code of one run continue alone.
#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    /// Whether there is one, to be asked without a lock.
    on: AtomicBool,
    tried: Mutex<Option<Uuid>>,
    over: Notify,
}

impl Quarantine {
    fn tried(&self) -> MutexGuard<'_, Option<Uuid>> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a run is tried alone.
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Acquire)
    }

    /// Waits until no other run is tried alone.
    pub(crate) async fn pass(&self, run: Uuid) {
        self.wait(|tried| tried.is_none_or(|tried| tried == run)).await;
    }

    async fn wait(&self, may_go: impl Fn(&mut Option<Uuid>) -> bool) {
        loop {
            let over = self.over.notified();
            tokio::pin!(over);
            over.as_mut().enable();
            if may_go(&mut self.tried()) {
                return;
            }
            over.await;
        }
    }

    /// Tries the run alone from here on, once those before it were.
    pub(crate) async fn begin(self: &Arc<Self>, run: Uuid) {
        self.wait(|tried| {
            let free = tried.is_none();
            if free {
                *tried = Some(run);
            }
            free
        })
        .await;
        self.on.store(true, Ordering::Release);
        let quarantine = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(ALONE).await;
            quarantine.end(run);
        });
    }

    /// The run is not tried alone any more.
    pub(crate) fn end(&self, run: Uuid) {
        if !self.is_on() {
            return;
        }
        let mut tried = self.tried();
        if *tried == Some(run) {
            *tried = None;
            self.on.store(false, Ordering::Release);
            drop(tried);
            self.over.notify_waiters();
        }
    }
}
