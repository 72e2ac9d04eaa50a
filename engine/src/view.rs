//! A run as people see it: its steps, read from its durable facts.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::doubt::Doubt;
use crate::failure::{Code, Failure};
use crate::history::{History, number};
use crate::journal::{JournalError, Kind, Steps, load_failure, load_level};
use crate::journal_v1 as stored;
use crate::rpc::Level;
use crate::run::Ended;
use crate::state::State;
use crate::step_id::StepId;
pub use crate::step_id::path;
use crate::store::{Message, RunRow};
use crate::time::Timestamp;
use crate::undo;

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
        let mut reader = Reader { paths: undoable_paths(&facts), ..Reader::default() };
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
    let (mut reader, mut failure) = (Reader { paths: undoable_paths(&facts), ..Reader::default() }, None);
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

/// What is known of the attempts of one step.
#[derive(Clone, Copy, Default)]
struct Known {
    doubt: Doubt,
    /// How the step settled, if it did.
    settled: Option<stored::Outcome>,
}

/// Where steps with an undo are, by the sequence numbers of their starts.
fn undoable_paths(facts: &[stored::Fact]) -> HashMap<u64, String> {
    let starts = (1..).zip(facts).filter_map(|(sequence, fact)| match &fact.kind {
        Some(Kind::StepStarted(started)) if started.undo.is_some() || started.undo_by_response => {
            started.place.as_ref().map(|place| (sequence, path(&place.branch, &place.name, place.position)))
        }
        _ => None,
    });
    starts.collect()
}

#[derive(Default)]
struct Reader {
    steps: Vec<StepView>,
    ids: Steps,
    by_id: HashMap<(Arc<str>, u32), usize>,
    /// Which step an undo takes back, by the sequence number of the undo's start.
    undos: HashMap<u64, usize>,
    /// Paths of the steps with an undo, those that a retry forgot included, by the sequence numbers of their starts.
    paths: HashMap<u64, String>,
    /// What is known of the attempts of each step.
    known: Vec<Known>,
    /// The step that the last fact spoke of.
    touched: usize,
}

impl Reader {
    fn step(&mut self, id: &StepId, kind: StepKind, at: Timestamp) -> &mut StepView {
        let index = *self.by_id.entry((Arc::clone(&id.branch), id.position)).or_insert(self.steps.len());
        self.touched = index;
        if index == self.steps.len() {
            self.known.push(Known::default());
            self.steps.push(StepView {
                branch: id.branch.as_ref().to_owned(),
                position: id.position,
                name: id.name.clone().into_owned(),
                kind,
                state: StepState::InFlight,
                level: None,
                attempts: 0,
                incarnation: 0,
                started_at: at,
                ended_at: None,
                next_attempt_at: None,
                key: None,
                request: None,
                response: None,
                message_type: None,
                child: None,
                failure: None,
                failed: Vec::new(),
                repeated: false,
                in_doubt: false,
                undoes: None,
                undone: false,
            });
        }
        &mut self.steps[index]
    }

    fn index_of(&self, id: &StepId) -> Option<usize> {
        self.by_id.get(&(Arc::clone(&id.branch), id.position)).copied()
    }

    /// The step of a fact that does not say what kind of step it is: if it is the first, of a read.
    fn spoken_of(&mut self, id: &StepId, at: Timestamp) -> &mut StepView {
        match self.index_of(id) {
            Some(index) => {
                self.touched = index;
                &mut self.steps[index]
            }
            None => {
                let view = self.step(id, StepKind::Call, at);
                view.level.get_or_insert(Level::NoSideEffects);
                view
            }
        }
    }

    fn fact(&mut self, sequence: u64, at: Timestamp, kind: Kind) -> Result<(), JournalError> {
        let id = self.ids.of(sequence, &kind)?.unwrap_or_default();
        match kind {
            Kind::StepStarted(started) => {
                let level = load_level(started.level(), started.dedupe_horizon_seconds);
                let view = self.step(&id, StepKind::Call, at);
                view.level = Some(level);
                view.incarnation = started.incarnation;
                // An undo that failed and is made again counts again, as decisions do.
                view.attempts = if view.ended_at.is_some() { 1 } else { view.attempts + 1 };
                view.state = StepState::InFlight;
                view.key = Some(started.key);
                view.request = Some(started.request);
                view.ended_at = None;
                self.known(|known| known.doubt.begin());
                let undone = self.ids.started(sequence, started.undoes).ok().and_then(|undone| self.index_of(undone));
                if let Some(path) = self.paths.get(&started.undoes) {
                    self.steps[self.touched].undoes = Some(path.clone());
                }
                self.undos.extend(undone.map(|undone| (sequence, undone)));
            }
            Kind::AttemptStarted(attempt) => {
                let view = self.spoken_of(&id, at);
                view.attempts = attempt.attempt;
                view.state = StepState::InFlight;
                view.next_attempt_at = None;
                view.ended_at = None;
                self.known(|known| known.doubt.begin());
            }
            Kind::AttemptFailed(failed) => {
                let outcome = failed.outcome();
                let view = self.spoken_of(&id, at);
                view.attempts = failed.attempt;
                view.failure = failed.failure.map(load_failure);
                view.add_failed(failed.attempt, at);
                view.next_attempt_at =
                    (failed.retry_at_micros != 0).then(|| Timestamp::from_micros(failed.retry_at_micros));
                view.state =
                    if view.next_attempt_at.is_some() { StepState::BackingOff } else { StepState::NeedsDecision };
                self.known(|known| known.doubt.fail(outcome));
            }
            Kind::StepSettled(settled) => {
                let outcome = settled.outcome();
                if let Some(undone) = self.undos.get(&settled.step).filter(|_| undo::takes_back(&settled)) {
                    self.steps[*undone].undone = true;
                }
                let view = self.spoken_of(&id, at);
                view.attempts = view.attempts.max(settled.attempts);
                view.ended_at = Some(at);
                view.next_attempt_at = None;
                view.repeated = settled.repeated;
                if settled.begun_micros != 0 {
                    view.started_at = view.started_at.min(Timestamp::from_micros(settled.begun_micros));
                }
                match settled.result {
                    Some(stored::step_settled::Result::Failure(failure)) => {
                        view.state = StepState::Failed;
                        view.failure = Some(load_failure(failure));
                        if view.kind == StepKind::Call {
                            view.add_failed(view.attempts, at);
                        }
                    }
                    Some(stored::step_settled::Result::Response(response))
                        if matches!(view.kind, StepKind::Call | StepKind::Signal | StepKind::Child) =>
                    {
                        view.state = StepState::Succeeded;
                        view.response = Some(response);
                    }
                    None if view.kind == StepKind::Signal => view.state = StepState::Expired,
                    _ => view.state = StepState::Succeeded,
                }
                let failed = view.state == StepState::Failed;
                self.known(|known| {
                    known.settled = Some(outcome);
                    if failed { known.doubt.fail(outcome) } else { known.doubt.clear() }
                });
            }
            Kind::Recorded(_) => {
                let view = self.step(&id, StepKind::Record, at);
                view.state = StepState::Succeeded;
                view.ended_at = Some(at);
            }
            Kind::SleepStarted(sleep) => {
                let view = self.step(&id, StepKind::Sleep, at);
                view.state = StepState::Waiting;
                view.next_attempt_at = Some(Timestamp::from_micros(sleep.until_micros));
            }
            Kind::SignalAwaited(wait) => {
                let view = self.step(&id, StepKind::Signal, at);
                view.state = StepState::Waiting;
                view.next_attempt_at = (wait.until_micros != 0).then(|| Timestamp::from_micros(wait.until_micros));
                view.message_type = Some(wait.type_name);
            }
            Kind::ChildStarted(child) => {
                let view = self.step(&id, StepKind::Child, at);
                view.message_type = Some(child.output_type);
                view.child = Uuid::try_parse(&child.run).ok();
            }
            Kind::FanOutStarted(_) => {
                let view = self.step(&id, StepKind::FanOut, at);
                view.state = StepState::Succeeded;
            }
            Kind::BranchStarted(_) => {
                self.step(&id, StepKind::Branch, at).state = StepState::Succeeded;
            }
            Kind::RaceDecided(raced) => {
                let view = self.step(&id, StepKind::Race, at);
                view.state = StepState::Succeeded;
                view.ended_at = Some(at);
                for step in raced.withdrawn {
                    let lost = self.ids.started(sequence, step)?.clone();
                    let view = self.spoken_of(&lost, at);
                    view.state = StepState::Withdrawn;
                    view.ended_at = Some(at);
                    view.next_attempt_at = None;
                }
            }
            Kind::Decided(decided) => {
                let view = self.spoken_of(&id, at);
                if decided.ask_again {
                    view.state = StepState::BackingOff;
                }
                self.known(|known| if decided.ask_again { known.doubt.allow() } else { known.doubt.clear() });
            }
            Kind::BackOffSkipped(_) => {
                self.spoken_of(&id, at).next_attempt_at = Some(at);
            }
            Kind::Created(_) | Kind::Ending(_) | Kind::Ended(_) | Kind::Reset(_) | Kind::CrashRecorded(_) => {}
        }
        Ok(())
    }

    /// Changes what is known of the step that was touched last. A read leaves nothing to doubt.
    fn known(&mut self, change: impl FnOnce(&mut Known)) {
        let (known, view) = (&mut self.known[self.touched], &mut self.steps[self.touched]);
        change(known);
        if view.level == Some(Level::NoSideEffects) {
            known.doubt.clear();
        }
        view.in_doubt = known.doubt.exists() && view.kind == StepKind::Call;
    }
}
