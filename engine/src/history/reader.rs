//! Takes in a journal fact by fact.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::{History, Open, OpenKind, PastKind, PastStep, Replay};
use crate::driver::expired;
use crate::failure::Code;
use crate::journal::{JournalError, Kind, load_failure, load_level};
use crate::journal_v1 as stored;
use crate::place::Place;
use crate::time::Timestamp;
use crate::undo::{Became, Policy, Undoable};

/// A journal, as far as it was read.
pub(super) struct Reader {
    /// When the fact was learned that is being read.
    at: Timestamp,
    /// One allocation for each branch path.
    names: HashMap<String, Arc<str>>,
    /// Place of a started step, by the sequence number of its start.
    places: HashMap<u64, Place>,
    /// Where in the list a step with an undo is, by the sequence number of its start.
    undoables: HashMap<u64, usize>,
    /// The step that an undo takes back, by the sequence number of the undo's start.
    undos: HashMap<u64, u64>,
    /// The step that an operator said the end of in the last fact.
    decided: Option<u64>,
    history: History,
}

impl Reader {
    pub(super) fn new(history: History) -> Self {
        Self {
            at: history.past.latest,
            names: HashMap::new(),
            places: HashMap::new(),
            undoables: HashMap::new(),
            undos: HashMap::new(),
            decided: None,
            history,
        }
    }

    pub(super) fn finish(mut self) -> History {
        self.open_doubtful();
        self.history
    }

    fn place(&mut self, place: Option<stored::Place>) -> Place {
        let place = place.unwrap_or_default();
        let branch = match self.names.get(&place.branch) {
            Some(known) => Arc::clone(known),
            None => {
                let path: Arc<str> = place.branch.as_str().into();
                self.names.insert(place.branch, Arc::clone(&path));
                path
            }
        };
        Place { branch, position: place.position, name: place.name.into() }
    }

    /// The place a fact speaks of: by the step's number, or its own.
    fn spoken_of(&mut self, sequence: u64, step: u64, place: Option<stored::Place>) -> Result<Place, JournalError> {
        if step == 0 {
            return Ok(self.place(place));
        }
        self.places.get(&step).cloned().ok_or(JournalError::UnknownStep { sequence, step })
    }

    fn reach(&mut self, place: &Place, kind: PastKind) {
        // Code is gone when a run ends; what comes then is an undo.
        if self.history.ending.is_some() {
            self.history.past.steps += 1;
            return;
        }
        let step = PastStep { name: place.name.clone().into_owned(), kind };
        let branch = self.history.past.branches.entry(Arc::clone(&place.branch)).or_default();
        if branch.insert(place.position, step).is_none() {
            self.history.past.steps += 1;
        }
        self.history.replay.push(Replay::Reached(place.clone()));
    }

    fn open(&mut self, place: &Place, kind: OpenKind, attempts: u32) -> &mut Open {
        let begun_at = self.at;
        self.history.open.entry((Arc::clone(&place.branch), place.position)).or_insert_with(|| Open {
            place: place.clone(),
            kind,
            begun_at,
            attempts,
            forgiven: 0,
            in_doubt: false,
            retry_at: None,
            cut_off: false,
            allowed: false,
            undoes: None,
            last_failure: None,
        })
    }

    /// Takes in the next fact.
    pub(super) fn fact(&mut self, sequence: u64, at: Timestamp, kind: Kind) -> Result<(), JournalError> {
        self.at = at;
        self.history.past.latest = self.history.past.latest.max(at);
        match kind {
            Kind::Created(_) => return Err(JournalError::NoBeginning),
            Kind::StepStarted(started) => self.started(sequence, at, started),
            Kind::AttemptStarted(attempt) => {
                let place = self.spoken_of(sequence, attempt.step, None)?;
                let deadline = Timestamp::from_micros(attempt.attempt_deadline_micros);
                if let Some(undoable) = self.undoable(attempt.step) {
                    (undoable.attempts, undoable.deadline) = (attempt.attempt, deadline);
                }
                self.settle_after_all(attempt.step);
                let open = self.open(&place, OpenKind::Call, 0);
                // Whatever comes of this attempt, nobody knows what came of the one before.
                open.in_doubt |= open.cut_off;
                open.allowed &= !open.cut_off;
                open.attempts = attempt.attempt;
                open.cut_off = true;
                open.retry_at = None;
                if let OpenKind::Effect { deadline, .. } = &mut open.kind {
                    *deadline = Timestamp::from_micros(attempt.attempt_deadline_micros);
                }
            }
            Kind::AttemptFailed(failed) => self.failed(sequence, failed)?,
            Kind::StepSettled(settled) => self.settled(sequence, settled)?,
            Kind::Recorded(recorded) => {
                let place = self.place(recorded.place);
                self.reach(&place, PastKind::Value(recorded.value));
            }
            Kind::SleepStarted(sleep) => {
                let place = self.place(sleep.place);
                self.places.insert(sequence, place.clone());
                self.reach(&place, PastKind::Sleep);
                let until = Timestamp::from_micros(sleep.until_micros);
                self.open(&place, OpenKind::Sleep { sequence, until }, 0);
            }
            Kind::SignalAwaited(wait) => {
                let place = self.place(wait.place);
                self.places.insert(sequence, place.clone());
                self.reach(&place, PastKind::Signal);
                let until = (wait.until_micros != 0).then(|| Timestamp::from_micros(wait.until_micros));
                self.open(&place, OpenKind::Signal { sequence, until }, 0);
            }
            Kind::ChildStarted(child) => {
                let place = self.place(child.place);
                self.places.insert(sequence, place.clone());
                let hash = child.input_hash.as_ref().try_into().unwrap_or([0; 32]);
                self.reach(&place, PastKind::Child { workflow: child.workflow, hash });
                // An id that is none belongs to no child: the step waits visibly.
                let run = Uuid::try_parse(&child.run).unwrap_or(Uuid::nil());
                self.open(&place, OpenKind::Child { sequence, run }, 0);
            }
            Kind::FannedOut(fanned) => {
                let place = self.place(fanned.place);
                self.reach(&place, PastKind::FanOut { width: fanned.width, duplicates: fanned.duplicates });
            }
            Kind::Branched(branched) => {
                let place = self.place(branched.place);
                self.reach(&place, PastKind::Branch { path: branched.path });
            }
            Kind::Raced(raced) => {
                for step in raced.withdrawn {
                    let place = self.spoken_of(sequence, step, None)?;
                    self.history.open.remove(&(place.branch, place.position));
                }
                let place = self.place(raced.place);
                self.reach(&place, PastKind::Race { winner: raced.winner });
            }
            Kind::Decided(decided) => {
                let place = self.spoken_of(sequence, decided.step, None)?;
                self.decided = (!decided.ask_again).then_some(decided.step);
                if decided.ask_again {
                    self.settle_after_all(decided.step);
                    let open = self.open(&place, OpenKind::Call, 0);
                    open.in_doubt = true;
                    open.cut_off = false;
                    open.allowed = true;
                    (open.forgiven, open.begun_at) = (open.attempts, at);
                }
            }
            Kind::BackOffSkipped(skipped) => {
                let place = self.spoken_of(sequence, skipped.step, skipped.place)?;
                if let Some(open) = self.history.open.get_mut(&(Arc::clone(&place.branch), place.position)) {
                    open.retry_at = None;
                }
            }
            Kind::Struck(struck) => self.history.strikes.push((at, struck)),
            Kind::Ending(ending) => self.history.ending = Some(ending),
            Kind::Ended(ended) => self.history.ended = Some(ended),
            // Applied before the journal is read. A step that is made again has all its attempts before it.
            Kind::Reset(reset) => {
                self.history.strikes.clear();
                self.history.past.was_reset |= reset.place.is_some_and(|place| !place.name.is_empty());
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

    /// An end that takes steps back first settles those of which nobody knows whether they happened.
    fn open_doubtful(&mut self) {
        let ending = self.history.ending.as_ref().map(stored::Ending::ending_as);
        let undoes = matches!(ending, Some(stored::EndState::Failed | stored::EndState::Cancelled));
        if !undoes || self.history.ended.is_some() {
            return;
        }
        for at in 0..self.history.undoables.len() {
            let undoable = &mut self.history.undoables[at];
            if undoable.became == Became::Doubtful {
                undoable.became = Became::Open;
                let undoable = undoable.clone();
                self.open_again(&undoable);
            }
        }
    }

    /// A step that ended in doubt is asked again, before it is undone.
    fn settle_after_all(&mut self, step: u64) {
        if let Some(undoable) = self.undoable(step).filter(|undoable| undoable.became == Became::Doubtful) {
            undoable.became = Became::Open;
            let undoable = undoable.clone();
            self.open_again(&undoable);
        }
    }

    fn open_again(&mut self, undoable: &Undoable) {
        let kind = OpenKind::Effect {
            sequence: undoable.step,
            key: undoable.key,
            incarnation: undoable.incarnation,
            level: undoable.level,
            request: undoable.request.clone(),
            started_at: undoable.started_at,
            deadline: undoable.deadline,
        };
        let open = self.open(&undoable.place, kind, undoable.attempts);
        open.in_doubt = true;
        open.forgiven = undoable.attempts;
    }

    fn started(&mut self, sequence: u64, at: Timestamp, mut started: stored::StepStarted) {
        let level = load_level(started.level(), started.dedupe_horizon_seconds);
        let place = self.place(started.place);
        self.places.insert(sequence, place.clone());
        let hash = started.request_hash.as_ref().try_into().unwrap_or([0; 32]);
        self.reach(&place, PastKind::Effect { hash });
        let kind = OpenKind::Effect {
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
            && let OpenKind::Effect { key, request, deadline, .. } = &kind
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
                became: Became::Open,
                undone: false,
            });
        }
        let undoes = (started.undoes != 0).then_some(started.undoes);
        self.undos.extend(undoes.map(|step| (sequence, step)));
        let open = self.open(&place, kind, attempts + 1);
        open.begun_at = begun_at;
        open.cut_off = true;
        open.undoes = undoes;
    }

    fn failed(&mut self, sequence: u64, failed: stored::AttemptFailed) -> Result<(), JournalError> {
        let outcome = failed.outcome();
        let place = self.spoken_of(sequence, failed.step, failed.place)?;
        if failed.step == 0 {
            let known = self.history.open.contains_key(&(Arc::clone(&place.branch), place.position));
            if !known {
                self.reach(&place, PastKind::Read { hash: None });
            }
        }
        let open = self.open(&place, OpenKind::Call, 0);
        open.attempts = failed.attempt;
        open.forgiven += u32::from(failed.given_back);
        open.cut_off = false;
        open.in_doubt |= outcome == stored::Outcome::Ambiguous;
        open.allowed &= outcome != stored::Outcome::Ambiguous;
        open.retry_at = (failed.retry_at_micros != 0).then(|| Timestamp::from_micros(failed.retry_at_micros));
        open.last_failure = failed.failure.map(load_failure);
        Ok(())
    }

    fn settled(&mut self, sequence: u64, mut settled: stored::StepSettled) -> Result<(), JournalError> {
        let place = self.spoken_of(sequence, settled.step, settled.place.take())?;
        let open = self.history.open.remove(&(Arc::clone(&place.branch), place.position));
        let was_open = open.is_some();
        let decided = self.decided.take() == Some(settled.step);
        let failure = match &settled.result {
            Some(stored::step_settled::Result::Failure(failure)) => Some(Code::from_i32(failure.code)),
            _ => None,
        };
        if let Some(step) = self.undos.get(&settled.step).copied() {
            if let Some(undoable) = self.undoable(step) {
                undoable.undone |= failure.is_none() || settled.undone;
            }
            return Ok(());
        }
        let (undo, outcome) = (settled.undo.take(), settled.outcome());
        if let Some(undoable) = self.undoable(settled.step) {
            undoable.undo = undo.or(undoable.undo.take());
            if let (None, Some(stored::step_settled::Result::Response(response))) = (&undoable.undo, &settled.result) {
                undoable.response = Some(response.clone());
            }
            undoable.became = Became::of(failure, outcome, open.as_ref().is_some_and(|open| open.in_doubt), decided);
        }
        if settled.step == 0 {
            let hash = settled.request_hash.as_ref().try_into().ok();
            if was_open {
                let branch = self.history.past.branches.entry(Arc::clone(&place.branch)).or_default();
                branch.insert(
                    place.position,
                    PastStep { name: place.name.clone().into_owned(), kind: PastKind::Read { hash } },
                );
            } else {
                self.reach(&place, PastKind::Read { hash });
            }
        }
        let result = match settled.result {
            Some(stored::step_settled::Result::Failure(failure)) => {
                Err(load_failure(failure).repeated_if(settled.repeated))
            }
            Some(stored::step_settled::Result::Response(response)) => Ok(response),
            None if open.is_some_and(|open| matches!(open.kind, OpenKind::Signal { .. })) => Err(expired(&place)),
            None => Ok(Bytes::new()),
        };
        if self.history.ending.is_none() {
            self.history.replay.push(Replay::Settled(place, result));
            if self.history.created.marks_unseen && !settled.unseen {
                self.history.seen = self.history.replay.len();
            }
        }
        Ok(())
    }
}
