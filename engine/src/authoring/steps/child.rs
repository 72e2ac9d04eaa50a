//! A run of its own as a step.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use prost::{Message, Name};

use super::{Step, sealed::Sealed};
use crate::authoring::context::Context;
use crate::authoring::workflow::Workflow;
use crate::failure::{Code, Failure};
use crate::history::JournaledKind;
use crate::identity;
use crate::limits::Limit;
use crate::scope::{ChildIntent, Fault, Intent, Lookup, Scope};
use crate::step_id::{BranchId, SlotId, StepId};

impl Context {
    /// A run of its own, of another workflow or of the same: started when it is awaited, in this run's own append, and
    /// over with the child's result. A child that fails is a failure of this step. Where this run fails or is
    /// cancelled, its children are asked to end too; it does not end before they have.
    pub fn child<W: Workflow>(&self, name: &'static str, input: W::Input) -> Child<W> {
        Child::build(Arc::clone(&self.scope), self.branch, name, input)
    }
}

/// A child run that was built; await it to start it and wait for its end, or [`start`](Child::start) it and await it
/// later.
#[must_use = "a child run is started when it is awaited, or by `start`"]
pub struct Child<W: Workflow> {
    scope: Arc<Scope>,
    branch: BranchId,
    position: u32,
    name: &'static str,
    deadline: Option<Duration>,
    state: State<W>,
}

enum State<W: Workflow> {
    Built(W::Input),
    /// Started; code continues beside it until it is polled.
    Beside(SlotId),
    Waiting(SlotId),
    /// The run cannot continue; the driver knows why.
    Stuck,
}

impl<W: Workflow> Child<W> {
    pub(crate) fn build(scope: Arc<Scope>, branch: BranchId, name: &'static str, input: W::Input) -> Self {
        let position = scope.build(branch, name);
        Self { scope, branch, position, name, deadline: None, state: State::Built(input) }
    }

    /// Time from its start after which the child fails; its workflow's own where nothing is said. Never later than the
    /// time by which its parent's own work must be done.
    pub fn deadline(mut self, span: Duration) -> Self {
        self.deadline = Some(span);
        self
    }

    /// Starts it now; code continues and may await its end later. A run does not end before its children have.
    pub fn start(mut self) -> Self {
        if let State::Built(input) = std::mem::replace(&mut self.state, State::Stuck)
            && let Some(slot) = self.begin(&input)
        {
            self.state = State::Beside(slot);
        }
        self
    }

    fn begin(&self, input: &W::Input) -> Option<SlotId> {
        let place = self.scope.place(self.branch, self.position, self.name);
        let incarnation = self.scope.incarnation(&place);
        let input = input.encode_to_vec();
        let hash = identity::hash(&input);
        let (slot, reached) = self.scope.reach(self.branch, &place)?;
        let journaled = matches!(reached, Lookup::Journaled(_));
        let refused = self.scope.count_child(&place).or_else(|| self.too_large(&place, input.len()));
        match reached {
            // A limit that was lowered fails no run for what it has done already.
            Lookup::New => {
                if let Some(failure) = refused {
                    self.scope.fail(Fault::Limit(failure));
                    return None;
                }
            }
            Lookup::Journaled(past) => match past.kind {
                JournaledKind::Child { workflow, hash: known } if workflow == W::NAME && known == hash => {}
                // It was refused before it was started.
                JournaledKind::Read { hash: Some(known) } if known == hash => {}
                kind => {
                    let code = format!("{place} as a child run of {} with this input", W::NAME);
                    self.scope.fail(Fault::Mismatch { journal: format!("{place} as {kind}"), code });
                    return None;
                }
            },
        }
        self.scope.ask(Intent::Child(Box::new(ChildIntent {
            slot,
            place,
            workflow: W::NAME,
            output_type: W::Output::full_name(),
            input: input.into(),
            hash,
            incarnation,
            deadline: self.deadline,
            journaled,
        })));
        Some(slot)
    }

    fn too_large(&self, place: &StepId, length: usize) -> Option<Failure> {
        let limit = self.scope.limits.payload_bytes;
        let message = format!("the input of {place} has {length} bytes, the limit payload_bytes is {limit}");
        self.scope.counts(Limit::PayloadBytes, length as u64, limit as u64, place);
        (length > limit).then(|| Failure::new(Code::ResourceExhausted, message).at(place.step_ref()))
    }
}

impl<W: Workflow> Unpin for Child<W> {}

impl<W: Workflow> Future for Child<W> {
    type Output = Result<W::Output, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let slot = match std::mem::replace(&mut self.state, State::Stuck) {
            State::Built(input) => match self.begin(&input) {
                Some(slot) => {
                    self.scope.occupy(self.branch);
                    slot
                }
                None => return Poll::Pending,
            },
            State::Beside(slot) => {
                self.scope.occupy(self.branch);
                slot
            }
            State::Waiting(slot) => slot,
            State::Stuck => return Poll::Pending,
        };
        self.state = State::Waiting(slot);
        self.scope.poll_slot(self.branch, slot, cx.waker()).map(|ended| {
            W::Output::decode(ended?).map_err(|error| {
                let place = self.scope.place(self.branch, self.position, self.name);
                let message = format!("the output of {place} does not decode: {error}");
                Failure::new(Code::Internal, message).at(place.step_ref())
            })
        })
    }
}

impl<W: Workflow> Sealed for Child<W> {
    fn let_go(&mut self, gone: &mut Vec<SlotId>) {
        if let State::Waiting(slot) = self.state {
            self.scope.let_go(self.branch, slot, gone);
        }
    }
}

impl<W: Workflow> Step for Child<W> {
    type Value = W::Output;
}

impl<W: Workflow> fmt::Debug for Child<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Child({} {}#{})", W::NAME, self.name, self.position)
    }
}
