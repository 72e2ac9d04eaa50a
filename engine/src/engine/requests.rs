//! Requests that are being carried out: the same request a second time waits for the first, and has its answer (D4).

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use uuid::Uuid;

use super::{Engine, EngineError};
use crate::store::{AuditedChange, BulkRequest, Refusal, Requester, RunRow, StoreError};

/// A method of the admin API, and the id of a request to it.
type Key = (&'static str, Uuid);

/// The requests with an id that this replica carries out now.
#[derive(Debug, Default)]
pub(super) struct Requests {
    running: Mutex<HashSet<Key>>,
    ended: Notify,
}

/// The right to carry a request out; the next of the same request has it when this is dropped.
#[derive(Debug)]
pub(super) struct Turn<'r> {
    requests: &'r Requests,
    key: Option<Key>,
}

impl Requests {
    fn running(&self) -> MutexGuard<'_, HashSet<Key>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no other request with this id is carried out. One without an id does not wait.
    pub(super) async fn turn(&self, change: &AuditedChange) -> Turn<'_> {
        let Some(request) = &change.asked.request else { return Turn { requests: self, key: None } };
        let key = (change.action, request.id);
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.running().insert(key) {
                return Turn { requests: self, key: Some(key) };
            }
            ended.await;
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.requests.running().remove(&key);
            self.requests.ended.notify_waiters();
        }
    }
}

impl Engine {
    /// Returns the run that an earlier request with the same id changed: as it is, or as it was when it was removed.
    pub(super) async fn done_before(&self, change: &AuditedChange) -> Result<Option<RunRow>, EngineError> {
        if change.asked.request.is_none() {
            return Ok(None);
        }
        Ok(self.shared.store.answered(change.clone()).await?)
    }

    /// Returns the run that this request to a method of the admin API, for example `SignalRun`, changed before.
    ///
    /// # Errors
    /// If the id is that of another request, or the store fails.
    pub async fn answered(&self, action: &'static str, asked: &Requester) -> Result<Option<RunRow>, EngineError> {
        self.done_before(&asked.clone().to(action, "")).await
    }

    /// Remembers a request that changes many runs, and whether it is completed by now.
    ///
    /// # Errors
    /// If the id is that of another request, or the store fails.
    pub async fn bulk_request(
        &self,
        action: &'static str,
        asked: Requester,
        completed: bool,
    ) -> Result<BulkRequest, EngineError> {
        Ok(self.shared.store.bulk_request(asked.to(action, ""), completed).await?)
    }

    /// Writes down calls that were refused, in one commit.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn write_refusals(&self, refusals: Vec<Refusal>) -> Result<(), StoreError> {
        self.shared.store.refused(refusals).await
    }
}
