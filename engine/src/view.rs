//! A run as people see it: its steps, read from its durable facts.

use std::collections::BTreeSet;

use bytes::Bytes;
use uuid::Uuid;

use crate::failure::{Code, Failure};
use crate::history::{History, number};
use crate::journal::{JournalError, Kind, load_failure};
use crate::journal_v1 as stored;
use crate::rpc::Level;
use crate::run::Ended;
use crate::state::State;
pub use crate::step_id::path;
use crate::store::{Message, RunRow};
use crate::time::Timestamp;

mod reader;

use reader::{Known, Reader};

/// A run with everything that is durable of it.
#[derive(Clone, Debug)]
pub struct Detail {
    /// The row of the run.
    pub row: RunRow,
    /// Full name of the input message.
    pub input_type: String,
    /// The encoded input message.
    pub input: Bytes,
    /// The encoded output message, if the run succeeded.
    pub output: Option<Bytes>,
    /// Why the run failed, if it did.
    pub failure: Option<Failure>,
    /// Its steps, in the order of their starts.
    pub steps: Vec<StepView>,
    /// Messages that no wait has received yet, oldest first.
    pub inbox: Vec<Message>,
    /// Paths of the steps that are left to undo, the next one first. Only where the run is ending, or was terminated.
    pub to_undo: Vec<String>,
    /// Paths of the steps of a terminated run of which no one knows whether they happened.
    pub uncertain: Vec<String>,
}

/// One journaled step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepView {
    /// Path of the branch; empty for the root.
    pub branch: String,
    /// Position on the branch, from 0.
    pub position: u32,
    /// Method path of a call, or the name the author gave.
    pub name: String,
    /// What kind of step it is.
    pub kind: StepKind,
    /// How far it has come.
    pub state: StepState,
    /// The level of a call; `None` for other steps.
    pub level: Option<Level>,
    /// Attempts so far; those that were not sent do not count.
    pub attempts: u32,
    /// Counts the times that the step was made again, from 1; 0 where it has no effects.
    pub incarnation: u32,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it settled; `None` if it has not.
    pub ended_at: Option<Timestamp>,
    /// When the next attempt is due; `None` if none is planned.
    pub next_attempt_at: Option<Timestamp>,
    /// The idempotency key of a call with effects.
    pub key: Option<String>,
    /// Reads do not store their request.
    pub request: Option<Bytes>,
    /// The encoded response of a call, or the value of another step.
    pub response: Option<Bytes>,
    /// Full name of the message that a wait for a signal or a child run brings.
    pub message_type: Option<String>,
    /// The run that is the child.
    pub child: Option<Uuid>,
    /// Why the step failed, or its last attempt.
    pub failure: Option<Failure>,
    /// The last attempts that failed, oldest first; at most [`FAILED_ATTEMPTS`].
    pub failed: Vec<FailedAttempt>,
    /// Whether an earlier attempt may have had the effect already.
    pub repeated: bool,
    /// Whether an attempt may have acted, and no usable answer says so.
    pub in_doubt: bool,
    /// Path of the step that this one takes back.
    pub undoes: Option<String>,
    /// Whether the step was taken back.
    pub undone: bool,
}

/// How many failed attempts of a step are told.
pub const FAILED_ATTEMPTS: usize = 20;

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq)]
pub struct FailedAttempt {
    /// Counts from 1.
    pub attempt: u32,
    /// When it failed.
    pub at: Timestamp,
    /// How.
    pub failure: Failure,
}

/// What a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// A call to a service.
    Call,
    /// A wait for a time.
    Sleep,
    /// A wait for a signal.
    Signal,
    /// A run of its own.
    Child,
    /// A local value.
    Record,
    /// A keyed branch for each of many items.
    FanOut,
    /// Several steps in a row as one.
    Branch,
    /// The first of several steps.
    Race,
}

/// How far a step has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepState {
    /// An attempt is under way.
    InFlight,
    /// An attempt failed, and the next one is due later.
    BackingOff,
    /// It settled with a result.
    Succeeded,
    /// It settled with a failure.
    Failed,
    /// It waits for a time, a message or a child run.
    Waiting,
    /// Only an operator can say whether it happened.
    NeedsDecision,
    /// A wait that a race was decided without, or a step that its run ended without.
    Withdrawn,
    /// A wait whose time passed before its message came.
    Expired,
}

impl StepView {
    /// The step's path, for example `recipient[u1]/SendPush#1`.
    pub fn path(&self) -> String {
        path(&self.branch, &self.name, self.position)
    }

    /// Adds the attempt that the failure is of, unless it was added when it failed.
    fn add_failed(&mut self, attempt: u32, at: Timestamp) {
        let Some(failure) = &self.failure else { return };
        if self.failed.last().is_some_and(|last| last.attempt == attempt && last.failure == *failure) {
            return;
        }
        if self.failed.len() == FAILED_ATTEMPTS {
            self.failed.remove(0);
        }
        self.failed.push(FailedAttempt { attempt, at, failure: failure.clone() });
    }

    /// What facts do not say: that the run ended without the step, and that a time has passed.
    fn as_of(&mut self, row: &RunRow, now: Timestamp) {
        let settled =
            matches!(self.state, StepState::Succeeded | StepState::Failed | StepState::Withdrawn | StepState::Expired);
        if row.status.state.is_end() && !settled {
            (self.state, self.ended_at, self.next_attempt_at) = (StepState::Withdrawn, row.ended_at, None);
        }
        if self.state == StepState::BackingOff && self.next_attempt_at.is_some_and(|at| at <= now) {
            self.next_attempt_at = None;
            // Nothing is written before a read is made again.
            if row.owned && self.level == Some(Level::NoSideEffects) {
                self.state = StepState::InFlight;
            }
        }
    }
}

impl Detail {
    /// Reads a run as it is at this time.
    pub(crate) fn read(row: RunRow, facts: Vec<stored::Fact>, now: Timestamp) -> Result<Self, JournalError> {
        let state = row.status.state;
        let left_open = row.status.ending_as.is_some() || matches!(state, State::Terminated | State::NeedsDecision);
        let [to_undo, uncertain, undecided] = if left_open { left(&row, facts.clone())? } else { Default::default() };
        let mut reader = Reader::over(&facts);
        let (facts, _) = crate::reset::apply(number(facts))?;
        let mut detail = Self {
            row,
            input_type: String::new(),
            input: Bytes::new(),
            output: None,
            failure: None,
            steps: Vec::new(),
            inbox: Vec::new(),
            to_undo,
            uncertain,
        };
        for (sequence, fact) in facts {
            let at = Timestamp::from_micros(fact.time_micros);
            match fact.kind.ok_or(JournalError::UnknownKind { sequence })? {
                Kind::Created(created) => {
                    let input = created.input.unwrap_or_default();
                    (detail.input_type, detail.input) = (input.type_name, input.value);
                }
                Kind::Ended(ended) => match ended.result {
                    Some(stored::ended::Result::Output(output)) => detail.output = Some(output),
                    Some(stored::ended::Result::Failure(failure)) => detail.failure = Some(load_failure(failure)),
                    None => {}
                },
                kind => reader.fact(sequence, at, kind)?,
            }
        }
        detail.steps = reader.steps;
        for step in detail.steps.iter_mut().filter(|step| undecided.contains(&step.path())) {
            (step.state, step.ended_at, step.next_attempt_at) = (StepState::NeedsDecision, None, None);
        }
        if detail.row.status.state == State::NeedsDecision && !detail.row.owned {
            // Of an attempt that was cut off no one wrote down how it ended.
            let cut_off = detail.steps.iter_mut().filter(|step| {
                step.state == StepState::InFlight && matches!(step.level, Some(Level::Unknown | Level::Keyed { .. }))
            });
            cut_off.for_each(|step| step.state = StepState::NeedsDecision);
        }
        let Self { row, steps, .. } = &mut detail;
        steps.iter_mut().for_each(|step| step.as_of(row, now));
        Ok(detail)
    }
}

impl From<Detail> for Ended {
    fn from(detail: Detail) -> Self {
        Self { row: detail.row, input: detail.input, output: detail.output, failure: detail.failure }
    }
}

/// Paths of the steps that a run has left to undo, the next one first; of those of which, after its end, no one knows
/// whether they happened; and of those that an operator has to decide before they can be undone.
fn left(row: &RunRow, facts: Vec<stored::Fact>) -> Result<[Vec<String>; 3], JournalError> {
    let (history, now) = (History::of(row, facts)?, row.updated_at);
    let terminated = history.ended.as_ref().is_some_and(|ended| ended.state() == stored::EndState::Terminated);
    let undoes = history
        .ending
        .is_some_and(|ending| matches!(ending.ending_as(), stored::EndState::Failed | stored::EndState::Cancelled));
    let left = history.undoables.iter().rev().filter(|undoable| (undoes || terminated) && undoable.is_left());
    let open = history.open.values().filter(|open| terminated && open.in_doubt());
    let mut uncertain: Vec<String> = open.map(|open| open.place.to_string()).collect();
    uncertain.sort_unstable();
    let undecided = history.open.values().filter(|open| !terminated && open.undecided(now));
    let undecided = undecided.map(|open| open.place.to_string()).collect();
    Ok([left.map(|undoable| undoable.place.to_string()).collect(), uncertain, undecided])
}

/// Where a failed run failed.
pub(crate) enum FailedAt {
    /// At this step; whether it is made again under a new key, since no attempt of it can have acted (semantics.md E7).
    Step(stored::Place, bool),
    /// At its deadline or a limit: its code did not end, and can continue from where it stood.
    Outside,
    /// Its code said so.
    Code,
}

/// Why a failed run failed, and the effects in doubt that its journal has.
pub(crate) fn failed_at(facts: Vec<stored::Fact>) -> Result<(FailedAt, BTreeSet<(String, u32)>), JournalError> {
    let (mut reader, mut failure) = (Reader::over(&facts), None);
    let (facts, _) = crate::reset::apply(number(facts))?;
    for (sequence, fact) in facts {
        let at = Timestamp::from_micros(fact.time_micros);
        match fact.kind.ok_or(JournalError::UnknownKind { sequence })? {
            Kind::Ended(stored::Ended { result: Some(stored::ended::Result::Failure(found)), .. }) => {
                failure = Some(found)
            }
            kind => reader.fact(sequence, at, kind)?,
        }
    }
    let outside = |code| matches!(Code::from_i32(code), Code::DeadlineExceeded | Code::ResourceExhausted);
    let place = failure.as_ref().and_then(|failure| failure.step.clone());
    let index = place.as_ref().and_then(|place| reader.by_id.get(&(place.branch.as_str().into(), place.position)));
    let at = match (place, index.map(|index| (&reader.steps[*index], reader.known[*index]))) {
        (Some(place), Some((view, Known { doubt, settled: Some(outcome) }))) => {
            // A wait that is over is not waited for once more: the step begins as another one.
            let over = view.kind != StepKind::Call || outcome == stored::Outcome::Refused;
            FailedAt::Step(place, over && !doubt.exists())
        }
        _ if failure.is_some_and(|failure| outside(failure.code)) => FailedAt::Outside,
        _ => FailedAt::Code,
    };
    let steps = reader.steps.iter().filter(|step| step.in_doubt && step.undoes.is_none() && !step.undone);
    Ok((at, steps.map(|step| (step.branch.clone(), step.position)).collect()))
}
