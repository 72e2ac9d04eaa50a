//! What the commands of operators to one run mean: whether they are refused, and which facts they are. Decided in one place,
//! whether a replica holds the run or not.

use crate::decision::{Decision, Undecided};
use crate::failure::{Code, Failure};
use crate::history::{History, PendingKind, PendingStep};
use crate::journal::{Kind, store_failure};
use crate::journal_v1 as stored;
use crate::state::State;
use crate::store::{Requester, RunRow, Status};
use crate::time::Timestamp;

/// Something that an operator asks of one run.
#[derive(Clone, Debug)]
pub(crate) enum RunCommand {
    Resolve(Decision),
    /// Makes the next attempt of one step, or of every one, without waiting for its time.
    SkipBackOff(Option<String>),
    /// Ends the run immediately: nothing settles, nothing is undone.
    Terminate,
    /// Continues with a failed or blocked run, from this step if one is named. Decided from the journal only: a run in
    /// memory is not in such a state, or is about to leave memory.
    Retry(Option<String>),
}

/// Why the run does not do it.
pub(crate) type Refused = String;

/// What a command sees of a run. Its driver knows it; of a run that no replica holds, row and journal say it.
pub(crate) struct Subject {
    /// PAUSED as soon as an operator said so.
    pub(crate) state: State,
    /// Whether it is known which steps need a decision. If the replica of a run died, that is known as soon as it is claimed.
    pub(crate) knows_doubts: bool,
    /// Whether the row says that the run waits because its code panicked.
    pub(crate) after_panic: bool,
    /// Whether it is about to begin to end. Then it makes nothing again that surely did nothing.
    pub(crate) begins_to_end: bool,
    pub(crate) steps: Vec<SubjectStep>,
}

/// An open step of a run.
pub(crate) struct SubjectStep {
    pub(crate) path: String,
    /// How a fact names it.
    pub(crate) reference: (u64, Option<stored::Place>),
    /// When its next attempt is made, if it waits for that.
    pub(crate) next_attempt: Option<Timestamp>,
    /// Number of its start and what is known of it, if only an operator can say what becomes of it.
    pub(crate) undecided: Option<(u64, Undecided)>,
}

/// The step that a decision is about, by its place in the list, and the fact that the decision is.
pub(crate) struct Resolution {
    pub(crate) step: usize,
    pub(crate) fact: Kind,
}

/// The steps whose back-off is skipped, by their place in the list, and the facts.
pub(crate) type Skips = Vec<(usize, Kind)>;

impl Subject {
    /// A run that no replica holds.
    pub(crate) fn of(row: &RunRow, history: &History, now: Timestamp) -> Self {
        Self {
            // Paused, although the replica that held it did not come to say so.
            state: if row.paused.is_some() { State::Paused } else { row.status.state },
            knows_doubts: matches!(row.status.state, State::NeedsDecision | State::Paused),
            after_panic: backs_off_after_panic(&row.status),
            begins_to_end: row.cancel_requested.is_some() && row.status.ending_as.is_none(),
            steps: history.open.values().map(|open| SubjectStep::of(open, now)).collect(),
        }
    }

    /// What a decision about a step in doubt does.
    pub(crate) fn resolve(
        &self,
        decision: &Decision,
        asked: &Requester,
        now: Timestamp,
    ) -> Result<Resolution, Refused> {
        let nothing = || format!("{} needs no decision", decision.step);
        if !self.knows_doubts {
            return Err(nothing());
        }
        let step = self.steps.iter().position(|step| step.path == decision.step).ok_or_else(nothing)?;
        let (sequence, undecided) = self.steps[step].undecided.as_ref().ok_or_else(nothing)?;
        decision.check(undecided, now)?;
        Ok(Resolution { step, fact: decision.fact(*sequence, asked) })
    }

    /// What skipping the back-off of one step, or of all, does. None: only the pause after a panic is skipped.
    pub(crate) fn skip_back_off(&self, path: Option<&str>, now: Timestamp) -> Result<Skips, Refused> {
        let refused = |reason: &str| Err(reason.to_owned());
        match self.state {
            State::Paused => return refused("it is paused; resume it"),
            State::Blocked => return refused("it is blocked; retry it"),
            _ => {}
        }
        let waits = |step: &&SubjectStep| {
            !self.begins_to_end
                && step.next_attempt.is_some_and(|at| at > now)
                && path.is_none_or(|path| step.path == path)
        };
        let skips: Skips = self
            .steps
            .iter()
            .enumerate()
            .filter(|(_, step)| waits(step))
            .map(|(at, step)| {
                let (step, place) = step.reference.clone();
                (at, Kind::BackOffSkipped(stored::BackOffSkipped { step, place }))
            })
            .collect();
        match path {
            _ if !skips.is_empty() => Ok(skips),
            None if self.after_panic && !self.begins_to_end => Ok(skips),
            None => refused("no step waits for its next attempt"),
            Some(path) => refused(&format!("{path} does not wait for its next attempt")),
        }
    }

    /// The last fact of a run that is ended by force, and its failure.
    pub(crate) fn terminate(state: State) -> Result<(stored::Ended, Failure), Refused> {
        if state.is_end() {
            return Err("it has ended".to_owned());
        }
        let failure = Failure::new(Code::Aborted, "an operator terminated the run");
        let result = Some(stored::ended::Result::Failure(store_failure(&failure)));
        Ok((stored::Ended { state: stored::EndState::Terminated.into(), result }, failure))
    }
}

impl SubjectStep {
    fn of(open: &PendingStep, now: Timestamp) -> Self {
        let (reference, undecided) = match open.kind {
            PendingKind::Effect { sequence, incarnation, deadline, .. } => {
                let undecided = Undecided { incarnation, attempt: open.attempts, deadline };
                ((sequence, None), open.undecided(now).then_some((sequence, undecided)))
            }
            _ => ((0, Some(open.place.stored())), None),
        };
        let next_attempt = open.retry_at.filter(|_| undecided.is_none());
        Self { path: open.place.to_string(), reference, next_attempt, undecided }
    }
}

/// Why a run is not retried that has not failed. One that is `blocked` has something in flight that settles first.
pub(crate) fn not_retried(blocked: bool) -> Refused {
    let settles = "a call that it sent before it was blocked has no answer yet; retry it then";
    let reason = if blocked { settles } else { "it is continuing; only FAILED and BLOCKED runs are retried" };
    reason.to_owned()
}

/// What the reason of a run begins with that waits because its code panicked.
pub(crate) const PANICKED: &str = "PANICKED";

/// Whether a run waits because its code panicked.
pub(crate) fn backs_off_after_panic(status: &Status) -> bool {
    status.reason.split(':').next() == Some(PANICKED)
}
