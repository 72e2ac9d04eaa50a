//! The commands of operators to a run in memory: carried out immediately, acknowledged when they are durable.

use tokio::sync::oneshot;

use super::Driver;
use super::call_step::Phase;
use super::mode::End;
use super::step::LiveStep;
use crate::decision::{Decision, Undecided, Verdict};
use crate::journal::Kind;
use crate::journal_v1 as stored;
use crate::mailbox::PendingCommand;
use crate::run_command::{Refused, Resolution, RunCommand, Subject, SubjectStep, backs_off_after_panic, not_retried};
use crate::state::State;
use crate::step_id::SlotId;
use crate::store::{AuditedChange, RunRow};

/// A command that was done in memory and is not durable yet.
pub(super) struct UnacknowledgedCommand {
    pub(super) change: AuditedChange,
    answer: oneshot::Sender<Result<RunRow, Refused>>,
}

impl UnacknowledgedCommand {
    /// It is durable.
    pub(super) fn acknowledge(self, row: &RunRow) {
        // The caller may have gone.
        drop(self.answer.send(Ok(row.clone())));
    }
}

impl Driver {
    pub(super) fn take_commands(&mut self) {
        for PendingCommand { command, change, answer } in self.mailbox.take_commands() {
            let done = match &command {
                RunCommand::Resolve(decision) => self.resolve(decision, &change),
                RunCommand::SkipBackOff(step) => self.skip_back_off(step.as_deref()),
                RunCommand::Terminate => self.terminate(),
                // It leaves memory now; then the command is decided from its journal. The answer never comes from here.
                RunCommand::Retry(_) if self.mode.has_ended() || (self.mode.needs_operator() && self.is_idle()) => {
                    continue;
                }
                RunCommand::Retry(_) => Err(not_retried(self.mode.needs_operator())),
            };
            match done {
                Ok(()) => {
                    // A replay brings every fact to code by itself, and so must this (semantics.md F2).
                    self.advance();
                    self.writes.acknowledge_next(UnacknowledgedCommand { change, answer });
                }
                Err(refused) => drop(answer.send(Err(refused))),
            }
        }
    }

    /// What a command sees of the run, and the slots of its steps.
    fn subject(&self) -> (Vec<SlotId>, Subject) {
        let steps = self.steps.iter().filter_map(|(slot, step)| Some((slot, subject_step(step)?)));
        let (slots, steps) = steps.unzip();
        let subject = Subject {
            state: self.mode.stop().map_or(self.row.status.state, |stop| stop.says().0),
            knows_doubts: !self.mode.needs_operator(),
            after_panic: backs_off_after_panic(&self.row.status),
            begins_to_end: self.mode.is_ending() && self.row.status.ending_as.is_none(),
            steps,
        };
        (slots, subject)
    }

    fn skip_back_off(&mut self, path: Option<&str>) -> Result<(), Refused> {
        let now = self.shared.clock.now();
        let (slots, subject) = self.subject();
        let skips = subject.skip_back_off(path, now)?;
        if path.is_none() && subject.after_panic {
            self.mode.skip_back_off(now);
        }
        for (step, fact) in skips {
            let slot = slots[step];
            self.steps.clear_timer(slot);
            self.record(fact);
            self.retry_now(slot);
        }
        Ok(())
    }

    fn terminate(&mut self) -> Result<(), Refused> {
        let state = self.mode.end().filter(|_| self.mode.has_ended()).map_or(self.row.status.state, |end| end.state);
        let (ended, failure) = Subject::terminate(state)?;
        self.adopt_held_children();
        self.steps.clear();
        self.record(Kind::Ended(ended));
        self.mode.terminate(End { state: State::Terminated, result: Err(failure) });
        Ok(())
    }

    fn resolve(&mut self, decision: &Decision, change: &AuditedChange) -> Result<(), Refused> {
        let (slots, subject) = self.subject();
        let Resolution { step, fact } = subject.resolve(decision, &change.asked, self.shared.clock.now())?;
        let slot = slots[step];
        if let Some(call) = self.steps.call_mut(slot) {
            call.decided(&decision.verdict);
        }
        self.record(fact);
        match &decision.verdict {
            Verdict::AskAgain => self.retry_now(slot),
            Verdict::Happened(response) => {
                self.settle(slot, Ok(response.clone()), stored::Outcome::Unspecified, false);
            }
            Verdict::Failed(failure) => self.settle(slot, Err(failure.clone()), stored::Outcome::Refused, false),
        }
        Ok(())
    }
}

/// What a command sees of a call; other steps are settled by no operator.
fn subject_step(step: &LiveStep) -> Option<SubjectStep> {
    let call = step.call()?;
    let next_attempt = match call.phase() {
        Phase::BackingOff(at) => Some(*at),
        _ => None,
    };
    let undecided = Undecided { incarnation: call.incarnation, attempt: call.attempts, deadline: call.deadline };
    let undecided = call.started.filter(|_| step.is_undecided()).map(|(sequence, _)| (sequence, undecided));
    Some(SubjectStep { path: step.place.to_string(), reference: step.reference(), next_attempt, undecided })
}
