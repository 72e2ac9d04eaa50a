//! How operators cancel and stop runs, hurry them, end them by force, keep them and remove them.

use prost::Message as _;
use uuid::Uuid;

use super::{Engine, EngineError};
use crate::driver;
use crate::history::{History, PendingKind};
use crate::journal::Buffer;
use crate::journal_v1 as stored;
use crate::mailbox::{self, RunCommand};
use crate::state::State;
use crate::store::{ChildEndNotice, CommandKind, Pause, RelatedRuns, Requester, RunRow, Status, UnownedAppend};

impl Engine {
    /// Asks a run to end as CANCELLED. After the answer it starts nothing new.
    ///
    /// # Errors
    /// Where the run is unknown, has ended in another way, or the store fails.
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
    /// Where the run is unknown, in a state that is not paused (it ended, ends, is blocked or needs a decision), or the
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
    /// Where the run is unknown or not paused, or the store fails.
    pub async fn resume(&self, run: Uuid, asked: Requester) -> Result<RunRow, EngineError> {
        self.check_asked(&asked)?;
        let row = self.command(run, asked.to("ResumeRun", ""), CommandKind::Resume).await?;
        self.shared.due.notify_one();
        Ok(row)
    }

    /// Makes the next attempt of a step now, or of every step that waits for one.
    ///
    /// # Errors
    /// Where the run is unknown, no such step waits, or the store fails.
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
    /// Where the run is unknown or has ended, or the store fails.
    pub async fn terminate(&self, run: Uuid, asked: Requester) -> Result<RunRow, EngineError> {
        self.dispatch(run, RunCommand::Terminate, asked.to("TerminateRun", "")).await
    }

    /// Keeps a run from retention, or no more.
    ///
    /// # Errors
    /// Where the run is unknown, or the store fails.
    pub async fn pin(&self, run: Uuid, pinned: bool, asked: Requester) -> Result<RunRow, EngineError> {
        self.check_asked(&asked)?;
        let action = if pinned { "PinRun" } else { "UnpinRun" };
        self.command(run, asked.to(action, ""), CommandKind::Pin(pinned)).await
    }

    /// Removes a run that has ended, with its journal. Its audit entries stay.
    ///
    /// # Errors
    /// Where the run is unknown or has not ended, or the store fails.
    pub async fn delete(&self, run: Uuid, asked: Requester) -> Result<(), EngineError> {
        self.check_asked(&asked)?;
        self.command(run, asked.to("DeleteRun", ""), CommandKind::Delete).await.map(drop)
    }

    /// What a hurry does to a run that no replica holds.
    pub(super) fn no_pause(
        &self,
        row: &RunRow,
        facts: Vec<stored::Fact>,
        path: Option<&str>,
    ) -> Result<UnownedAppend, EngineError> {
        let (run, now) = (row.id, self.shared.clock.now());
        // Paused, although the replica that held it did not come to say so.
        let state = if row.paused.is_some() { State::Paused } else { row.status.state };
        let history = History::of(row, facts).map_err(|error| EngineError::Journal { run, error })?;
        // What surely did nothing is not made again by a run that is about to end, and all else immediately.
        let ends = row.cancel_requested.is_some() && row.status.ending_as.is_none();
        let mut buffer = Buffer::default();
        for open in history.open.values().filter(|_| !ends) {
            let waits = open.retry_at.is_some_and(|at| at > now) && !open.undecided(now);
            if waits && path.is_none_or(|path| open.place.to_string() == path) {
                let (step, place) = match open.kind {
                    PendingKind::Effect { sequence, .. } => (sequence, None),
                    _ => (0, Some(open.place.stored())),
                };
                buffer.push(now, stored::fact::Kind::BackOffSkipped(stored::BackOffSkipped { step, place }));
            }
        }
        let after_panic = path.is_none() && driver::backs_off_after_panic(&row.status);
        if matches!(state, State::Paused | State::Blocked) || (buffer.is_empty() && (!after_panic || ends)) {
            return Err(EngineError::Precondition { run, state, reason: driver::no_back_off(state, path) });
        }
        let status = Status { wake_at: Some(now), ..row.status.clone() };
        Ok(append(row, buffer, status))
    }

    /// What an end by force does to a run that no replica holds.
    pub(super) fn termination(
        &self,
        row: &RunRow,
        facts: Option<Vec<stored::Fact>>,
    ) -> Result<UnownedAppend, EngineError> {
        let (run, state) = (row.id, row.status.state);
        if state.is_end() {
            return Err(EngineError::Precondition { run, state, reason: "it has ended".to_owned() });
        }
        let failure = driver::terminated();
        let mut buffer = Buffer::default();
        let ended = driver::ended_by_force(&failure);
        buffer.push(self.shared.clock.now(), stored::fact::Kind::Ended(ended.clone()));
        let report = row.parent.map(|parent| {
            let end = stored::ChildEnded { run: run.to_string(), ended: Some(ended) };
            ChildEndNotice { parent, payload: end.encode_to_vec().into() }
        });
        // Of a journal that cannot be read no one knows the children.
        let history = facts.and_then(|facts| History::of(row, facts).ok());
        let open = history.iter().flat_map(|history| history.open.values());
        let cancels = open.filter_map(|open| open.kind.child());
        let related_runs = RelatedRuns { children: Vec::new(), cancels: cancels.collect(), report };
        let status = Status {
            state: State::Terminated,
            reason: String::new(),
            ending_as: None,
            wake_at: None,
            awaits: Vec::new(),
            steps: row.status.steps,
            error: Some((failure.code() as i32, failure.message().to_owned())),
        };
        Ok(UnownedAppend { related_runs: Some(Box::new(related_runs)), ..append(row, buffer, status) })
    }
}

fn append(row: &RunRow, mut buffer: Buffer, status: Status) -> UnownedAppend {
    let (entry, facts) = buffer.take();
    let (epoch, sequence, control, deadline) = (row.epoch, row.sequence, row.control, row.deadline);
    UnownedAppend { epoch, sequence, control, entry, facts, status, keeps_pause: false, deadline, related_runs: None }
}
