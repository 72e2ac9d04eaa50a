//! How a command reaches a run: its driver carries it out if it is in memory here, the store if no replica holds it. One that
//! another replica holds is asked for first.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use super::others::Recalled;
use super::{Engine, EngineError};
use crate::mailbox::{self, PendingCommand};
use crate::run_command::RunCommand;
use crate::state::State;
use crate::store::{AuditedChange, Command, CommandKind, Requester, RunRow, StoreError};

/// A run that comes into memory, or leaves it, is asked again for this long,
const WITHIN: Duration = Duration::from_secs(1);
/// one that another replica holds for this long, since a call of it may have to settle,
const WITHIN_OF_OTHERS: Duration = Duration::from_secs(30);
/// with this pause in between.
const PAUSE: Duration = Duration::from_millis(20);

/// Says why the store refused the command.
fn refused(error: StoreError, kind: &CommandKind) -> EngineError {
    let StoreError::Precondition { run, state } = error else { return error.into() };
    let reason = match (kind, state) {
        (CommandKind::Delete, _) => "it has not ended: cancel it, or end it by force".to_owned(),
        (CommandKind::Resume, state) if !state.is_end() => "it is not paused".to_owned(),
        (_, state) if state.is_end() => format!("it has ended as {state}"),
        (CommandKind::Pause(_), State::Blocked) => {
            "it is blocked, so it does nothing: retry it, or cancel it".to_owned()
        }
        (CommandKind::Pause(_) | CommandKind::Signal(_), _) => "it is about to end".to_owned(),
        (_, state) => format!("{state} does not allow it"),
    };
    EngineError::Precondition { run, state, reason }
}

impl Engine {
    pub(super) fn check_asked(&self, asked: &Requester) -> Result<(), EngineError> {
        let max = self.shared.limits.name_bytes;
        for (limit, text) in [("reason", &asked.reason), ("caller", &asked.caller)] {
            if text.len() > max {
                return Err(EngineError::LimitExceeded { limit, value: text.len() as u64, max: max as u64 });
            }
        }
        Ok(())
    }

    pub(super) async fn row(&self, run: Uuid) -> Result<RunRow, EngineError> {
        self.shared.store.run(run).await?.ok_or(EngineError::NotFound(run))
    }

    /// Has the run do it, and answers when it is durable.
    pub(super) async fn dispatch(
        &self,
        run: Uuid,
        command: RunCommand,
        change: AuditedChange,
    ) -> Result<RunRow, EngineError> {
        self.check_asked(&change.asked)?;
        let _turn = self.loops.requests.turn(&change).await;
        let (begun, mut recalled) = (Instant::now(), Recalled::default());
        loop {
            if let Some(row) = self.done_before(&change).await? {
                return Ok(row);
            }
            match self.dispatch_once(run, &command, &change).await {
                // The answer of the store was lost, and the change was made all the same.
                Err(error @ EngineError::Precondition { .. }) => {
                    return self.done_before(&change).await?.ok_or(error);
                }
                Err(EngineError::Conflict(_)) => {}
                answer => return answer,
            }
            let elsewhere = self.recall(run, &command, &mut recalled).await?;
            if begun.elapsed() > if elsewhere { WITHIN_OF_OTHERS } else { WITHIN } {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(EngineError::Conflict(run))
    }

    async fn dispatch_once(
        &self,
        run: Uuid,
        command: &RunCommand,
        change: &AuditedChange,
    ) -> Result<RunRow, EngineError> {
        let mut row = None;
        if !self.shared.runs.contains(run) {
            row = Some(self.row(run).await?).filter(|row| !row.owned);
        }
        let Some(row) = row else {
            let (answer, done) = oneshot::channel();
            self.shared.runs.command(run, PendingCommand { command: command.clone(), change: change.clone(), answer });
            return match done.await {
                Ok(Ok(row)) => Ok(row),
                Ok(Err(reason)) => {
                    let state = self.row(run).await?.status.state;
                    Err(EngineError::Precondition { run, state, reason })
                }
                Err(_gone) => Err(EngineError::Conflict(run)),
            };
        };
        let append = self.unowned_append(&row, command, &change.asked).await?;
        let related_runs = append.related_runs.clone();
        let row = self.command(run, change.clone(), CommandKind::Append(Box::new(append))).await?;
        self.shared.due.notify_one();
        if let Some(related_runs) = related_runs {
            related_runs.cancels.iter().for_each(|child| self.shared.tell(*child, mailbox::CANCEL));
            related_runs.report.iter().for_each(|report| self.shared.tell(report.parent, mailbox::MESSAGE));
        }
        Ok(row)
    }

    pub(super) async fn command(
        &self,
        run: Uuid,
        change: AuditedChange,
        kind: CommandKind,
    ) -> Result<RunRow, EngineError> {
        let now = self.shared.clock.now();
        let (action, caller) = (change.action, change.asked.caller.clone());
        let command = Command { run, now, change, kind };
        let row = match self.shared.store.command(command.clone()).await {
            Ok(row) => row,
            Err(error) => {
                // It may have made the run due all the same.
                self.shared.due.notify_one();
                return Err(refused(error, &command.kind));
            }
        };
        if let Some(origin) = row.origin.as_ref().filter(|_| row.status.state.is_end()) {
            self.loops.bell.ended(&origin.schedule);
        }
        tracing::info!(run = %run, workflow = row.workflow, action, caller, "run changed by an operator");
        if !row.owned && (row.status.state.is_end() || row.paused.is_some()) {
            // It does not wait for a service any more.
            self.shared.outage_waiters.remove(run);
        }
        if row.status.state.is_end() && self.shared.watchers.is_watched(run) {
            // No one else tells of an end that the store wrote. Not awaited: who gave the command may leave.
            let engine = self.clone();
            tokio::spawn(async move { engine.look_for_end(run).await });
        }
        Ok(row)
    }
}
