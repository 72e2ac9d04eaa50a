//! How operators settle what no one can know: whether a call of unstated level happened (semantics.md S6).

use uuid::Uuid;

use super::{Engine, EngineError};
use crate::decision::{Decision, Undecided, Verdict};
use crate::history::{History, PendingKind};
use crate::journal::Buffer;
use crate::journal_v1 as stored;
use crate::mailbox::RunCommand;
use crate::state::State;
use crate::store::{Requester, RunRow, Status, UnownedAppend};

impl Engine {
    /// Decides what became of a call that may or may not have happened; then the run continues.
    ///
    /// # Errors
    /// Where the run is unknown, the step is not in doubt or no longer as the decision says, it is too early to ask
    /// again, the response is too large, or the store fails.
    pub async fn resolve(&self, run: Uuid, decision: Decision, asked: Requester) -> Result<RunRow, EngineError> {
        let max = self.shared.limits.payload_bytes;
        if let Verdict::Happened(response) = &decision.verdict
            && response.len() > max
        {
            let value = response.len() as u64;
            return Err(EngineError::LimitExceeded { limit: "payload_bytes", value, max: max as u64 });
        }
        let detail = format!("{} (attempt {}): {}", decision.step, decision.attempt, decision.verdict.name());
        self.dispatch(run, RunCommand::Resolve(decision), asked.to("ResolveStep", detail)).await
    }

    /// What a decision does to a run that no replica holds.
    pub(super) fn resolution(
        &self,
        row: &RunRow,
        facts: Vec<stored::Fact>,
        decision: &Decision,
        asked: &Requester,
    ) -> Result<UnownedAppend, EngineError> {
        let run = row.id;
        let refuse = |reason: String| EngineError::Precondition { run, state: row.status.state, reason };
        let now = self.shared.clock.now();
        let history = History::of(row, facts).map_err(|error| EngineError::Journal { run, error })?;
        let nothing = || refuse(format!("{} needs no decision", decision.step));
        if !matches!(row.status.state, State::NeedsDecision | State::Paused) {
            return Err(nothing());
        }
        let open = history.open.values().find(|open| open.place.to_string() == decision.step).ok_or_else(nothing)?;
        let PendingKind::Effect { sequence, incarnation, deadline, .. } = open.kind else { return Err(nothing()) };
        if !open.undecided(now) {
            return Err(nothing());
        }
        decision.check(&Undecided { incarnation, attempt: open.attempts, deadline }, now).map_err(refuse)?;

        let mut buffer = Buffer::default();
        buffer.push(now, decision.fact(sequence, asked));
        if let Some(end) = decision.end(sequence) {
            buffer.push(now, end);
        }
        let (entry, facts) = buffer.take();
        let status = match row.status.state {
            State::Paused => row.status.clone(),
            _ => going_on(&row.status, now),
        };
        let (epoch, sequence, control, deadline) = (row.epoch, row.sequence, row.control, row.deadline);
        Ok(UnownedAppend {
            epoch,
            sequence,
            control,
            entry,
            facts,
            status,
            keeps_pause: true,
            deadline,
            related_runs: None,
        })
    }
}

/// The status of a run that is stopped and continues now, towards the end it was going to.
pub(super) fn going_on(status: &Status, now: crate::time::Timestamp) -> Status {
    let state = if status.ending_as.is_some() { State::Ending } else { State::Pending };
    Status { state, reason: String::new(), wake_at: Some(now), ..status.clone() }
}
