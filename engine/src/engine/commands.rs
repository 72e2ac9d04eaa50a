//! How operators steer a run.

use std::time::Duration;

use uuid::Uuid;

use super::{Engine, EngineError};
use crate::driver;
use crate::journal::{Buffer, Kind};
use crate::journal_v1 as stored;
use crate::state::State;
use crate::store::{Cancel, Reopen, RequestKey, RunRow};
use crate::view;

impl Engine {
    /// Asks a run to end as CANCELLED. After the answer it starts nothing new.
    ///
    /// # Errors
    /// Where the run is unknown, has ended in another way, or the store fails.
    pub async fn cancel(&self, run: Uuid, reason: String, request: Option<RequestKey>) -> Result<RunRow, EngineError> {
        self.check_name("reason", &reason)?;
        let now = self.shared.clock.now();
        let row = self.shared.store.cancel(Cancel { run, reason, now, request }).await?;
        tracing::info!(run = %run, workflow = row.workflow, "run cancel requested");
        match self.shared.handle(run) {
            Some(handle) => handle.wish(driver::CANCEL),
            None => self.shared.due.notify_one(),
        }
        Ok(row)
    }

    /// Goes on with a failed run from the step that failed, or with a blocked one from where it stands.
    ///
    /// # Errors
    /// Where the run is unknown, in another state, failed by its own code, or the store fails.
    pub async fn retry(&self, run: Uuid, reason: String, request: Option<RequestKey>) -> Result<RunRow, EngineError> {
        self.check_name("reason", &reason)?;
        let row = self.shared.store.run(run).await?.ok_or(EngineError::NotFound(run))?;
        let facts = self.facts(&row).await?;
        let refuse =
            |reason: &str| Err(EngineError::Precondition { run, state: row.status.state, reason: reason.to_owned() });
        let reset = match row.status.state {
            State::Blocked if !row.owned => stored::Reset { reason, ..stored::Reset::default() },
            State::Failed => match view::failed_step(facts) {
                Some((place, refused)) => stored::Reset { place: Some(place), new_incarnation: refused, reason },
                None => return refuse("it failed by its workflow's own decision, not at a step; start a new run"),
            },
            // The same request again answers what it answered before.
            _ if request.is_some() => stored::Reset::default(),
            _ => return refuse("only FAILED and BLOCKED runs are retried"),
        };
        let now = self.shared.clock.now();
        let span = self.shared.workflows.get(&row.workflow).map_or(Duration::from_secs(24 * 3_600), |w| w.deadline);
        let mut buffer = Buffer::default();
        buffer.push(now, Kind::Reset(reset));
        let (entry, facts) = buffer.take();
        let reopen = Reopen {
            run,
            epoch: row.epoch,
            sequence: row.sequence,
            entry,
            facts,
            deadline: now.after(span),
            now,
            request,
        };
        let row = self.shared.store.reopen(reopen).await?;
        tracing::info!(run = %run, workflow = row.workflow, "run retry requested");
        self.shared.due.notify_one();
        Ok(row)
    }

    fn check_name(&self, limit: &'static str, text: &str) -> Result<(), EngineError> {
        let max = self.shared.limits.name_bytes;
        if text.len() > max {
            return Err(EngineError::LimitExceeded { limit, value: text.len() as u64, max: max as u64 });
        }
        Ok(())
    }
}
