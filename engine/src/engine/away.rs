//! Runs that were given back because a service is down, as far as this replica knows: who waits for what.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::Engine;

/// By run, the service that it waits for.
#[derive(Default)]
pub(crate) struct Away(Mutex<HashMap<Uuid, Arc<str>>>);

impl Away {
    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<str>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, run: Uuid, service: Arc<str>) {
        self.lock().insert(run, service);
    }

    /// The run is in memory again.
    pub(super) fn remove(&self, run: Uuid) {
        self.lock().remove(&run);
    }
}

impl Engine {
    /// How many runs this replica gave back because a service is down, by the name of the service. They come again by
    /// themselves. After a restart they are counted again once they have come.
    pub fn away(&self) -> BTreeMap<Arc<str>, usize> {
        let mut counts = BTreeMap::new();
        for service in self.shared.away.lock().values() {
            *counts.entry(Arc::clone(service)).or_default() += 1;
        }
        counts
    }
}
