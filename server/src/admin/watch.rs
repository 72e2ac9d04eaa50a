//! Follows one run: a message each time something of it became durable, until it has ended.
//!
//! A look costs what changed: the run's row, and where that is another one the entries of its journal since the last look.

use std::sync::Arc;
use std::time::Duration;

use crate::proto::orchestrator::admin::v1::{Run, RunState};
use engine::Watch;
use engine::engine::{Engine, EngineError, Seen};
use engine::store::RunRow;
use engine::view::Detail;
use futures_util::Stream;
use futures_util::stream::try_unfold;
use prost::Message;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use uuid::Uuid;

use super::{messages, status};

/// The least time between two messages; what happens in between comes with the second. A look that took long is followed
/// by a rest of so many times as long.
const LEAST_GAP: Duration = Duration::from_millis(50);
const REST: u32 = 10;

/// How often a run that tells nothing is looked at in the store: more and more seldom while nothing changes.
const POLL: Duration = Duration::from_secs(1);
const LONGEST_POLL: Duration = Duration::from_secs(5);

/// Bytes of journals that all watchers together keep.
const KEPT_BYTES: usize = 16 << 20;

/// What to follow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) run: Uuid,
    /// How many steps to show; none for a run without input, output and steps.
    pub(super) max_steps: Option<usize>,
}

/// A run with input, output and steps.
pub(super) async fn detailed(engine: &Engine, run: Uuid, max_steps: usize) -> Result<Run, Status> {
    let detail = engine.detail(run).await.map_err(status::from_engine)?;
    Ok(shown(detail, engine, max_steps))
}

/// A run with one of its steps, and what is known of that one's attempts.
pub(super) async fn with_step(engine: &Engine, run: Uuid, step: &str) -> Result<Run, Status> {
    let detail = engine.detail(run).await.map_err(status::from_engine)?;
    let types = engine.workflows().get(&detail.row.workflow).cloned();
    messages::with_step(detail, types.as_deref(), engine, step).ok_or_else(|| status::unknown_step(run, step))
}

fn shown(detail: Detail, engine: &Engine, max_steps: usize) -> Run {
    let types = engine.workflows().get(&detail.row.workflow).cloned();
    messages::detailed(detail, types.as_deref(), engine, max_steps)
}

async fn row(engine: &Engine, run: Uuid) -> Result<RunRow, Status> {
    let row = engine.store().run(run).await.map_err(|error| status::from_engine(EngineError::Store(error)))?;
    row.ok_or_else(|| status::from_engine(EngineError::NotFound(run)))
}

/// What all watchers together keep of journals.
pub(super) fn memory() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(KEPT_BYTES))
}

/// The durable states of a run, each at most once. Ends after the run's end; UNAVAILABLE when `closing` is cancelled.
pub(super) fn stream(
    engine: Engine,
    look: Look,
    memory: Arc<Semaphore>,
    closing: CancellationToken,
) -> impl Stream<Item = Result<Run, Status>> + Send {
    try_unfold(Follow::new(engine, look, memory), move |mut follow| {
        let closing = closing.clone();
        async move {
            match closing.run_until_cancelled(follow.next()).await {
                Some(next) => Ok(next?.map(|run| (run, follow))),
                None => Err(status::draining()),
            }
        }
    })
}

struct Follow {
    engine: Engine,
    look: Look,
    memory: Arc<Semaphore>,
    watch: Option<Watch>,
    /// What was read of the journal, and the room that it takes.
    seen: Seen,
    kept: Option<OwnedSemaphorePermit>,
    /// The row at the last look.
    row: Option<RunRow>,
    /// The last state that was sent, and when the next may be.
    last: Option<([u8; 32], Instant)>,
    poll: Duration,
    ended: bool,
}

impl Follow {
    fn new(engine: Engine, look: Look, memory: Arc<Semaphore>) -> Self {
        Self {
            engine,
            look,
            memory,
            watch: None,
            seen: Seen::default(),
            kept: None,
            row: None,
            last: None,
            poll: POLL,
            ended: false,
        }
    }

    /// The next state that differs from the last; none after the end was sent.
    async fn next(&mut self) -> Result<Option<Run>, Status> {
        if self.ended {
            return Ok(None);
        }
        loop {
            if let Some((_, next)) = &self.last {
                tokio::time::sleep_until(*next).await;
            }
            // Subscribed before the look, so that nothing falls between a look and the wait for the next.
            if self.watch.is_none() {
                self.watch = Some(self.engine.watch(self.look.run).await.map_err(status::from_engine)?);
            }
            if let Some(run) = self.changed().await? {
                self.poll = POLL;
                return Ok(Some(run));
            }
            self.wait().await;
        }
    }

    /// The run, where it is not as it was sent.
    async fn changed(&mut self) -> Result<Option<Run>, Status> {
        let began = Instant::now();
        let row = row(&self.engine, self.look.run).await?;
        if self.row.as_ref() == Some(&row) {
            return Ok(None);
        }
        let run = match self.look.max_steps {
            None => messages::run(row.clone(), &self.engine),
            Some(max_steps) => {
                let detail =
                    self.engine.detail_since(row.clone(), &mut self.seen).await.map_err(status::from_engine)?;
                self.keep();
                shown(detail, &self.engine, max_steps)
            }
        };
        self.row = Some(row);
        let digest = Sha256::digest(run.encode_to_vec()).into();
        if self.last.as_ref().is_some_and(|(last, _)| *last == digest) {
            return Ok(None);
        }
        self.last = Some((digest, Instant::now() + LEAST_GAP.max(began.elapsed() * REST)));
        self.ended = has_ended(&run);
        Ok(Some(run))
    }

    /// Keeps what was read of the journal where there is room for it; otherwise it is read whole again.
    fn keep(&mut self) {
        self.kept = None;
        let bytes = u32::try_from(self.seen.bytes()).unwrap_or(u32::MAX);
        self.kept = Arc::clone(&self.memory).try_acquire_many_owned(bytes).ok();
        if self.kept.is_none() {
            self.seen = Seen::default();
        }
    }

    /// Waits until something may have changed. A run that this process does not hold sends no notice here.
    async fn wait(&mut self) {
        let Some(watch) = &mut self.watch else { return };
        match tokio::time::timeout(self.poll, watch.changed()).await {
            Ok(true) => return,
            Ok(false) => {
                tokio::time::sleep(self.poll).await;
                self.watch = None;
            }
            Err(_) => {}
        }
        self.poll = (self.poll * 3 / 2).min(LONGEST_POLL);
    }
}

fn has_ended(run: &Run) -> bool {
    matches!(run.state(), RunState::Succeeded | RunState::Failed | RunState::Cancelled | RunState::Terminated)
}
