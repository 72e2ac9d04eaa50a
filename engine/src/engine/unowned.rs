//! What a command writes to a run that no replica holds.

use std::time::Duration;

use prost::Message as _;

use super::{Engine, EngineError};
use crate::history::History;
use crate::journal::{Buffer, Kind};
use crate::journal_v1 as stored;
use crate::run_command::{Refused, RunCommand, Subject};
use crate::state::State;
use crate::store::{ChildEndNotice, RelatedRuns, Requester, RunRow, Status, UnownedAppend};
use crate::time::Timestamp;

/// How long a retried run has if its workflow is not registered here.
const DEADLINE: Duration = Duration::from_secs(24 * 3_600);

impl Engine {
    pub(super) async fn unowned_append(
        &self,
        row: &RunRow,
        command: &RunCommand,
        asked: &Requester,
    ) -> Result<UnownedAppend, EngineError> {
        let (run, now) = (row.id, self.shared.clock.now());
        let refuse = |reason: Refused| EngineError::Precondition { run, state: row.status.state, reason };
        let history = |facts| History::of(row, facts).map_err(|error| EngineError::Journal { run, error });
        let mut buffer = Buffer::default();
        match command {
            RunCommand::Resolve(decision) => {
                let subject = Subject::of(row, &history(self.facts(row).await?)?, now);
                let resolution = subject.resolve(decision, asked, now).map_err(refuse)?;
                if let Some((step, _)) = &subject.steps[resolution.step].undecided {
                    buffer.push(now, resolution.fact);
                    decision.end(*step).into_iter().for_each(|end| buffer.push(now, end));
                }
                let status = match row.status.state {
                    State::Paused => row.status.clone(),
                    _ => continuing(&row.status, now),
                };
                Ok(UnownedAppend { keeps_pause: true, ..append(row, buffer, status) })
            }
            RunCommand::SkipBackOff(path) => {
                let subject = Subject::of(row, &history(self.facts(row).await?)?, now);
                let skips = subject.skip_back_off(path.as_deref(), now).map_err(refuse)?;
                skips.into_iter().for_each(|(_, fact)| buffer.push(now, fact));
                Ok(append(row, buffer, Status { wake_at: Some(now), ..row.status.clone() }))
            }
            RunCommand::Terminate => {
                let (ended, failure) = Subject::terminate(row.status.state).map_err(refuse)?;
                buffer.push(now, Kind::Ended(ended.clone()));
                // Works for a journal that cannot be read, too: then the children are not known.
                let history = self.facts(row).await.ok().and_then(|facts| history(facts).ok());
                let related_runs = told(row, history.as_ref(), ended);
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
            RunCommand::Retry(step) => {
                let facts = self.facts(row).await?;
                let fact = self.decide_retry(row, facts, step.as_deref(), asked.reason.clone()).await?;
                buffer.push(now, fact);
                let status = continuing(&row.status, now);
                // A run whose undo failed continues to end; every other one has all its time before it.
                if row.status.ending_as.is_some() {
                    return Ok(append(row, buffer, status));
                }
                let span = self.shared.workflows.get(&row.workflow).map_or(DEADLINE, |workflow| workflow.deadline);
                let append = append(row, buffer, Status { error: None, ..status });
                Ok(UnownedAppend { deadline: now.after(span), ..append })
            }
        }
    }
}

/// What an end by force tells the run's children and its parent.
fn told(row: &RunRow, history: Option<&History>, ended: stored::Ended) -> RelatedRuns {
    let open = history.into_iter().flat_map(|history| history.open.values());
    let cancels = open.filter_map(|open| open.kind.child()).collect();
    let report = row.parent.map(|parent| {
        let end = stored::ChildEnded { run: row.id.to_string(), ended: Some(ended) };
        ChildEndNotice { parent, payload: end.encode_to_vec().into() }
    });
    RelatedRuns { children: Vec::new(), cancels, report }
}

/// The status of a run that is stopped and continues now, towards the end it was going to.
fn continuing(status: &Status, now: Timestamp) -> Status {
    let state = if status.ending_as.is_some() { State::Ending } else { State::Pending };
    Status { state, reason: String::new(), wake_at: Some(now), ..status.clone() }
}

fn append(row: &RunRow, mut buffer: Buffer, status: Status) -> UnownedAppend {
    let (entry, facts) = buffer.take();
    let (epoch, sequence, control, deadline) = (row.epoch, row.sequence, row.control, row.deadline);
    UnownedAppend { epoch, sequence, control, entry, facts, status, keeps_pause: false, deadline, related_runs: None }
}
