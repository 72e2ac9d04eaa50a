//! How operators steer a run.

use std::time::Duration;

use uuid::Uuid;

use super::decisions::going_on;
use super::{Engine, EngineError};
use crate::driver;
use crate::journal::{Buffer, Kind};
use crate::journal_v1 as stored;
use crate::state::State;
use crate::store::{Amend, Asked, Order, RunRow, Status};
use crate::view;

impl Engine {
    /// Asks a run to end as CANCELLED. After the answer it starts nothing new.
    ///
    /// # Errors
    /// Where the run is unknown, has ended in another way, or the store fails.
    pub async fn cancel(&self, run: Uuid, asked: Asked) -> Result<RunRow, EngineError> {
        self.check_asked(&asked)?;
        let row = self.command(run, asked.to("CancelRun", ""), Order::Cancel).await?;
        self.shared.tell(run, driver::CANCEL);
        Ok(row)
    }

    /// Goes on with a failed run from the step that failed, or with a blocked one from where it stands.
    ///
    /// # Errors
    /// Where the run is unknown, in another state, failed by its own code, or the store fails.
    pub async fn retry(&self, run: Uuid, asked: Asked) -> Result<RunRow, EngineError> {
        self.check_asked(&asked)?;
        let reason = asked.reason.clone();
        let change = asked.to("RetryRun", "");
        if let Some(row) = self.done_before(&change).await? {
            return Ok(row);
        }
        let row = self.row(run).await?;
        let facts = self.facts(&row).await?;
        let refuse =
            |reason: &str| Err(EngineError::Precondition { run, state: row.status.state, reason: reason.to_owned() });
        let reset = match row.status.state {
            State::Blocked if !row.owned => {
                let keeps_ending = row.status.ending_as.is_some();
                stored::Reset { reason, keeps_ending, ..stored::Reset::default() }
            }
            State::Failed => match view::failed_step(facts) {
                Some((place, refused)) => {
                    stored::Reset { place: Some(place), new_incarnation: refused, reason, ..stored::Reset::default() }
                }
                None => return refuse("it failed by its workflow's own decision, not at a step; start a new run"),
            },
            _ => return refuse("only FAILED and BLOCKED runs are retried"),
        };
        let now = self.shared.clock.now();
        let span = self.shared.workflows.get(&row.workflow).map_or(Duration::from_secs(24 * 3_600), |w| w.deadline);
        let mut buffer = Buffer::default();
        buffer.push(now, Kind::Reset(reset));
        let (entry, facts) = buffer.take();
        let (epoch, sequence, control) = (row.epoch, row.sequence, row.control);
        // A run whose undo failed goes on to end; every other one has all its time before it.
        let (status, deadline) = match row.status.ending_as {
            Some(_) => (going_on(&row.status, now), row.deadline),
            None => (Status { error: None, ..going_on(&row.status, now) }, now.after(span)),
        };
        let amend = Amend { epoch, sequence, control, entry, facts, status, deadline };
        let row = self.command(run, change, Order::Amend(Box::new(amend))).await?;
        self.shared.due.notify_one();
        Ok(row)
    }

    pub(super) fn check_asked(&self, asked: &Asked) -> Result<(), EngineError> {
        let max = self.shared.limits.name_bytes;
        for (limit, text) in [("reason", &asked.reason), ("caller", &asked.caller)] {
            if text.len() > max {
                return Err(EngineError::LimitExceeded { limit, value: text.len() as u64, max: max as u64 });
            }
        }
        Ok(())
    }
}
