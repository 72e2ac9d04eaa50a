//! The commands of operators to a run in memory: carried out immediately, acknowledged when they are durable.

use tokio::sync::oneshot;

use super::Driver;
use super::call_step::Phase;
use super::mode::End;
use super::poison::backs_off_after_panic;
use crate::decision::{Decision, Undecided, Verdict};
use crate::failure::{Code, Failure};
use crate::journal::{Kind, store_failure};
use crate::journal_v1 as stored;
use crate::mailbox::{PendingCommand, Refused, RunCommand};
use crate::state::State;
use crate::step_id::SlotId;
use crate::store::{AuditedChange, RunRow};

/// The failure of a run that was ended by force.
pub(crate) fn terminated() -> Failure {
    Failure::new(Code::Aborted, "an operator terminated the run")
}

/// The last fact of a run that was ended by force.
pub(crate) fn ended_by_force(failure: &Failure) -> stored::Ended {
    let result = Some(stored::ended::Result::Failure(store_failure(failure)));
    stored::Ended { state: stored::EndState::Terminated.into(), result }
}

/// Why no step of a run in this state is tried immediately.
pub(crate) fn no_back_off(state: State, path: Option<&str>) -> Refused {
    match (state, path) {
        (State::Paused, _) => "it is paused; resume it".to_owned(),
        (State::Blocked, _) => "it is blocked; retry it".to_owned(),
        (_, Some(path)) => format!("{path} does not wait for its next attempt"),
        (_, None) => "no step waits for its next attempt".to_owned(),
    }
}

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

    fn skip_back_off(&mut self, path: Option<&str>) -> Result<(), Refused> {
        let now = self.shared.clock.now();
        let waiting = self.steps.slots(|step| {
            matches!(step.phase(), Some(Phase::BackingOff(at)) if *at > now)
                && path.is_none_or(|path| step.place.to_string() == path)
        });
        let state = self.mode.stop().map_or(self.row.status.state, |stop| stop.says().0);
        // One that only now begins to end does that without its code.
        let ends = self.mode.is_ending() && self.row.status.ending_as.is_none();
        let after_panic = path.is_none() && backs_off_after_panic(&self.row.status) && !ends;
        if matches!(state, State::Paused | State::Blocked) || (waiting.is_empty() && !after_panic) {
            return Err(no_back_off(state, path));
        }
        if after_panic {
            self.mode.skip_back_off(now);
        }
        for slot in waiting {
            let Some((step, place)) = self.steps.get(slot).map(|step| step.reference()) else { continue };
            self.steps.clear_timer(slot);
            self.record(Kind::BackOffSkipped(stored::BackOffSkipped { step, place }));
            self.retry_now(slot);
        }
        Ok(())
    }

    fn terminate(&mut self) -> Result<(), Refused> {
        if self.mode.has_ended() {
            return Err("it has ended".to_owned());
        }
        self.adopt_held_children();
        self.steps.clear();
        let failure = terminated();
        self.record(Kind::Ended(ended_by_force(&failure)));
        self.mode.terminate(End { state: State::Terminated, result: Err(failure) });
        Ok(())
    }

    /// The open step with this path.
    fn step_at(&self, path: &str) -> Option<SlotId> {
        self.steps.iter().find(|(_, step)| step.place.to_string() == path).map(|(slot, _)| slot)
    }

    fn resolve(&mut self, decision: &Decision, change: &AuditedChange) -> Result<(), Refused> {
        let now = self.shared.clock.now();
        let nothing = || format!("{} needs no decision", decision.step);
        let slot = self.step_at(&decision.step).ok_or_else(nothing)?;
        let call = self.steps.call_mut(slot).ok_or_else(nothing)?;
        let (Phase::Undecided, Some((sequence, _))) = (call.phase(), call.started) else { return Err(nothing()) };
        let undecided = Undecided { incarnation: call.incarnation, attempt: call.attempts, deadline: call.deadline };
        decision.check(&undecided, now)?;
        match &decision.verdict {
            Verdict::AskAgain => {
                call.doubt.allow();
                // An operator's word has all attempts before it, like a retry.
                call.forgiven = call.attempts;
            }
            Verdict::Happened(_) | Verdict::Failed(_) => call.doubt.clear(),
        }
        self.record(decision.fact(sequence, &change.asked));
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
