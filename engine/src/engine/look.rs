//! How a run is looked at: its steps, its progress, its end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::{Ended, Engine, EngineError, Start, Started};
use crate::failure::{Code, Failure};
use crate::history::{journal_within, move_facts, read_on};
use crate::journal_v1 as stored;
use crate::store::{RunRow, StoreError};
use crate::view::Detail;
use crate::watchers::Watch;

impl Engine {
    /// Waits until a run has ended, at most this long. None when the time is up. An end after this call is not missed,
    /// also where the future is first polled later.
    ///
    /// # Errors
    /// If the run is unknown or the store fails.
    pub fn ended(
        &self,
        run: Uuid,
        within: Duration,
    ) -> impl Future<Output = Result<Option<Arc<Ended>>, EngineError>> + Send {
        // Registered first, looked second: an end in between is seen by one of the two.
        let waiting = self.shared.watchers.wait_for_end(run);
        // A block, because a function keeps its arguments twice, and each caller that waits keeps all of this.
        async move {
            if !self.shared.runs.contains(run) {
                // Boxed, because it is rare and every wait would have room for it.
                match Box::pin(self.ended_in_store(run)).await {
                    Ok(None) => {}
                    known => {
                        drop(waiting);
                        self.shared.watchers.tidy(run);
                        return known;
                    }
                }
            }
            if let Ok(Ok(ended)) = tokio::time::timeout(within, waiting).await {
                return Ok(Some(ended));
            }
            self.shared.watchers.tidy(run);
            Ok(None)
        }
    }

    /// Starts a run and waits for its end, at most this long.
    ///
    /// # Errors
    /// As [`Engine::start`] and [`Engine::ended`].
    pub async fn start_and_wait(
        &self,
        start: Start,
        within: Duration,
    ) -> Result<(Started, Option<Arc<Ended>>), EngineError> {
        let started = self.start(start).await?;
        let ended = self.ended(started.id, within).await?;
        Ok((started, ended))
    }

    /// The run, where it has ended.
    async fn ended_in_store(&self, run: Uuid) -> Result<Option<Arc<Ended>>, EngineError> {
        let row = self.shared.store.run(run).await?.ok_or(EngineError::NotFound(run))?;
        if !row.status.state.is_end() {
            return Ok(None);
        }
        self.detail(run).await.map(|detail| Some(Arc::new(detail.into())))
    }

    /// Watches a run's durable progress.
    ///
    /// # Errors
    /// If the run is unknown or the store fails.
    pub async fn watch(&self, run: Uuid) -> Result<Watch, EngineError> {
        let watch = self.shared.watchers.watch(run);
        match self.shared.store.run(run).await? {
            Some(row) => {
                if row.status.state.is_end() {
                    self.shared.watchers.finished(run, row.sequence);
                }
                Ok(watch)
            }
            None => Err(EngineError::NotFound(run)),
        }
    }

    /// A run with its input, output and steps, as far as they are durable.
    ///
    /// # Errors
    /// If the run is unknown, its journal cannot be read, or the store fails.
    pub async fn detail(&self, run: Uuid) -> Result<Detail, EngineError> {
        let row = self.shared.store.run(run).await?.ok_or(EngineError::NotFound(run))?;
        let facts = self.facts(&row).await?;
        let may_have_messages = row.messages > 0;
        let mut detail =
            Detail::read(row, facts, self.shared.clock.now()).map_err(|error| EngineError::Journal { run, error })?;
        if may_have_messages {
            detail.inbox = self.shared.store.inbox(run, 0).await?;
        }
        Ok(detail)
    }

    /// The same for one who looks again and again: reads what was added since, as far as `seen` keeps the rest.
    ///
    /// # Errors
    /// As [`Engine::detail`].
    pub async fn detail_since(&self, row: RunRow, seen: &mut Seen) -> Result<Detail, EngineError> {
        let run = row.id;
        let unreadable = |error| EngineError::Journal { run, error };
        let store = &*self.shared.store;
        // Taken, so that after an error it begins with nothing again.
        let Seen { mut facts, after, bytes } = std::mem::take(seen);
        let most = self.shared.limits.journal_bytes.saturating_mul(2).saturating_sub(bytes);
        let (after, more) = read_on(store, run, after, &mut facts, most).await?.map_err(unreadable)?;
        *seen = Seen { facts, after, bytes: bytes + more };
        let inbox = if row.messages > 0 { store.inbox(run, 0).await? } else { Vec::new() };
        let mut facts = seen.facts.clone();
        move_facts(&row, &mut facts);
        let mut detail = Detail::read(row, facts, self.shared.clock.now()).map_err(unreadable)?;
        detail.inbox = inbox;
        Ok(detail)
    }

    pub(super) async fn facts(&self, row: &RunRow) -> Result<Vec<stored::Fact>, EngineError> {
        let facts = journal_within(&*self.shared.store, row.id, self.shared.limits.journal_bytes).await?;
        let (mut facts, _) = facts.map_err(|error| EngineError::Journal { run: row.id, error })?;
        move_facts(row, &mut facts);
        Ok(facts)
    }
}

/// What somebody who looks at a run again and again has read of its journal.
#[derive(Debug, Default)]
pub struct Seen {
    facts: Vec<stored::Fact>,
    /// The number of the last entry.
    after: u64,
    bytes: usize,
}

impl Seen {
    /// About how much memory this takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes + self.facts.len() * size_of::<stored::Fact>()
    }
}

/// Between attempts to read how a run ended.
const PAUSE: Duration = Duration::from_millis(250);

impl Engine {
    /// A run left memory because the store did not answer: if it wrote its end, the callers that wait for that get it.
    pub(super) async fn look_for_end(&self, run: Uuid) {
        while self.shared.watchers.is_watched(run) && !self.shared.runs.contains(run) {
            match self.detail(run).await {
                Ok(detail) if detail.row.status.state.is_end() => return self.shared.watchers.ended(detail.into()),
                // Its end is in its row also if nothing else can be read.
                Err(EngineError::Journal { .. }) => match self.row(run).await {
                    Ok(row) if row.status.state.is_end() => return self.shared.watchers.ended(unread(row)),
                    _ => return,
                },
                Err(EngineError::Store(error)) if !matches!(error, StoreError::Closed | StoreError::Unusable(_)) => {
                    tokio::time::sleep(PAUSE).await;
                }
                _ => return,
            }
        }
    }
}

/// The end of a run whose journal cannot be read.
fn unread(row: RunRow) -> Ended {
    let failure = row.status.error.as_ref().map(|(code, message)| Failure::new(Code::from_i32(*code), message.clone()));
    Ended { row, input: Bytes::new(), output: None, failure }
}
