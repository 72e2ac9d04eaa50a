//! What follows from the outcome of an attempt: a pure decision, with no look at the run beside the step.

use bytes::Bytes;

use super::call_step::Phase;
use super::step::LiveStep;
use crate::failure::{Code, Failure};
use crate::journal::store_outcome;
use crate::journal_v1 as stored;
use crate::time::Timestamp;
use crate::transport::{Outcome, Unsent};

/// What becomes of a call.
pub(super) enum Next {
    /// It settles with this response.
    Respond(Bytes),
    /// It settles with this failure.
    Fail { failure: Failure, known: stored::Outcome, repeated: bool },
    /// It stays open.
    Retry(Retry),
}

/// A failed attempt that is not the last word.
pub(super) struct Retry {
    pub(super) failure: Failure,
    pub(super) outcome: stored::Outcome,
    /// When the next attempt is made; if there is no time, an operator has to decide.
    pub(super) at: Option<Timestamp>,
    /// Whether the failure is an answer that may still change, and no fault.
    pub(super) expected: bool,
}

impl LiveStep {
    /// Takes the outcome of the attempt under way. `share` spreads pauses: it gives 0 to 1. `conclusive_at` is when a service
    /// that answers an undo with NOT_FOUND can be believed: the call that it takes back may come later.
    pub(super) fn after(
        &mut self,
        outcome: Outcome,
        now: Timestamp,
        share: impl FnOnce() -> f64,
        conclusive_at: Option<Timestamp>,
    ) -> Next {
        let (known, deadline) = (store_outcome(&outcome), self.deadline());
        let (failure, retry_after) = match outcome {
            Outcome::Done(response) => return Next::Respond(response),
            Outcome::Refused(failure) => return self.refused(failure, now, conclusive_at),
            Outcome::NotSent(Unsent { failure, retry_after }) | Outcome::Ambiguous { failure, retry_after } => {
                (failure, retry_after)
            }
        };
        let Some(call) = self.call_mut() else { return Next::Fail { failure, known, repeated: false } };
        call.failed(known);
        let pause = call.retry().pause_after(call.counted(), retry_after, share());
        if call.undecided(now) {
            call.enter(Phase::Undecided);
            return Next::Retry(Retry { failure, outcome: known, at: None, expected: false });
        }
        // An attempt that could only begin too late is not waited for.
        let Some(at) = pause.map(|pause| now.after(pause)).filter(|at| deadline.is_none_or(|deadline| *at < deadline))
        else {
            let known = if call.doubt.exists() { stored::Outcome::Ambiguous } else { known };
            return Next::Fail { failure, known, repeated: false };
        };
        call.enter(Phase::BackingOff(at));
        Next::Retry(Retry { failure, outcome: known, at: Some(at), expected: false })
    }

    fn refused(&mut self, failure: Failure, now: Timestamp, conclusive_at: Option<Timestamp>) -> Next {
        let known = stored::Outcome::Refused;
        let Some(call) = self.call_mut() else { return Next::Fail { failure, known, repeated: false } };
        call.failed(known);
        if failure.code() == Code::NotFound
            && let Some(from) = conclusive_at
            && call.attempted_at < from
        {
            // The original call may still arrive. The undo is made again as soon as that is no longer possible.
            let at = from.max(now);
            call.enter(Phase::BackingOff(at));
            return Next::Retry(Retry { failure, outcome: known, at: Some(at), expected: true });
        }
        let repeated = call.doubt.exists() && matches!(failure.code(), Code::NotFound | Code::AlreadyExists);
        Next::Fail { failure, known, repeated }
    }
}
