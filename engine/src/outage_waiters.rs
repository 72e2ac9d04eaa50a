//! Runs that were given back because a service is down, as far as this replica knows: who waits for what.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

/// By run, the service that it waits for.
#[derive(Default)]
pub(crate) struct OutageWaiters(Mutex<HashMap<Uuid, Arc<str>>>);

impl OutageWaiters {
    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<str>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, run: Uuid, service: Arc<str>) {
        self.lock().insert(run, service);
    }

    /// The run is in memory again.
    pub(crate) fn remove(&self, run: Uuid) {
        self.lock().remove(&run);
    }

    /// How many runs wait, by the name of the service.
    pub(crate) fn counts(&self) -> BTreeMap<Arc<str>, usize> {
        let mut counts = BTreeMap::new();
        for service in self.lock().values() {
            *counts.entry(Arc::clone(service)).or_default() += 1;
        }
        counts
    }
}
