//! How a run ends: no new steps, what is in flight settles, and only then the end is written.

use bytes::Bytes;

use super::Driver;
use super::call_step::Phase;
use super::mode::{End, Mode};
use super::step::StepKind;
use crate::failure::{Code, Failure};
use crate::journal::{Kind, store_failure};
use crate::journal_v1 as stored;
use crate::state::State;

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
        let held = self.steps.take_all_held();
        self.reopen_unreached(held);
        self.drop_unsent();
        // A run that ends well has the children that it asked for.
        if state != State::Succeeded {
            self.drop_unstarted_children();
        }
        // Only the outcome of what was sent is waited for.
        self.steps.abandon_unsent();
        self.cancel_waits();
        if (!self.steps.is_empty() || self.must_undo())
            && let Some(end) = self.mode.end()
        {
            let fact = ending_fact(end);
            self.record(fact);
            self.writes.request();
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

    /// Steps that wait for a time: a sleep ends, an attempt that surely did nothing is not made again, and one
    /// that may have done something is asked again immediately.
    pub(super) fn cancel_waits(&mut self) {
        let waiting = self.steps.slots(|step| match &step.kind {
            StepKind::Call(call) => matches!(call.phase(), Phase::BackingOff(_)),
            StepKind::Sleep { .. } | StepKind::Signal { .. } => true,
            StepKind::Child(_) => false,
        });
        let now = self.shared.clock.now();
        self.steps.clear_timers();
        for slot in waiting {
            let Some(call) = self.steps.get(slot).and_then(|step| step.call()) else {
                self.steps.remove(slot);
                continue;
            };
            match call.phase() {
                // An undo continues.
                Phase::BackingOff(at) if call.undoes.is_some() => {
                    let at = *at;
                    self.steps.set_timer(slot, at);
                }
                _ if call.doubt.exists() => self.steps.set_timer(slot, now),
                _ if call.started.is_some() => {
                    let failure = Failure::new(Code::Cancelled, "the run ended before the call was made again");
                    self.settle(slot, Err(failure), stored::Outcome::NotSent, false);
                }
                _ => drop(self.steps.remove(slot)),
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
