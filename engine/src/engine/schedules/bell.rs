//! Tells the loop of schedules that one was changed, or that a run of one has ended.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Names of schedules that are to be looked at.
#[derive(Debug, Default)]
pub(in crate::engine) struct Bell {
    names: Mutex<Names>,
    rung: Notify,
}

#[derive(Debug, Default)]
struct Names {
    changed: HashSet<String>,
    ended: HashSet<String>,
}

impl Bell {
    fn lock(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The schedule is not what it was, or is new, or is gone.
    pub(in crate::engine) fn changed(&self, schedule: &str) {
        self.lock().changed.insert(schedule.to_owned());
        self.rung.notify_one();
    }

    /// A run of the schedule has ended.
    pub(in crate::engine) fn ended(&self, schedule: &str) {
        self.lock().ended.insert(schedule.to_owned());
        self.rung.notify_one();
    }

    pub(super) fn take_changed(&self) -> HashSet<String> {
        std::mem::take(&mut self.lock().changed)
    }

    pub(super) fn take_ended(&self) -> HashSet<String> {
        std::mem::take(&mut self.lock().ended)
    }

    /// Resolves once somebody has told something since the last time.
    pub(super) async fn rung(&self) {
        self.rung.notified().await;
    }
}
