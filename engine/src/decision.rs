//! What an operator says of a call that may or may not have happened (semantics.md S6).

use bytes::Bytes;

use crate::failure::Failure;
use crate::journal::{Kind, store_failure};
use crate::journal_v1 as stored;
use crate::rpc::MARGIN;
use crate::store::Requester;
use crate::time::Timestamp;

/// A decision about one attempt of one step. Where the step has moved on meanwhile, it is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The step's path, for example `recipient[u1]/SendPush#1`.
    pub step: String,
    /// The incarnation of the step that the operator saw.
    pub incarnation: u32,
    /// The attempt that the operator saw in doubt; counted from 1.
    pub attempt: u32,
    /// What the operator says.
    pub verdict: Verdict,
}

/// What an operator says of a call in doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Make the call again, once, under its key. Only after the attempt is surely over.
    AskAgain,
    /// It happened, with this encoded response.
    Happened(Bytes),
    /// It did not happen, and is not made again.
    Failed(Failure),
}

impl Verdict {
    /// For the audit trail.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::AskAgain => "ask again",
            Self::Happened(_) => "it happened",
            Self::Failed(_) => "it failed",
        }
    }
}

/// What is known of a step in doubt.
pub(crate) struct Undecided {
    pub(crate) incarnation: u32,
    pub(crate) attempt: u32,
    /// When every attempt must have had its answer.
    pub(crate) deadline: Timestamp,
}

impl Decision {
    /// Whether the decision is about this doubt, and comes late enough; otherwise why not.
    pub(crate) fn check(&self, doubt: &Undecided, now: Timestamp) -> Result<(), String> {
        if (self.incarnation, self.attempt) != (doubt.incarnation, doubt.attempt) {
            return Err(format!(
                "{} is at attempt {} of incarnation {}, the decision is about attempt {} of incarnation {}",
                self.step, doubt.attempt, doubt.incarnation, self.attempt, self.incarnation
            ));
        }
        let over = doubt.deadline.after(MARGIN);
        if self.verdict == Verdict::AskAgain && now < over {
            return Err(format!(
                "attempt {} of {} may be under way until {over}; ask again then",
                self.attempt, self.step
            ));
        }
        Ok(())
    }

    /// The decision as a fact about the step with this number.
    pub(crate) fn fact(&self, step: u64, asked: &Requester) -> Kind {
        Kind::Decided(stored::Decided {
            step,
            attempt: self.attempt,
            ask_again: self.verdict == Verdict::AskAgain,
            caller: asked.caller.clone(),
            reason: asked.reason.clone(),
        })
    }

    /// The end that it brings the step with this number, where it brings one.
    pub(crate) fn end(&self, step: u64) -> Option<Kind> {
        let (result, outcome) = match &self.verdict {
            Verdict::AskAgain => return None,
            Verdict::Happened(response) => {
                (stored::step_settled::Result::Response(response.clone()), stored::Outcome::Unspecified)
            }
            Verdict::Failed(failure) => {
                (stored::step_settled::Result::Failure(store_failure(failure)), stored::Outcome::Refused)
            }
        };
        Some(Kind::StepSettled(stored::StepSettled {
            step,
            attempts: self.attempt,
            result: Some(result),
            outcome: outcome.into(),
            undelivered: true,
            ..stored::StepSettled::default()
        }))
    }
}
