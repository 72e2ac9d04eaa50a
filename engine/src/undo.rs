//! What takes a step back: how it is said, how it is stored, and what a journal leaves to undo (semantics.md U1 to U3).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use uuid::Uuid;

use crate::doubt::Doubt;
use crate::failure::{Code, Failure};
use crate::identity;
use crate::journal::{load_failure, load_level, store_level};
use crate::journal_v1 as stored;
use crate::panics::{Panicked, caught};
use crate::retry::Retry;
use crate::rpc::{Level, Rpc};
use crate::step_id::StepId;
use crate::time::Timestamp;

/// The branch of all undos; no fan-out can have its name.
const BRANCH: &str = "~undo";

/// The undo of a step that code has built.
pub(crate) struct Undo {
    pub(crate) source: UndoSource,
    pub(crate) policy: Policy,
}

impl fmt::Debug for Undo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Undo").field("policy", &self.policy).finish_non_exhaustive()
    }
}

pub(crate) enum UndoSource {
    /// By key: known when the step starts.
    Known(stored::Undo),
    /// Made from the step's encoded response.
    ByResponse(Box<Make>),
}

/// Makes an undo from an encoded response.
pub(crate) type Make = dyn FnOnce(Bytes) -> Result<stored::Undo, prost::DecodeError> + Send;

/// Makes an undo; none if the response does not decode, which code sees as well. A panic is one of the run's code (S5).
pub(crate) fn made(make: Box<Make>, response: Bytes) -> Result<Option<stored::Undo>, Panicked> {
    caught(|| make(response)).map(Result::ok)
}

/// How an undo is tried: its own budget, whatever the step had.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Policy {
    pub(crate) retry: Retry,
    pub(crate) timeout: Option<Duration>,
}

impl Default for Policy {
    fn default() -> Self {
        Self { retry: Retry::stubborn(), timeout: None }
    }
}

impl Policy {
    pub(crate) fn stored(self) -> stored::UndoPolicy {
        let (attempts, first, factor, cap, jitter) = self.retry.parts();
        let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        stored::UndoPolicy {
            attempts,
            first_micros: micros(first),
            factor,
            cap_micros: micros(cap),
            jitter,
            timeout_micros: self.timeout.map_or(0, micros),
            total_micros: self.retry.total().map_or(0, micros),
        }
    }

    pub(crate) fn load(stored: stored::UndoPolicy) -> Self {
        let (first, cap) = (Duration::from_micros(stored.first_micros), Duration::from_micros(stored.cap_micros));
        let retry = Retry::try_new(stored.attempts, first, stored.factor, cap, stored.jitter);
        let retry = retry.unwrap_or(Self::default().retry);
        Self {
            retry: match stored.total_micros {
                0 => retry,
                total => retry.within(Duration::from_micros(total)),
            },
            timeout: (stored.timeout_micros != 0).then(|| Duration::from_micros(stored.timeout_micros)),
        }
    }
}

/// Where the undo of a step stands.
pub(crate) fn place_of(step: &StepId, method: String) -> StepId {
    StepId { branch: branch_of(&step.branch), position: step.position, name: method.into() }
}

fn branch_of(step: &str) -> Arc<str> {
    if step.is_empty() { BRANCH.into() } else { format!("{BRANCH}/{step}").into() }
}

/// Whether this is the branch of an undo.
pub(crate) fn is_branch(branch: &str) -> bool {
    branch == BRANCH || branch.strip_prefix(BRANCH).is_some_and(|rest| rest.starts_with('/'))
}

/// The key of the undo of a step: one for each incarnation of the step (semantics.md E7).
pub(crate) fn key_of(run: Uuid, step: &StepId, method: &str, incarnation: u32) -> Uuid {
    identity::step_key(run, &branch_of(&step.branch), step.position, method, incarnation)
}

/// The undo message of a call, with its own key where the contract has a field for one.
pub(crate) fn message<U: Rpc>(undo: U, key: Uuid) -> stored::Undo {
    let mut request = undo.into_request();
    U::fill_request_id(&mut request, &key.to_string());
    let (level, dedupe_horizon_seconds) = store_level(U::METHOD.level);
    stored::Undo {
        method: U::METHOD.path.to_owned(),
        request: request.encode_to_vec().into(),
        level: level.into(),
        dedupe_horizon_seconds,
    }
}

/// A started step that has an undo.
#[derive(Clone, Debug)]
pub(crate) struct Undoable {
    /// Sequence number of its start.
    pub(crate) step: u64,
    pub(crate) place: StepId,
    pub(crate) key: Uuid,
    pub(crate) incarnation: u32,
    pub(crate) level: Level,
    pub(crate) request: Bytes,
    pub(crate) started_at: Timestamp,
    pub(crate) attempts: u32,
    /// When every attempt must have had its answer.
    pub(crate) deadline: Timestamp,
    /// The call that undoes it; none where it is made from a response that is not there.
    pub(crate) undo: Option<stored::Undo>,
    pub(crate) by_response: bool,
    /// The response that the undo is still to be made from.
    pub(crate) response: Option<Bytes>,
    pub(crate) policy: Policy,
    pub(crate) fate: StepFate,
    pub(crate) undone: bool,
    /// Why its undo failed, until an operator retries that.
    pub(crate) failed: Option<String>,
}

/// What is known of a step that has an undo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepFate {
    /// It has not settled.
    Open,
    /// It surely did nothing.
    Nothing,
    /// It did something, or could have: taking it back is right either way.
    Happened,
    /// It has to be settled first: asked again under its key.
    Doubtful,
}

impl StepFate {
    /// What became of a step that settled like this, whose attempts leave this doubt.
    fn of(settled: &stored::StepSettled, doubt: Doubt, undo_is_known: bool, level: Level) -> Self {
        match (&settled.result, settled.outcome()) {
            (Some(stored::step_settled::Result::Response(_)) | None, _) => Self::Happened,
            (_, stored::Outcome::Ambiguous) => Self::Doubtful,
            // It answered, only the answer was of no use.
            (_, stored::Outcome::Unspecified) => Self::Happened,
            _ if !doubt.exists() => Self::Nothing,
            // An earlier attempt may have acted. It is taken back on that account, unless that needs its response, or an
            // operator has to say whether it acted (semantics.md U2).
            _ if undo_is_known && level != Level::Unknown => Self::Happened,
            _ => Self::Doubtful,
        }
    }
}

/// Whether the end of an undo means that its step is taken back.
pub(crate) fn takes_back(settled: &stored::StepSettled) -> bool {
    settled.undone || matches!(settled.result, Some(stored::step_settled::Result::Response(_)))
}

impl Undoable {
    pub(crate) fn is_left(&self) -> bool {
        !self.undone && self.fate != StepFate::Nothing
    }

    /// Another attempt of the step begins.
    pub(crate) fn attempted(&mut self, attempt: u32, deadline: Timestamp) {
        (self.attempts, self.deadline) = (attempt, self.deadline.max(deadline));
    }

    /// The step settled; its attempts leave this doubt.
    pub(crate) fn settled(&mut self, settled: &stored::StepSettled, doubt: Doubt) {
        if settled.undo.is_some() {
            self.undo.clone_from(&settled.undo);
        }
        self.response = match &settled.result {
            Some(stored::step_settled::Result::Response(response)) if self.undo.is_none() => Some(response.clone()),
            _ => None,
        };
        self.fate = StepFate::of(settled, doubt, self.undo.is_some(), self.level);
    }

    /// Its undo settled.
    pub(crate) fn undo_settled(&mut self, settled: &stored::StepSettled) {
        self.undone |= takes_back(settled);
        self.failed = match &settled.result {
            Some(stored::step_settled::Result::Failure(failure)) if !self.undone => {
                Some(load_failure(failure.clone()).to_string())
            }
            _ => None,
        };
    }

    /// Whether code has to say again what takes the step back: it is made from a response that may still come, or that
    /// an operator gave.
    pub(crate) fn needs_code(&self) -> bool {
        let open = matches!(self.fate, StepFate::Open | StepFate::Doubtful);
        self.by_response && self.undo.is_none() && (open || self.response.is_some())
    }

    pub(crate) fn undo_level(undo: &stored::Undo) -> Level {
        load_level(undo.level(), undo.dedupe_horizon_seconds)
    }
}

/// What an author gets who wants to undo a call that has a business key.
pub(crate) fn shared(method: &str) -> Failure {
    let message = format!(
        "{method} has a business key and an undo: the effect may be another run's, and under the same key it is not made \
         again after it was undone; use one of the two"
    );
    Failure::new(Code::InvalidArgument, message)
}

/// What an author gets who wants a read undone, or a step undone by a read.
pub(crate) fn pointless(what: &str) -> Failure {
    Failure::new(Code::InvalidArgument, format!("{what} has no side effects, so it is no part of an undo"))
}
