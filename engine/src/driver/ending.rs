//! How a run ends: no new steps, what is in flight settles, and only then the end is written.

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;

use super::Driver;
use super::mode::{End, Mode};
use super::step::{Phase, Work};
use crate::failure::{Code, Failure};
use crate::journal::{Kind, store_failure};
use crate::journal_v1 as stored;
use crate::state::State;
use crate::step_id::SlotId;

impl End {
    /// The end as it is stored.
    pub(super) fn stored(&self) -> stored::Ended {
        let result = match &self.result {
            Ok(output) => stored::ended::Result::Output(output.clone()),
            Err(failure) => stored::ended::Result::Failure(store_failure(failure)),
        };
        stored::Ended { state: store_end(self.state).into(), result: Some(result) }
    }
}

impl Driver {
    /// An operator asked for the end. A run of which it is not known what it has in flight is ended by force only (S2).
    pub(super) fn cancel(&mut self) {
        if self.mode.is_ending() {
            return self.cancel_children();
        }
        if self.mode.is_unreadable() {
            return;
        }
        let failure = Failure::new(Code::Cancelled, "an operator cancelled the run");
        self.end(State::Cancelled, Err(failure));
    }

    /// Begins to end. Code is dropped; reads are aborted; effects in flight settle within their deadline.
    pub(super) fn end(&mut self, state: State, result: Result<Bytes, Failure>) {
        if self.mode.is_ending() {
            return;
        }
        self.mode.set_ending(End { state, result });
        // Code will not come to these any more; what may have happened of them settles all the same.
        let held = std::mem::take(&mut self.held);
        self.reopen_unreached(held);
        self.drop_unsent();
        // A run that ends well has the children that it asked for.
        if state != State::Succeeded {
            self.drop_unstarted_children();
        }
        self.abort_reads();
        self.cancel_waits();
        if (!self.steps.is_empty() || self.must_undo())
            && let Some(end) = self.mode.end()
        {
            let fact = ending_fact(end);
            self.record(fact);
            self.flush = true;
        }
        self.conclude();
    }

    /// Continues ending, where the journal says that the run was.
    pub(super) fn resume_ending(&mut self, ending: stored::Ending) {
        let state = load_end(ending.ending_as());
        let result = match ending.failure {
            Some(failure) => Err(crate::journal::load_failure(failure)),
            None => Ok(ending.output),
        };
        self.mode.set_ending(End { state, result });
    }

    /// Writes the end, once nothing is open and nothing is left to undo.
    pub(super) fn conclude(&mut self) {
        if !self.steps.is_empty() || !matches!(self.mode, Mode::Ending { stop: None, .. }) {
            return;
        }
        if self.must_undo() && !self.all_undone() {
            return;
        }
        let Some(ended) = self.mode.conclude().map(End::stored) else { return };
        self.record(Kind::Ended(ended));
    }

    /// Only what was sent and is still open flies on.
    fn abort_reads(&mut self) {
        let sent = |slot| self.steps.get(&slot).is_some_and(|step| matches!(step.phase, Phase::Sending));
        let in_flight = std::mem::replace(&mut self.in_flight, FuturesUnordered::new());
        self.in_flight = in_flight.into_iter().filter(|flight| sent(flight.slot())).collect();
    }

    /// Steps that wait for a time: a sleep ends, an attempt that surely did nothing is not made again, and one
    /// that may have done something is asked again immediately.
    pub(super) fn cancel_waits(&mut self) {
        let waiting: Vec<SlotId> = self
            .steps
            .iter()
            .filter(|(_, step)| {
                matches!(step.phase, Phase::Until(_) | Phase::Message(_)) && !matches!(step.work, Work::Child(_))
            })
            .map(|(slot, _)| *slot)
            .collect();
        let now = self.shared.clock.now();
        self.timers.clear();
        for slot in waiting {
            let Some(step) = self.steps.get_mut(&slot) else { continue };
            // An undo continues.
            if step.is_undo()
                && let Phase::Until(at) = step.phase
            {
                self.timers.insert((at, slot));
                continue;
            }
            if step.doubt.exists() {
                self.timers.insert((now, slot));
                continue;
            }
            match &step.work {
                Work::Call(call) if call.started.is_some() => {
                    let failure = Failure::new(Code::Cancelled, "the run ended before the call was made again");
                    self.settle(slot, Err(failure), stored::Outcome::NotSent, false);
                }
                _ => {
                    self.steps.remove(&slot);
                }
            }
        }
    }
}

fn ending_fact(end: &End) -> Kind {
    let (output, failure) = match &end.result {
        Ok(output) => (output.clone(), None),
        Err(failure) => (Bytes::new(), Some(store_failure(failure))),
    };
    Kind::Ending(stored::Ending { ending_as: store_end(end.state).into(), failure, output })
}

fn store_end(state: State) -> stored::EndState {
    match state {
        State::Succeeded => stored::EndState::Succeeded,
        State::Cancelled => stored::EndState::Cancelled,
        State::Terminated => stored::EndState::Terminated,
        _ => stored::EndState::Failed,
    }
}

fn load_end(state: stored::EndState) -> State {
    match state {
        stored::EndState::Succeeded => State::Succeeded,
        stored::EndState::Cancelled => State::Cancelled,
        stored::EndState::Terminated => State::Terminated,
        stored::EndState::Failed | stored::EndState::Unspecified => State::Failed,
    }
}
