//! The one append of a run that is under way: what it carries, and what follows when it is durable.

use bytes::Bytes;
use uuid::Uuid;

use super::call_step::{CallStep, Phase};
use super::operator_commands::UnacknowledgedCommand;
use super::plan::{Situation, plan};
use super::step::{ChildStep, LiveStep, StepKind};
use super::writes::Starter;
use super::{Driver, Exit};
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

impl Commit {
    /// How many facts it makes durable.
    pub(super) fn facts(&self) -> u64 {
        self.carries.facts
    }
}

impl Driver {
    /// The number that the next fact will have.
    pub(super) fn next_sequence(&self) -> u64 {
        self.writes.next_sequence(self.row.sequence)
    }

    /// Writes a fact behind: it is durable with the next append, soon in any case.
    pub(super) fn record(&mut self, kind: Kind) {
        self.writes.record(self.shared.clock.now(), kind, &self.shared.limits);
    }

    /// What is asked of the run before an append, and what its row says if it is idle.
    fn situation(&self) -> (Situation, Option<Status>) {
        let ended = self.mode.has_ended();
        let idle = !ended && self.is_idle();
        let status = idle.then(|| self.status(true));
        let situation = Situation {
            creates: self.writes.create.is_some(),
            ended,
            ready: self.steps.values().any(LiveStep::is_ready) || !self.unasked().is_empty(),
            idle,
            gives_back: idle && self.should_release(),
            news: status.as_ref().is_some_and(|status| self.is_news(status)),
            commanded: !self.writes.unacknowledged.is_empty(),
            flush: self.writes.has_to_flush(),
        };
        (situation, status)
    }

    /// Begins an append if one is wanted and none is under way.
    pub(super) fn begin_commit(&mut self) {
        if self.writes.under_way.is_some() {
            return;
        }
        let (situation, status) = self.situation();
        let Some(plan) = plan(situation) else { return };
        let status = status.unwrap_or_else(|| self.status(false));
        debug_assert!(
            self.row.status.state.may_become(status.state),
            "run {} moves from {} to {}, which the table of moves does not have",
            self.row.id,
            self.row.status.state,
            status.state
        );
        let learned = (self.writes.buffer.len(), self.writes.buffer.facts());
        let starts = if plan.starts_calls { self.start_ready() } else { Vec::new() };
        let (births, children) = if plan.starts_children { self.start_children() } else { Default::default() };
        let related_runs = if plan.tells { self.related_runs(children, plan.ends) } else { None };
        let cancels = related_runs.as_ref().map_or_else(Vec::new, |related_runs| related_runs.cancels.clone());
        let (entry, facts) = self.writes.buffer.take();
        self.writes.taken();
        let unacknowledged = if plan.tells { std::mem::take(&mut self.writes.unacknowledged) } else { Vec::new() };
        let takes = self.inbox.take();
        let answer = match self.writes.create.take() {
            Some((mut run, started)) => {
                // One that waits from its first poll on has no owner from the start.
                run.claimed = !plan.gives_back;
                run.entry = entry.clone();
                run.facts = facts;
                run.status = status.clone();
                Pending::Create(self.shared.store.create(*run), started)
            }
            None => Pending::Append(self.shared.store.append(Append {
                run: self.row.id,
                epoch: self.row.epoch,
                sequence: self.row.sequence,
                control: (plan.gives_back || !starts.is_empty() || !births.is_empty()).then_some(self.row.control),
                entry: entry.clone(),
                facts,
                status: status.clone(),
                messages: plan.gives_back.then_some(self.row.messages),
                takes: takes.clone(),
                related_runs,
                release: plan.gives_back,
                changes: unacknowledged.iter().map(|unacknowledged| unacknowledged.change.clone()).collect(),
            })),
        };
        let release = plan.gives_back || plan.ends;
        let carries =
            CommitContents { unacknowledged, takes, entry, learned, facts, starts, births, cancels, status, release };
        self.writes.under_way = Some(Box::new(Commit { answer, carries }));
    }

    /// Writes the starts of everything that is ready to be sent.
    fn start_ready(&mut self) -> Vec<SlotId> {
        let now = self.shared.clock.now();
        let is_ready = |step: &LiveStep| matches!(step.phase(), Some(Phase::Ready(_)));
        let ready = self.steps.slots(is_ready);
        let mut sent = Vec::with_capacity(ready.len());
        for slot in ready {
            let (deadline, attempt_deadline) = self.attempt_deadline(slot);
            let (sequence, copied_at) = (self.next_sequence(), self.row.copied_at);
            let Some(step) = self.steps.get_mut(slot) else { continue };
            let place = step.place.stored();
            let Some(call) = step.call_mut() else { continue };
            // The wait for a permit may have outlasted the time for which the service remembers the key.
            if call.undecided(now) {
                call.enter(Phase::Undecided);
                continue;
            }
            self.undoing.any |= call.undo.is_some();
            // Of a copied store the original may have made this call: then only an operator can say whether it is made.
            let undecided = copied_at
                .is_some_and(|copied_at| !call.doubt.is_allowed() && !call.level.may_repeat(Some(copied_at), now));
            let fact = start(call, place, sequence, now, attempt_deadline);
            let attempt = call.attempts;
            if undecided {
                call.doubt.begin();
                call.doubt.cut_off();
                call.enter(Phase::Undecided);
            } else {
                call.enter_starting(deadline);
                sent.push(slot);
            }
            if let Some((started, _)) = call.started {
                self.attempted_for_undo(started, attempt, attempt_deadline);
            }
            self.writes.push(now, fact);
        }
        sent
    }

    /// The append was answered. Says so where the run leaves memory.
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

/// The fact that goes before an attempt of an effect.
fn start(call: &mut CallStep, place: stored::Place, sequence: u64, now: Timestamp, deadline: Timestamp) -> Kind {
    call.doubt.begin();
    call.deadline = call.deadline.max(deadline);
    call.attempted_at = now;
    if let Some((started, _)) = call.started {
        return Kind::AttemptStarted(stored::AttemptStarted {
            step: started,
            attempt: call.attempts,
            attempt_deadline_micros: deadline.as_micros(),
        });
    }
    call.started = Some((sequence, now));
    let (level, horizon) = store_level(call.level);
    let (undo, undo_by_response) = match call.undo.as_ref().map(|undo| &undo.source) {
        Some(UndoSource::Known(undo)) => (Some(undo.clone()), false),
        Some(UndoSource::ByResponse(_)) => (None, true),
        None => (None, false),
    };
    Kind::StepStarted(stored::StepStarted {
        place: Some(place),
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
    })
}
