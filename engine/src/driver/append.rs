//! The next append of a run: whether it is wanted, what it carries, and which steps it starts.

use bytes::Bytes;

use super::Driver;
use super::call_step::{CallStep, Phase};
use super::commit::{Commit, CommitContents, Pending};
use super::plan::{Situation, plan};
use super::step::LiveStep;
use crate::journal::{Kind, store_level};
use crate::journal_v1 as stored;
use crate::step_id::SlotId;
use crate::store::{Append, Status};
use crate::time::Timestamp;
use crate::undo::UndoSource;

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
