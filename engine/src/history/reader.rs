//! Takes in a journal fact by fact.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::{History, JournaledKind, JournaledStep, PendingKind, PendingStep, Replay};
use crate::doubt::Doubt;
use crate::journal::{JournalError, Kind, Steps, load_failure, load_level};
use crate::journal_v1 as stored;
use crate::step_id::StepId;
use crate::time::Timestamp;
use crate::undo::{Policy, StepFate, Undoable};

/// A journal, as far as it was read.
pub(super) struct Reader {
    /// When the fact was learned that is being read.
    at: Timestamp,
    steps: Steps,
    /// Where in the list a step with an undo is, by the sequence number of its start.
    undoables: HashMap<u64, usize>,
    /// The step that an undo takes back, by the sequence number of the undo's start.
    undos: HashMap<u64, u64>,
    /// Steps that settled and left a doubt which an undo cannot leave: steps with an undo, and undos. By the sequence number
    /// of their start.
    doubtful: BTreeMap<u64, PendingStep>,
    history: History,
}

impl Reader {
    /// `superseded` are steps that a retry forgot, and that are still to be undone.
    pub(super) fn new(mut history: History, superseded: Vec<Undoable>) -> Self {
        history.undoables = superseded;
        Self {
            at: history.past.latest,
            steps: Steps::default(),
            undoables: history.undoables.iter().enumerate().map(|(at, undoable)| (undoable.step, at)).collect(),
            undos: HashMap::new(),
            doubtful: BTreeMap::new(),
            history,
        }
    }

    pub(super) fn finish(mut self) -> History {
        self.ask_again();
        self.history.undoables.sort_by_key(|undoable| undoable.step);
        self.history
    }

    fn reach(&mut self, place: &StepId, kind: JournaledKind) {
        // Code is gone when a run ends; what comes then is an undo.
        if self.history.ending.is_some() {
            self.history.past.steps += 1;
            return;
        }
        let step = JournaledStep { name: place.name.clone().into_owned(), kind };
        let branch = self.history.past.branches.entry(Arc::clone(&place.branch)).or_default();
        if branch.insert(place.position, step).is_none() {
            self.history.past.steps += 1;
        }
        self.history.replay.push(Replay::Reached(place.clone()));
    }

    fn open(&mut self, place: &StepId, kind: PendingKind, attempts: u32) -> &mut PendingStep {
        let begun_at = self.at;
        self.history.open.entry((Arc::clone(&place.branch), place.position)).or_insert_with(|| PendingStep {
            place: place.clone(),
            kind,
            begun_at,
            attempts,
            forgiven: 0,
            doubt: Doubt::default(),
            retry_at: None,
            undoes: None,
        })
    }

    /// Takes in the next fact.
    pub(super) fn fact(&mut self, sequence: u64, at: Timestamp, kind: Kind) -> Result<(), JournalError> {
        self.at = at;
        self.history.past.latest = self.history.past.latest.max(at);
        let place = self.steps.of(sequence, &kind)?.unwrap_or_default();
        match kind {
            Kind::Created(_) => return Err(JournalError::NoBeginning),
            Kind::StepStarted(started) => self.started(sequence, at, place, started),
            Kind::AttemptStarted(attempt) => {
                let deadline = Timestamp::from_micros(attempt.attempt_deadline_micros);
                if let Some(undoable) = self.undoable(attempt.step) {
                    undoable.attempted(attempt.attempt, deadline);
                }
                self.settles_after_all(attempt.step);
                let open = self.open(&place, PendingKind::Call, 0);
                open.doubt.begin();
                open.attempts = attempt.attempt;
                open.retry_at = None;
                if let PendingKind::Effect { deadline: latest, .. } = &mut open.kind {
                    *latest = deadline.max(*latest);
                }
            }
            Kind::AttemptFailed(failed) => self.failed(place, failed),
            Kind::StepSettled(settled) => self.settled(place, settled),
            Kind::Recorded(recorded) => {
                self.reach(&place, JournaledKind::Value(recorded.value));
            }
            Kind::SleepStarted(sleep) => {
                self.reach(&place, JournaledKind::Sleep);
                let until = Timestamp::from_micros(sleep.until_micros);
                self.open(&place, PendingKind::Sleep { sequence, until }, 0);
            }
            Kind::SignalAwaited(wait) => {
                self.reach(&place, JournaledKind::Signal);
                let until = (wait.until_micros != 0).then(|| Timestamp::from_micros(wait.until_micros));
                self.open(&place, PendingKind::Signal { sequence, until }, 0);
            }
            Kind::ChildStarted(child) => {
                let hash = child.input_hash.as_ref().try_into().unwrap_or([0; 32]);
                self.reach(&place, JournaledKind::Child { workflow: child.workflow, hash });
                // An id that is none belongs to no child: the step waits visibly.
                let run = Uuid::try_parse(&child.run).unwrap_or(Uuid::nil());
                self.open(&place, PendingKind::Child { sequence, run }, 0);
            }
            Kind::FanOutStarted(fanned) => {
                self.reach(&place, JournaledKind::FanOut { width: fanned.width, duplicates: fanned.duplicates });
            }
            Kind::BranchStarted(branched) => {
                self.reach(&place, JournaledKind::Branch { path: branched.path });
            }
            Kind::RaceDecided(raced) => {
                for step in raced.withdrawn {
                    let lost = self.steps.started(sequence, step)?;
                    self.history.open.remove(&(Arc::clone(&lost.branch), lost.position));
                }
                self.reach(&place, JournaledKind::Race { winner: raced.winner });
            }
            Kind::Decided(decided) => {
                self.settles_after_all(decided.step);
                let open = self.open(&place, PendingKind::Call, 0);
                if decided.ask_again {
                    open.doubt.allow();
                    (open.forgiven, open.begun_at) = (open.attempts, at);
                } else {
                    // Its end is the next fact.
                    open.doubt.clear();
                }
            }
            Kind::BackOffSkipped(_) => {
                if let Some(open) = self.history.open.get_mut(&(Arc::clone(&place.branch), place.position)) {
                    open.retry_at = None;
                }
            }
            Kind::CrashRecorded(crash) => self.history.crashes.push((at, crash)),
            Kind::Ending(ending) => self.history.ending = Some(ending),
            Kind::Ended(ended) => self.history.ended = Some(ended),
            // Applied before the journal is read. A step that is made again has all its attempts before it.
            Kind::Reset(reset) => {
                self.history.crashes.clear();
                self.history.undoables.iter_mut().for_each(|undoable| undoable.failed = None);
                for start in reset.forgotten.iter().flat_map(|forgotten| &forgotten.kept) {
                    // A later retry may have forgotten it.
                    if let Ok(place) = self.steps.started(sequence, *start) {
                        self.history.past.detached.insert((Arc::clone(&place.branch), place.position));
                    }
                }
                let forgets = reset.forgotten.is_some_and(|forgotten| {
                    !(forgotten.facts.is_empty() && forgotten.reopened.is_empty() && forgotten.renewed.is_empty())
                });
                self.history.past.was_reset |= forgets || reset.place.is_some_and(|place| !place.name.is_empty());
                for open in self.history.open.values_mut() {
                    (open.forgiven, open.begun_at) = (open.attempts, at);
                }
            }
        }
        Ok(())
    }

    fn undoable(&mut self, step: u64) -> Option<&mut Undoable> {
        let index = *self.undoables.get(&step)?;
        self.history.undoables.get_mut(index)
    }

    /// An end that takes steps back first settles those of which no one knows whether they happened, undos included. Of a
    /// run that was ended by force, they stay uncertain.
    fn ask_again(&mut self) {
        let undoes = |state| matches!(state, stored::EndState::Failed | stored::EndState::Cancelled);
        let ending = self.history.ending.as_ref().is_some_and(|ending| undoes(ending.ending_as()));
        let by_force = self.history.ended.as_ref().map(|ended| ended.state() == stored::EndState::Terminated);
        if !by_force.unwrap_or(ending) {
            return;
        }
        // An undo that failed waits for an operator.
        let failed = |undoable: &&Undoable| by_force.is_none() && undoable.failed.is_some();
        let failed: Vec<u64> = self.history.undoables.iter().filter(failed).map(|undoable| undoable.step).collect();
        let waits = |open: &PendingStep| open.undoes.is_some_and(|step| failed.contains(&step));
        let steps: Vec<u64> = self.doubtful.iter().filter(|(_, open)| !waits(open)).map(|(step, _)| *step).collect();
        for step in steps {
            self.settles_after_all(step);
        }
    }

    /// A step that settled in doubt is asked again, before it is undone; so is an undo.
    fn settles_after_all(&mut self, step: u64) {
        let Some(mut open) = self.doubtful.remove(&step) else { return };
        open.forgiven = open.attempts;
        open.retry_at = None;
        if let Some(undoable) = self.undoable(step) {
            undoable.fate = StepFate::Open;
        }
        self.history.open.insert((Arc::clone(&open.place.branch), open.place.position), open);
    }

    fn started(&mut self, sequence: u64, at: Timestamp, place: StepId, mut started: stored::StepStarted) {
        let level = load_level(started.level(), started.dedupe_horizon_seconds);
        let hash = started.request_hash.as_ref().try_into().unwrap_or([0; 32]);
        self.reach(&place, JournaledKind::Effect { hash });
        let kind = PendingKind::Effect {
            sequence,
            // A key that is none is never sent: the step is then in doubt and asks for a decision.
            key: Uuid::try_parse(&started.key).unwrap_or(Uuid::nil()),
            incarnation: started.incarnation,
            level,
            request: started.request,
            started_at: at,
            deadline: Timestamp::from_micros(started.attempt_deadline_micros),
        };
        // Attempts that were never sent may stand before the start.
        let unsent = self.history.open.remove(&(Arc::clone(&place.branch), place.position));
        let (attempts, begun_at) = unsent.map_or((0, at), |open| (open.attempts, open.begun_at));
        if (started.undo.is_some() || started.undo_by_response)
            && let PendingKind::Effect { key, request, deadline, .. } = &kind
        {
            self.undoables.insert(sequence, self.history.undoables.len());
            self.history.undoables.push(Undoable {
                step: sequence,
                place: place.clone(),
                key: *key,
                incarnation: started.incarnation,
                level,
                request: request.clone(),
                started_at: at,
                attempts: attempts + 1,
                deadline: *deadline,
                undo: started.undo.take(),
                by_response: started.undo_by_response,
                response: None,
                policy: started.undo_policy.take().map_or_else(Policy::default, Policy::load),
                fate: StepFate::Open,
                undone: false,
                failed: None,
            });
        }
        let undoes = (started.undoes != 0).then_some(started.undoes);
        self.undos.extend(undoes.map(|step| (sequence, step)));
        // Release 0.1.0 started an undo in doubt once more when its run was retried: the doubt is the same.
        let again = self.doubtful.iter().find(|(_, open)| undoes.is_some() && open.undoes == undoes);
        let again = again.map(|(start, _)| *start).and_then(|start| self.doubtful.remove(&start));
        let open = self.open(&place, kind, attempts + 1);
        open.begun_at = begun_at;
        if let Some(before) = again {
            open.doubt = before.doubt;
            if let (PendingKind::Effect { started_at, .. }, PendingKind::Effect { started_at: first, .. }) =
                (&mut open.kind, before.kind)
            {
                *started_at = first;
            }
        }
        open.doubt.begin();
        open.undoes = undoes;
    }

    fn failed(&mut self, place: StepId, failed: stored::AttemptFailed) {
        let outcome = failed.outcome();
        if failed.step == 0 {
            let known = self.history.open.contains_key(&(Arc::clone(&place.branch), place.position));
            if !known {
                self.reach(&place, JournaledKind::Read { hash: None });
            }
        }
        let open = self.open(&place, PendingKind::Call, 0);
        open.attempts = failed.attempt;
        open.forgiven += u32::from(failed.not_counted);
        open.failed(outcome);
        open.retry_at = (failed.retry_at_micros != 0).then(|| Timestamp::from_micros(failed.retry_at_micros));
    }

    fn settled(&mut self, place: StepId, settled: stored::StepSettled) {
        self.settles_after_all(settled.step);
        let mut open = self.history.open.remove(&(Arc::clone(&place.branch), place.position));
        let was_open = open.is_some();
        let doubt = match (&mut open, &settled.result) {
            (Some(open), Some(stored::step_settled::Result::Failure(_))) => {
                open.failed(settled.outcome());
                open.doubt
            }
            _ => Doubt::default(),
        };
        if let Some(step) = self.undos.get(&settled.step).copied() {
            let Some(undoable) = self.undoable(step) else { return };
            undoable.undo_settled(&settled);
            let is_left = !undoable.undone;
            if let Some(open) = open.filter(|_| is_left && doubt.exists()) {
                self.doubtful.insert(settled.step, open);
            }
            return;
        }
        if let Some(undoable) = self.undoable(settled.step) {
            undoable.settled(&settled, doubt);
            if undoable.fate == StepFate::Doubtful
                && let Some(open) = &open
            {
                self.doubtful.insert(settled.step, open.clone());
            }
        }
        if settled.step == 0 {
            let hash = settled.request_hash.as_ref().try_into().ok();
            if was_open {
                let branch = self.history.past.branches.entry(Arc::clone(&place.branch)).or_default();
                branch.insert(
                    place.position,
                    JournaledStep { name: place.name.clone().into_owned(), kind: JournaledKind::Read { hash } },
                );
            } else {
                self.reach(&place, JournaledKind::Read { hash });
            }
        }
        let result = match settled.result {
            Some(stored::step_settled::Result::Failure(failure)) => {
                Err(load_failure(failure).repeated_if(settled.repeated))
            }
            Some(stored::step_settled::Result::Response(response)) => Ok(response),
            None if open.is_some_and(|open| matches!(open.kind, PendingKind::Signal { .. })) => Err(place.expired()),
            None => Ok(Bytes::new()),
        };
        if self.history.ending.is_none() {
            self.history.replay.push(Replay::Settled(place, result));
            if self.history.created.tracks_delivery && !settled.undelivered {
                self.history.seen = self.history.replay.len();
            }
        }
    }
}
