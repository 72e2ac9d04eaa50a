//! Follows one run: a message each time something of it became durable, until it has ended.

use std::time::Duration;

use clients::orchestrator::admin::v1::{Run, RunState};
use engine::engine::{Engine, EngineError};
use futures_util::Stream;
use futures_util::stream::try_unfold;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use uuid::Uuid;

use super::{messages, status};

/// The least time between two messages; what happens in between comes with the second.
const LEAST_GAP: Duration = Duration::from_millis(50);

/// How often a run that this replica does not hold in memory is looked at in the store.
const POLL: Duration = Duration::from_secs(1);

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
    let types = engine.workflows().get(&detail.row.workflow).cloned();
    Ok(messages::detailed(detail, types.as_deref(), engine, max_steps))
}

async fn look_at(engine: &Engine, look: Look) -> Result<Run, Status> {
    if let Some(max_steps) = look.max_steps {
        return detailed(engine, look.run, max_steps).await;
    }
    let row = engine.store().run(look.run).await.map_err(|error| status::from_engine(EngineError::Store(error)))?;
    row.map(|row| messages::run(row, engine)).ok_or_else(|| status::from_engine(EngineError::NotFound(look.run)))
}

/// The durable states of a run, each at most once. Ends after the run's end; UNAVAILABLE when `closing` is cancelled.
pub(super) fn stream(
    engine: Engine,
    look: Look,
    closing: CancellationToken,
) -> impl Stream<Item = Result<Run, Status>> + Send {
    let first = Follow { engine, look, last: None };
    try_unfold(first, move |mut follow| {
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
    /// The last state that was sent, and when.
    last: Option<(Run, Instant)>,
}

impl Follow {
    /// The next state that differs from the last; none after the end was sent.
    async fn next(&mut self) -> Result<Option<Run>, Status> {
        if self.last.as_ref().is_some_and(|(run, _)| has_ended(run)) {
            return Ok(None);
        }
        // Subscribed before the first look, so that nothing falls between a look and the wait for the next.
        let mut watch = self.engine.watch(self.look.run).await.map_err(status::from_engine)?;
        let mut in_memory = true;
        loop {
            if let Some((_, sent)) = &self.last {
                tokio::time::sleep_until(*sent + LEAST_GAP).await;
            }
            let run = look_at(&self.engine, self.look).await?;
            if self.last.as_ref().is_none_or(|(last, _)| *last != run) {
                self.last = Some((run.clone(), Instant::now()));
                return Ok(Some(run));
            }
            // A run that another process holds, or nobody, tells nothing here.
            if in_memory {
                let changed = tokio::time::timeout(POLL, watch.changed()).await;
                in_memory = changed.unwrap_or(true);
            } else {
                tokio::time::sleep(POLL).await;
                watch = self.engine.watch(self.look.run).await.map_err(status::from_engine)?;
                in_memory = true;
            }
        }
    }
}

fn has_ended(run: &Run) -> bool {
    matches!(run.state(), RunState::Succeeded | RunState::Failed | RunState::Cancelled | RunState::Terminated)
}
