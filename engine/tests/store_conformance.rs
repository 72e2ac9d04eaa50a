//! The conformance suite over both forms of the SQLite store.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::sync::{Arc, Mutex};

use engine::store::conformance::Stores;
use engine::store::sqlite::{Sqlite, SqliteOptions};
use engine::store::{Store, StoreError};
use engine::time::Clock;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tempfile::TempDir;

/// Stores in a folder of their own.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn open(&self) -> Result<Arc<dyn Store>, StoreError> {
        let store = Sqlite::open(self.0.path().join("store.db"), SqliteOptions::default(), Clock::system())?;
        Ok(Arc::new(store))
    }
}

impl Stores for Files {
    fn empty(&self) -> BoxFuture<'_, Arc<dyn Store>> {
        async { self.open().unwrap() }.boxed()
    }

    fn succeed(&self, dead: Arc<dyn Store>) -> BoxFuture<'_, Arc<dyn Store>> {
        drop(dead);
        async { self.open().unwrap() }.boxed()
    }
}

/// Stores in memory; keeps the last, whose type the trait hides.
#[derive(Default)]
struct Memory(Mutex<Option<Arc<Sqlite>>>);

impl Memory {
    fn keep(&self, store: Sqlite) -> Arc<dyn Store> {
        let store = Arc::new(store);
        *self.0.lock().unwrap() = Some(store.clone());
        store
    }
}

impl Stores for Memory {
    fn empty(&self) -> BoxFuture<'_, Arc<dyn Store>> {
        async { self.keep(Sqlite::in_memory(Clock::system()).unwrap()) }.boxed()
    }

    fn succeed(&self, _: Arc<dyn Store>) -> BoxFuture<'_, Arc<dyn Store>> {
        let next = self.0.lock().unwrap().as_ref().unwrap().reopen_as_new_owner(Clock::system()).unwrap();
        async { self.keep(next) }.boxed()
    }
}

mod in_a_file {
    use super::Files;
    engine::store_conformance!(Files::new());
}

mod in_memory {
    use super::Memory;
    engine::store_conformance!(Memory::default());
}
