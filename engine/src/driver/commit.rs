//! The one append of a run that is under way, and what follows from its answer.

use bytes::Bytes;
use uuid::Uuid;

use super::call_step::Phase;
use super::operator_commands::UnacknowledgedCommand;
use super::step::{ChildStep, StepKind};
use super::{Driver, Exit};
use crate::failure::{Code, Failure};
use crate::journal_v1 as stored;
use crate::limits::{Limit, is_near, warn_near};
use crate::run::{Ended, Started, Starter};
use crate::scope::Fault;
use crate::state::State;
use crate::step_id::SlotId;
use crate::store::{Answer, Appended, Created, RunRow, Status, StoreError};

pub(super) struct Commit {
    pub(super) answer: Pending,
    pub(super) carries: CommitContents,
}

/// What an append carries, and what is done with it once it is answered.
pub(super) struct CommitContents {
    /// What operators asked for and this append does.
    pub(super) unacknowledged: Vec<UnacknowledgedCommand>,
    /// Messages that its facts have received.
    pub(super) takes: Vec<u64>,
    pub(super) entry: Bytes,
    /// Bytes and facts before the starts: what a refused append leaves.
    pub(super) learned: (usize, u64),
    pub(super) facts: u64,
    pub(super) starts: Vec<SlotId>,
    pub(super) births: Vec<SlotId>,
    /// Children that are asked to end.
    pub(super) cancels: Vec<Uuid>,
    pub(super) status: Status,
    pub(super) release: bool,
}

pub(super) enum Pending {
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

impl Commit {
    /// How many facts it makes durable.
    pub(super) fn facts(&self) -> u64 {
        self.carries.facts
    }
}

impl Driver {
    /// The append was answered. Says so if the run leaves memory.
    pub(super) fn committed(&mut self, answered: Answered) -> Option<Exit> {
        let Commit { answer, carries: mut commit } = *self.writes.under_way.take()?;
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
            self.writes.unacknowledged.splice(..0, commit.unacknowledged.drain(..));
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
        let (before, max) = (self.writes.journal_bytes, self.shared.limits.journal_bytes);
        self.writes.journal_bytes += by;
        let now = self.writes.journal_bytes;
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
        let Some(call) = self.steps.call_mut(slot) else { return };
        if !matches!(call.phase(), Phase::Starting(..)) {
            return;
        }
        if self.mode.is_stopped() || self.mailbox.has(super::GIVE_UP) {
            return self.defer_attempt(slot);
        }
        // A run that ends begins nothing; it only asks again what may have happened.
        let mut before = call.doubt;
        before.fail(stored::Outcome::NotSent);
        if self.mode.is_ending() && !before.exists() && call.undoes.is_none() {
            call.doubt = before;
            let failure = Failure::new(Code::Cancelled, "the run ended before the call was sent");
            return self.settle(slot, Err(failure), stored::Outcome::NotSent, false);
        }
        if let Phase::Starting(reservation, deadline) = call.enter(Phase::Sending) {
            self.send(slot, reservation, deadline);
        }
    }

    /// The append was refused, because a command came first: what was learned stays, the starts do not.
    fn commanded(&mut self, commit: &CommitContents, row: &RunRow) {
        let (length, learned) = commit.learned;
        let last_learned = self.row.sequence + learned;
        let dropped = commit.facts - learned;
        for step in self.steps.values_mut() {
            match &mut step.kind {
                StepKind::Call(call) if call.started.is_some_and(|(sequence, _)| sequence > last_learned) => {
                    call.started = None;
                }
                // Facts that came after the starts move up.
                StepKind::Sleep { sequence, .. }
                | StepKind::Signal { sequence, .. }
                | StepKind::Child(ChildStep::Started { sequence, .. })
                    if *sequence > last_learned =>
                {
                    *sequence -= dropped
                }
                _ => {}
            }
        }
        for slot in &commit.starts {
            let Some(call) = self.steps.call_mut(*slot) else { continue };
            if call.leave_starting() {
                call.failed(stored::Outcome::NotSent);
            }
        }
        self.drop_abandoned();
        if self.mode.is_stopped() {
            // It stopped while the append was under way: what was not started then is not started now.
            self.drop_unsent();
            self.drop_unstarted_children();
        }
        if dropped > 0 {
            self.writes.buffer.renumber(last_learned, dropped);
        }
        self.writes.buffer.restore(&commit.entry[..length], learned);
        self.writes.request();
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
