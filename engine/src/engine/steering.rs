//! How operators cancel and stop runs, hurry them, end them by force, keep them and remove them.

use uuid::Uuid;

use super::{Engine, EngineError};
use crate::mailbox;
use crate::run_command::RunCommand;
use crate::store::{CommandKind, Pause, Requester, RunRow};

impl Engine {
    /// Asks a run to end as CANCELLED. After the answer it starts nothing new.
    ///
    /// # Errors
    /// If the run is unknown, has ended in another way, or the store fails.
    pub async fn cancel(&self, run: Uuid, asked: Requester) -> Result<RunRow, EngineError> {
        self.check_asked(&asked)?;
        let row = self.command(run, asked.to("CancelRun", ""), CommandKind::Cancel).await?;
        self.shared.tell(run, mailbox::CANCEL);
        Ok(row)
    }

    /// Stops a run: after the answer it starts nothing new; what is in flight settles. With `stops_clock` its deadline
    /// moves by the time that the pause takes.
    ///
    /// # Errors
    /// If the run is unknown, in a state that is not paused (it ended, ends, is blocked or needs a decision), or the
    /// store fails.
    pub async fn pause(&self, run: Uuid, stops_clock: bool, asked: Requester) -> Result<RunRow, EngineError> {
        self.check_asked(&asked)?;
        let detail = if stops_clock { "its clock stands" } else { "its clock continues" };
        let change = asked.to("PauseRun", detail);
        if let Some(row) = self.done_before(&change).await? {
            return Ok(row);
        }
        let row = self.row(run).await?;
        let budget =
            self.shared.workflows.get(&row.workflow).map_or(std::time::Duration::ZERO, |workflow| workflow.undo_budget);
        let pause = Pause { stops_clock, wake_at: row.deadline.before(budget) };
        let row = self.command(run, change, CommandKind::Pause(pause)).await?;
        let paused = row.paused.as_ref();
        let stops_clock = paused.is_some_and(|paused| paused.stops_clock);
        if paused.is_some() {
            self.shared.tell(run, mailbox::PAUSE | if stops_clock { mailbox::STOP_CLOCK } else { 0 });
        }
        Ok(row)
    }

    /// Lets a paused run continue.
    ///
    /// # Errors
    /// If the run is unknown or not paused, or the store fails.
    pub async fn resume(&self, run: Uuid, asked: Requester) -> Result<RunRow, EngineError> {
        self.check_asked(&asked)?;
        let row = self.command(run, asked.to("ResumeRun", ""), CommandKind::Resume).await?;
        self.shared.due.notify_one();
        Ok(row)
    }

    /// Makes the next attempt of a step now, or of every step that waits for one.
    ///
    /// # Errors
    /// If the run is unknown, no such step waits, or the store fails.
    pub async fn skip_back_off(
        &self,
        run: Uuid,
        step: Option<String>,
        asked: Requester,
    ) -> Result<RunRow, EngineError> {
        let detail = step.clone().unwrap_or_default();
        self.dispatch(run, RunCommand::SkipBackOff(step), asked.to("SkipBackOff", detail)).await
    }

    /// Ends a run immediately as TERMINATED, whatever it does: nothing settles and nothing is undone. What is uncertain by
    /// that, and what is not undone, is in its [`Detail`](crate::view::Detail).
    ///
    /// # Errors
    /// If the run is unknown or has ended, or the store fails.
    pub async fn terminate(&self, run: Uuid, asked: Requester) -> Result<RunRow, EngineError> {
        self.dispatch(run, RunCommand::Terminate, asked.to("TerminateRun", "")).await
    }

    /// Keeps a run from retention, or no more.
    ///
    /// # Errors
    /// If the run is unknown, or the store fails.
    pub async fn pin(&self, run: Uuid, pinned: bool, asked: Requester) -> Result<RunRow, EngineError> {
        self.check_asked(&asked)?;
        let action = if pinned { "PinRun" } else { "UnpinRun" };
        self.command(run, asked.to(action, ""), CommandKind::Pin(pinned)).await
    }

    /// Removes a run that has ended, with its journal. Its audit entries stay.
    ///
    /// # Errors
    /// If the run is unknown or has not ended, or the store fails.
    pub async fn delete(&self, run: Uuid, asked: Requester) -> Result<(), EngineError> {
        self.check_asked(&asked)?;
        self.command(run, asked.to("DeleteRun", ""), CommandKind::Delete).await.map(drop)
    }
}
