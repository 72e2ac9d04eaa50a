//! Tells watchers of a run that something of it became durable, and those who wait for its end that it ended
//! (semantics.md F7).

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::futures::Notified;
use tokio::sync::{Notify, oneshot, watch};
use uuid::Uuid;

use crate::run::Ended;

/// RunWatchers by run. Empty for runs that no caller watches, so these cost one load.
#[derive(Default)]
pub(crate) struct Watchers {
    watched: AtomicUsize,
    /// A run began to be watched.
    added: Notify,
    runs: Mutex<HashMap<Uuid, RunWatchers>>,
}

#[derive(Default)]
struct RunWatchers {
    changed: Option<watch::Sender<Progress>>,
    ended: Vec<oneshot::Sender<Arc<Ended>>>,
}

/// How far a run's journal is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    sequence: u64,
    ended: bool,
}

/// A look at a run's durable progress.
pub struct Watch {
    run: Uuid,
    /// Gone only while this is dropped.
    progress: Option<watch::Receiver<Progress>>,
    watchers: Arc<Watchers>,
}

impl Watch {
    /// Waits until something new is durable. False when the run has ended: nothing more will come.
    pub async fn changed(&mut self) -> bool {
        let Some(progress) = &mut self.progress else { return false };
        if progress.borrow_and_update().ended {
            return false;
        }
        progress.changed().await.is_ok()
    }
}

impl Drop for Watch {
    /// A run that no one watches any more costs nothing, whether it ever changes again or not.
    fn drop(&mut self) {
        self.progress = None;
        self.watchers.tidy(self.run);
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("run", &self.run).field("progress", &self.progress).finish_non_exhaustive()
    }
}

impl Watchers {
    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, RunWatchers>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn watch(self: &Arc<Self>, run: Uuid) -> Watch {
        let mut runs = self.lock();
        let watchers = runs.entry(run).or_default();
        let sender = watchers.changed.get_or_insert_with(|| watch::Sender::new(Progress::default()));
        let watch = Watch { run, progress: Some(sender.subscribe()), watchers: Arc::clone(self) };
        self.watched.store(runs.len(), Ordering::Release);
        self.added.notify_waiters();
        watch
    }

    /// The runs that are watched.
    pub(crate) fn runs(&self) -> Vec<Uuid> {
        if self.watched.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        self.lock().keys().copied().collect()
    }

    /// Ends when a run begins to be watched that was not watched when this was called.
    pub(crate) fn added(&self) -> Notified<'_> {
        self.added.notified()
    }

    pub(crate) fn wait_for_end(&self, run: Uuid) -> oneshot::Receiver<Arc<Ended>> {
        let (sender, receiver) = oneshot::channel();
        let mut runs = self.lock();
        let watchers = runs.entry(run).or_default();
        watchers.ended.retain(|waiting| !waiting.is_closed());
        watchers.ended.push(sender);
        self.watched.store(runs.len(), Ordering::Release);
        self.added.notify_waiters();
        receiver
    }

    /// Whether somebody watches the run, or waits for its end.
    pub(crate) fn is_watched(&self, run: Uuid) -> bool {
        self.watched.load(Ordering::Acquire) > 0 && self.lock().contains_key(&run)
    }

    /// Forgets watchers of a run that no one watches any more.
    pub(crate) fn tidy(&self, run: Uuid) {
        let mut runs = self.lock();
        if let Some(watchers) = runs.get_mut(&run) {
            watchers.ended.retain(|waiting| !waiting.is_closed());
            if watchers.changed.as_ref().is_some_and(watch::Sender::is_closed) {
                watchers.changed = None;
            }
            if watchers.ended.is_empty() && watchers.changed.is_none() {
                runs.remove(&run);
            }
        }
        self.watched.store(runs.len(), Ordering::Release);
    }

    pub(crate) fn changed(&self, run: Uuid, sequence: u64) {
        if self.watched.load(Ordering::Acquire) == 0 {
            return;
        }
        let nobody_left = match self.lock().get(&run) {
            Some(RunWatchers { changed: Some(sender), .. }) => {
                sender.send_replace(Progress { sequence, ended: false });
                sender.is_closed()
            }
            _ => false,
        };
        if nobody_left {
            self.tidy(run);
        }
    }

    /// Tells watchers of a run that had ended before they came.
    pub(crate) fn finished(&self, run: Uuid, sequence: u64) {
        // Their receivers keep what was sent; nothing more will come, so nothing is kept here.
        if let Some(sender) = self.lock().get_mut(&run).and_then(|watchers| watchers.changed.take()) {
            sender.send_replace(Progress { sequence, ended: true });
        }
        self.tidy(run);
    }

    pub(crate) fn ended(&self, ended: Ended) {
        if self.watched.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut runs = self.lock();
        let watchers = runs.remove(&ended.row.id);
        self.watched.store(runs.len(), Ordering::Release);
        drop(runs);
        let Some(watchers) = watchers else { return };
        if let Some(sender) = watchers.changed {
            sender.send_replace(Progress { sequence: ended.row.sequence, ended: true });
        }
        let ended = Arc::new(ended);
        for waiting in watchers.ended {
            let _gone = waiting.send(Arc::clone(&ended));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watcher_that_leaves_leaves_nothing_behind() {
        let (watchers, run) = (Arc::new(Watchers::default()), Uuid::from_u128(7));
        let (first, second) = (watchers.watch(run), watchers.watch(run));
        drop(first);
        assert!(watchers.is_watched(run));
        drop(second);
        assert!(!watchers.is_watched(run));
        assert!(watchers.lock().is_empty());
    }
}
