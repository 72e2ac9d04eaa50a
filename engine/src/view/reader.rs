//! The steps of a run as people see them, read from its facts.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::{StepKind, StepState, StepView};
use crate::doubt::Doubt;
use crate::journal::{JournalError, Kind, Steps, load_failure, load_level};
use crate::journal_v1 as stored;
use crate::rpc::Level;
use crate::step_id::{StepId, path};
use crate::time::Timestamp;
use crate::undo;

/// What is known of the attempts of one step.
#[derive(Clone, Copy, Default)]
pub(super) struct Known {
    pub(super) doubt: Doubt,
    /// How the step settled, if it did.
    pub(super) settled: Option<stored::Outcome>,
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

/// Builds the steps, fact by fact.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) steps: Vec<StepView>,
    ids: Steps,
    pub(super) by_id: HashMap<(Arc<str>, u32), usize>,
    /// Which step an undo takes back, by the sequence number of the undo's start.
    undos: HashMap<u64, usize>,
    /// Paths of the steps with an undo, those that a retry forgot included, by the sequence numbers of their starts.
    paths: HashMap<u64, String>,
    /// What is known of the attempts of each step.
    pub(super) known: Vec<Known>,
    /// The step that the last fact spoke of.
    touched: usize,
}

impl Reader {
    /// A reader of a journal with these facts, those that a reset forgets included.
    pub(super) fn over(facts: &[stored::Fact]) -> Self {
        Self { paths: undoable_paths(facts), ..Self::default() }
    }

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

    /// Takes in one fact. Resets are applied before.
    pub(super) fn fact(&mut self, sequence: u64, at: Timestamp, kind: Kind) -> Result<(), JournalError> {
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
