//! What operators ask of a run in memory: done at once, answered when it is durable.

use tokio::sync::oneshot;

use super::Driver;
use super::step::{Phase, Work};
use crate::decision::{Decision, Doubt, Verdict};
use crate::journal_v1 as stored;
use crate::place::SlotId;
use crate::store::{Change, RunRow};

/// Something that an operator asks of one run.
#[derive(Clone, Debug)]
pub(crate) enum RunOrder {
    Resolve(Decision),
}

/// Why the run does not do it.
pub(crate) type Refused = String;

/// An order on its way to a run in memory.
#[derive(Debug)]
pub(crate) struct Ordered {
    pub(crate) order: RunOrder,
    pub(crate) change: Change,
    pub(crate) answer: oneshot::Sender<Result<RunRow, Refused>>,
}

/// An order that was done in memory and is not durable yet.
pub(super) struct Promised {
    pub(super) change: Change,
    answer: oneshot::Sender<Result<RunRow, Refused>>,
}

impl Promised {
    /// It is durable.
    pub(super) fn kept(self, row: &RunRow) {
        // Whoever asked may have gone.
        drop(self.answer.send(Ok(row.clone())));
    }
}

impl Driver {
    pub(super) fn take_orders(&mut self) {
        for Ordered { order, change, answer } in self.handle.take_orders() {
            let done = match &order {
                RunOrder::Resolve(decision) => self.resolve(decision, &change),
            };
            match done {
                Ok(()) => {
                    self.promised.push(Promised { change, answer });
                    self.flush = true;
                }
                Err(refused) => drop(answer.send(Err(refused))),
            }
        }
    }

    /// The open step with this path.
    fn step_at(&self, path: &str) -> Option<SlotId> {
        self.steps.iter().find(|(_, step)| step.place.to_string() == path).map(|(slot, _)| *slot)
    }

    fn resolve(&mut self, decision: &Decision, change: &Change) -> Result<(), Refused> {
        let now = self.shared.clock.now();
        let nothing = || format!("{} needs no decision", decision.step);
        let slot = self.step_at(&decision.step).ok_or_else(nothing)?;
        let step = self.steps.get_mut(&slot).ok_or_else(nothing)?;
        let Work::Call(call) = &step.work else { return Err(nothing()) };
        let (Phase::Undecided, Some((sequence, _))) = (&step.phase, call.started) else { return Err(nothing()) };
        let doubt = Doubt { incarnation: call.incarnation, attempt: step.attempts, deadline: call.deadline };
        decision.check(&doubt, now)?;
        if decision.verdict == Verdict::AskAgain {
            step.allowed = true;
            // An operator's word has all attempts before it, like a retry.
            step.forgiven = step.attempts;
        }
        self.learn(decision.fact(sequence, &change.asked));
        match &decision.verdict {
            Verdict::AskAgain => self.again(slot),
            Verdict::Happened(response) => {
                self.settle(slot, Ok(response.clone()), stored::Outcome::Unspecified, false);
            }
            Verdict::Failed(failure) => self.settle(slot, Err(failure.clone()), stored::Outcome::Refused, false),
        }
        Ok(())
    }
}
