//! The one append of a run that is under way: what it carries, and what follows when it is durable.

use bytes::Bytes;
use uuid::Uuid;

use super::children::ChildWork;
use super::operator_commands::UnacknowledgedCommand;
use super::step::{CallWork, LiveStep, Phase, Work};
use super::{Driver, Exit, Starter};
use crate::failure::{Code, Failure};
use crate::journal::{Kind, store_level};
use crate::journal_v1 as stored;
use crate::limits::{Limit, is_near, warn_near};
use crate::run::{Ended, Started};
use crate::scope::Fault;
use crate::state::State;
use crate::step_id::SlotId;
use crate::store::{Answer, Append, Appended, Created, RunRow, Status, StoreError};
use crate::time::Timestamp;
use crate::undo::UndoSource;

pub(super) struct Commit {
    answer: Pending,
    carries: CommitContents,
}

/// What an append carries, and what is done with it once it is answered.
struct CommitContents {
    /// What operators asked for and this append does.
    unacknowledged: Vec<UnacknowledgedCommand>,
    /// Messages that its facts have received.
    takes: Vec<u64>,
    entry: Bytes,
    /// Bytes and facts before the starts: what a refused append leaves.
    learned: (usize, u64),
    facts: u64,
    starts: Vec<SlotId>,
    births: Vec<SlotId>,
    /// Children that are asked to end.
    cancels: Vec<Uuid>,
    status: Status,
    release: bool,
}

enum Pending {
    Create(Answer<Created>, Starter),
    Append(Answer<Appended>),
}

pub(super) enum Answered {
    Created(Result<Created, StoreError>),
    Appended(Result<Appended, StoreError>),
}

/// The answer of the append under way; never, where there is none.
pub(super) async fn answer(commit: &mut Option<Box<Commit>>) -> Answered {
    match commit.as_mut().map(|commit| &mut commit.answer) {
        Some(Pending::Create(answer, _)) => Answered::Created(answer.await),
        Some(Pending::Append(answer)) => Answered::Appended(answer.await),
        None => std::future::pending().await,
    }
}

impl Driver {
    /// The number that the next fact will have.
    pub(super) fn next_sequence(&self) -> u64 {
        self.row.sequence + self.commit.as_ref().map_or(0, |commit| commit.carries.facts) + self.buffer.facts() + 1
    }

    /// Writes a fact behind: it is durable with the next append, soon in any case.
    pub(super) fn record(&mut self, kind: Kind) {
        let now = self.shared.clock.now();
        self.buffer.push(now, kind);
        if self.flush_at.is_none() {
            self.flush_at = Some(now.after(self.shared.limits.write_behind));
        }
        self.flush |= self.buffer.len() > self.shared.limits.write_behind_bytes;
    }

    /// Begins an append if one is wanted and none is under way.
    pub(super) fn begin_commit(&mut self) {
        if self.commit.is_some() {
            return;
        }
        let ended = self.mode.has_ended();
        let ready = self.steps.values().any(|step| matches!(step.phase, Phase::Ready(_) | Phase::Unborn));
        let ready = ready || !self.unasked().is_empty();
        let idle = !ended && self.is_idle();
        let release = idle && self.should_release();
        let status = self.status(idle);
        let moved = idle && self.is_news(&status);
        let wanted = ended
            || ready
            || release
            || moved
            || self.create.is_some()
            || !self.unacknowledged.is_empty()
            || (self.flush && !self.buffer.is_empty());
        if !wanted {
            return;
        }
        debug_assert!(
            self.row.status.state.may_become(status.state),
            "run {} moves from {} to {}, which the table of moves does not have",
            self.row.id,
            self.row.status.state,
            status.state
        );
        let learned = (self.buffer.len(), self.buffer.facts());
        let starts = if ended || release { Vec::new() } else { self.start_ready() };
        // A creation carries no other; children come with the next append.
        let bears = !ended && !release && self.create.is_none();
        let (births, children) = if bears { self.start_children() } else { Default::default() };
        let related_runs = if self.create.is_none() { self.related_runs(children, ended) } else { None };
        let cancels = related_runs.as_ref().map_or_else(Vec::new, |related_runs| related_runs.cancels.clone());
        let (entry, facts) = self.buffer.take();
        self.flush = false;
        self.flush_at = None;
        let unacknowledged = if self.create.is_none() { std::mem::take(&mut self.unacknowledged) } else { Vec::new() };
        let takes = self.inbox.take();
        let answer = match self.create.take() {
            Some((mut run, started)) => {
                // One that waits from its first poll on is no one's from the start.
                run.claimed = !release;
                run.entry = entry.clone();
                run.facts = facts;
                run.status = status.clone();
                Pending::Create(self.shared.store.create(*run), started)
            }
            None => Pending::Append(self.shared.store.append(Append {
                run: self.row.id,
                epoch: self.row.epoch,
                sequence: self.row.sequence,
                control: (release || !starts.is_empty() || !births.is_empty()).then_some(self.row.control),
                entry: entry.clone(),
                facts,
                status: status.clone(),
                messages: release.then_some(self.row.messages),
                takes: takes.clone(),
                related_runs,
                release,
                changes: unacknowledged.iter().map(|unacknowledged| unacknowledged.change.clone()).collect(),
            })),
        };
        let carries = CommitContents {
            unacknowledged,
            takes,
            entry,
            learned,
            facts,
            starts,
            births,
            cancels,
            status,
            release: release || ended,
        };
        self.commit = Some(Box::new(Commit { answer, carries }));
    }

    /// Writes the starts of everything that is ready to be sent.
    fn start_ready(&mut self) -> Vec<SlotId> {
        let now = self.shared.clock.now();
        for step in self.steps.values_mut() {
            // The wait for a permit may have outlasted the time for which the service remembers the key.
            if matches!(step.phase, Phase::Ready(_)) && step.undecided(now) {
                step.phase = Phase::Undecided;
            }
        }
        let ready: Vec<SlotId> = self
            .steps
            .iter()
            .filter(|(_, step)| matches!(step.phase, Phase::Ready(_)))
            .map(|(slot, _)| *slot)
            .collect();
        let mut sent = Vec::with_capacity(ready.len());
        for slot in ready {
            let slot = &slot;
            let (deadline, attempt_deadline) = self.attempt_deadline(*slot);
            let sequence = self.next_sequence();
            let copied_at = self.row.copied_at;
            let Some(step) = self.steps.get_mut(slot) else { continue };
            let undecided = copied_at.is_some_and(|copied_at| may_be_made(step, copied_at, now));
            self.undoing.any |= matches!(&step.work, Work::Call(call) if call.undo.is_some());
            let fact = start(step, sequence, now, attempt_deadline);
            if let (Work::Call(CallWork { started: Some((started, _)), .. }), attempt) = (&step.work, step.attempts) {
                let started = *started;
                self.attempted_for_undo(started, attempt, attempt_deadline);
            }
            let Some(step) = self.steps.get_mut(slot) else { continue };
            if undecided {
                step.doubt.begin();
                step.doubt.cut_off();
                step.phase = Phase::Undecided;
            } else if let Phase::Ready(reservation) = std::mem::replace(&mut step.phase, Phase::Sending) {
                sent.push(*slot);
                step.phase = Phase::Starting(reservation, deadline);
            }
            if let Some(fact) = fact {
                self.buffer.push(now, fact);
            }
        }
        sent
    }

    /// The append was answered. Says so where the run leaves memory.
    pub(super) fn committed(&mut self, answered: Answered) -> Option<Exit> {
        let Commit { answer, carries: mut commit } = *self.commit.take()?;
        let mut starter = None;
        let appended = match (answered, answer) {
            (Answered::Created(answer), Pending::Create(_, asked)) => match answer {
                Ok(Created::New) => {
                    self.row.epoch = 1;
                    starter = Some(asked);
                    Appended::Done
                }
                // The caller may have gone.
                Ok(Created::Existing(row)) => {
                    let _gone = asked.send(Ok(Started { id: row.id, row, new: false }));
                    return Some(Exit::Lost);
                }
                Err(error) => {
                    let _gone = asked.send(Err(error));
                    return Some(Exit::Lost);
                }
            },
            (Answered::Appended(Ok(appended)), _) => appended,
            (Answered::Appended(Err(error)), _) => {
                // A store that is down tells it once, for all runs.
                if matches!(error, StoreError::Unavailable(_)) {
                    tracing::debug!(run = %self.row.id, epoch = self.row.epoch, %error, "run given up");
                } else {
                    tracing::warn!(run = %self.row.id, epoch = self.row.epoch, %error, "run given up");
                }
                return Some(Exit::Lost);
            }
            (Answered::Created(_), Pending::Append(_)) => return Some(Exit::Lost),
        };
        if let Appended::Superseded(row) = appended {
            self.unacknowledged.splice(..0, commit.unacknowledged.drain(..));
            self.inbox.restore(std::mem::take(&mut commit.takes));
            self.children_refused(&commit.births);
            self.commanded(&commit, &row);
            return None;
        }
        self.row.sequence += commit.facts;
        self.row.status = commit.status;
        self.row.updated_at = self.shared.clock.now();
        self.row.owned = !commit.release;
        self.row.ended_at = self.row.status.state.is_end().then_some(self.row.updated_at);
        if let Some(starter) = starter {
            // The caller may have gone; the run continues without.
            let _gone = starter.send(Ok(Started { id: self.row.id, row: Box::new(self.row.clone()), new: true }));
        }
        for unacknowledged in commit.unacknowledged {
            unacknowledged.acknowledge(&self.row);
        }
        for child in commit.cancels {
            self.shared.tell(child, super::CANCEL);
        }
        if self.row.status.state.is_end() {
            if let Some(parent) = self.row.parent {
                self.shared.tell(parent, super::MESSAGE);
            }
            return Some(Exit::Ended(Box::new(self.take_end())));
        }
        self.shared.watchers.changed(self.row.id, self.row.sequence);
        if commit.release {
            self.count_outage_wait();
            return Some(Exit::Released(self.row.status.wake_at));
        }
        self.children_created(&commit.births);
        for slot in commit.starts {
            self.started(slot);
        }
        self.grown(commit.entry.len());
        None
    }

    /// The journal has so many bytes more. A run whose journal could not be held in memory ends before that.
    fn grown(&mut self, by: usize) {
        let (before, max) = (self.journal_bytes, self.shared.limits.journal_bytes);
        self.journal_bytes += by;
        let now = self.journal_bytes;
        if now > max && !self.mode.is_ending() {
            let message = format!("the journal has {now} bytes, the limit journal_bytes is {max}");
            return self.fault(Fault::Limit(Failure::new(Code::ResourceExhausted, message)));
        }
        if is_near(now as u64, max as u64) && !is_near(before as u64, max as u64) {
            warn_near(self.row.id, self.workflow.name, Limit::JournalBytes, now as u64, max as u64, "its journal");
        }
    }

    /// The start of a step is durable: now it may be sent.
    fn started(&mut self, slot: SlotId) {
        let Some(step) = self.steps.get_mut(&slot) else { return };
        if !matches!(step.phase, Phase::Starting(..)) {
            return;
        }
        if self.mode.is_stopped() || self.mailbox.has(super::GIVE_UP) {
            return self.defer_attempt(slot);
        }
        // A run that ends begins nothing; it only asks again what may have happened.
        let mut before = step.doubt;
        before.fail(stored::Outcome::NotSent);
        if self.mode.is_ending() && !before.exists() && !step.is_undo() {
            step.doubt = before;
            let failure = Failure::new(Code::Cancelled, "the run ended before the call was sent");
            return self.settle(slot, Err(failure), stored::Outcome::NotSent, false);
        }
        if let Phase::Starting(reservation, deadline) = std::mem::replace(&mut step.phase, Phase::Sending) {
            self.send(slot, reservation, deadline);
        }
    }

    /// The append was refused, because a command came first: what was learned stays, the starts do not.
    fn commanded(&mut self, commit: &CommitContents, row: &RunRow) {
        let (length, learned) = commit.learned;
        let last_learned = self.row.sequence + learned;
        let dropped = commit.facts - learned;
        for step in self.steps.values_mut() {
            match &mut step.work {
                Work::Call(call) if call.started.is_some_and(|(sequence, _)| sequence > last_learned) => {
                    call.started = None;
                }
                // Facts that came after the starts move up.
                Work::Sleep { sequence }
                | Work::Signal { sequence }
                | Work::Child(ChildWork { started: Some((sequence, _)), .. })
                    if *sequence > last_learned =>
                {
                    *sequence -= dropped
                }
                _ => {}
            }
        }
        for slot in &commit.starts {
            let Some(step) = self.steps.get_mut(slot) else { continue };
            if let Phase::Starting(reservation, _) = std::mem::replace(&mut step.phase, Phase::Undecided) {
                step.failed(stored::Outcome::NotSent);
                step.phase = Phase::Ready(reservation);
            }
        }
        self.drop_let_go();
        if self.mode.is_stopped() {
            // It stopped while the append was under way: what was not started then is not started now.
            self.drop_unsent();
            self.drop_unstarted_children();
        }
        if dropped > 0 {
            self.buffer.renumber(last_learned, dropped);
        }
        self.buffer.restore(&commit.entry[..length], learned);
        self.flush = true;
        self.row.control = row.control;
        self.row.paused.clone_from(&row.paused);
        if row.messages > self.row.messages {
            self.look();
        }
        if row.cancel_requested.is_some() && !self.mode.is_ending() {
            self.cancel();
        } else if !self.mode.is_ending() && (self.mode.is_paused() || row.paused.is_some()) {
            self.pause_or_resume();
        } else if self.mode.is_ending() {
            // It began to end while the append was under way: what was not started then is not started now.
            self.drop_unsent();
            if row.cancel_requested.is_some() {
                self.drop_unstarted_children();
            }
            self.cancel_waits();
            self.conclude();
        }
    }

    fn take_end(&mut self) -> Ended {
        let (output, failure) = match self.mode.take_result() {
            Some(Ok(output)) => (Some(output), None),
            Some(Err(failure)) => (None, Some(failure)),
            None => (None, None),
        };
        let RunRow { id, status, .. } = &self.row;
        let (workflow, state, steps) = (self.workflow.name, status.state, status.steps);
        if state == State::Failed {
            let code = failure.as_ref().map(|failure| tracing::field::display(failure.code()));
            tracing::warn!(run = %id, workflow, %state, steps, code, "run ended");
        } else {
            tracing::info!(run = %id, workflow, %state, steps, "run ended");
        }
        Ended { row: self.row.clone(), input: self.input.clone(), output, failure }
    }
}

/// Whether the store is a copy whose original may have made this call, so that only an operator can say whether it is made.
fn may_be_made(step: &LiveStep, copied_at: Timestamp, now: Timestamp) -> bool {
    let Work::Call(call) = &step.work else { return false };
    !step.doubt.is_allowed() && !call.level.may_repeat(Some(copied_at), now)
}

/// The fact that goes before an attempt of an effect.
fn start(step: &mut LiveStep, sequence: u64, now: Timestamp, deadline: Timestamp) -> Option<Kind> {
    let Work::Call(call) = &mut step.work else { return None };
    step.doubt.begin();
    call.deadline = call.deadline.max(deadline);
    call.attempted_at = now;
    if let Some((started, _)) = call.started {
        return Some(Kind::AttemptStarted(stored::AttemptStarted {
            step: started,
            attempt: step.attempts,
            attempt_deadline_micros: deadline.as_micros(),
        }));
    }
    call.started = Some((sequence, now));
    let (level, horizon) = store_level(call.level);
    let (undo, undo_by_response) = match call.undo.as_ref().map(|undo| &undo.source) {
        Some(UndoSource::Known(undo)) => (Some(undo.clone()), false),
        Some(UndoSource::ByResponse(_)) => (None, true),
        None => (None, false),
    };
    Some(Kind::StepStarted(stored::StepStarted {
        place: Some(step.place.stored()),
        incarnation: call.incarnation,
        key: call.key.to_string(),
        level: level.into(),
        request: call.request.clone(),
        request_hash: Bytes::copy_from_slice(&call.hash),
        attempt_deadline_micros: deadline.as_micros(),
        dedupe_horizon_seconds: horizon,
        undo,
        undo_by_response,
        undo_policy: call.undo.as_ref().map(|undo| undo.policy.stored()),
        undoes: call.undoes.unwrap_or_default(),
    }))
}
