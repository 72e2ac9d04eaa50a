//! A wait for a message as a step.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use prost::{Message, Name};

use super::{Step, sealed::Sealed};
use crate::authoring::context::Context;
use crate::failure::{Code, Failure};
use crate::history::JournaledKind;
use crate::scope::{Fault, Intent, Lookup, Scope};
use crate::step_id::{BranchId, SlotId};

impl Context {
    /// Waits for a message that somebody sends the run under this name, and that the workflow declares among its
    /// [`SIGNALS`](crate::Workflow::SIGNALS). One that came early was kept; of several the oldest comes first.
    ///
    /// ```
    /// # use engine::{Context, Failure};
    /// # use std::time::Duration;
    /// # #[derive(Clone, PartialEq, prost::Message)] struct Paid {}
    /// # impl prost::Name for Paid { const NAME: &'static str = "Paid"; const PACKAGE: &'static str = "p"; }
    /// async fn paid(ctx: &Context) -> Result<bool, Failure> {
    ///     let paid: Option<Paid> = ctx.signal("payment").within(Duration::from_secs(24 * 3_600)).await?;
    ///     Ok(paid.is_some())
    /// }
    /// ```
    pub fn signal<M: Message + Name + Default>(&self, name: &'static str) -> Signal<M> {
        Signal::build(Arc::clone(&self.scope), self.branch, name)
    }
}

/// A wait for a signal that was built; await it to wait. It lasts until the signal comes, or until the run's deadline;
/// [`Signal::within`] bounds it.
#[must_use = "a wait begins when it is awaited"]
#[derive(Debug)]
pub struct Signal<M> {
    wait: Wait,
    message: PhantomData<fn() -> M>,
}

/// A wait for a signal that ends without one when its time has passed.
#[must_use = "a wait begins when it is awaited"]
#[derive(Debug)]
pub struct SignalWithin<M>(Signal<M>);

#[derive(Debug)]
struct Wait {
    scope: Arc<Scope>,
    branch: BranchId,
    position: u32,
    name: &'static str,
    type_name: String,
    within: Option<Duration>,
    slot: Option<SlotId>,
}

impl<M: Message + Name + Default> Signal<M> {
    pub(crate) fn build(scope: Arc<Scope>, branch: BranchId, name: &'static str) -> Self {
        let position = scope.build(branch, name);
        let type_name = M::full_name();
        let declared = scope.signals.iter().any(|known| known.name() == name && known.type_name() == type_name);
        if !declared {
            scope.fail(Fault::Undeclared { signal: format!("{name}: {type_name}") });
        }
        let wait = Wait { scope, branch, position, name, type_name, within: None, slot: None };
        Self { wait, message: PhantomData }
    }

    /// Waits no longer than this; then the wait brings nothing. Whether the signal came in time is decided in the
    /// store, also where no replica held the run.
    pub fn within(mut self, span: Duration) -> SignalWithin<M> {
        self.wait.within = Some(span);
        SignalWithin(self)
    }
}

impl Wait {
    /// Waits; an error says that the time has passed.
    fn poll<M: Message + Default>(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<Result<M, Failure>, Failure>> {
        let slot = match self.slot {
            Some(slot) => slot,
            None => match self.begin() {
                Some(slot) => *self.slot.insert(slot),
                None => return Poll::Pending,
            },
        };
        self.scope.poll_slot(self.branch, slot, cx.waker()).map_ok(|message| {
            M::decode(message).map_err(|error| {
                let place = self.scope.place(self.branch, self.position, self.name);
                let message = format!("the message of {place} does not decode: {error}");
                Failure::new(Code::Internal, message).at(place.step_ref())
            })
        })
    }

    fn begin(&self) -> Option<SlotId> {
        let place = self.scope.place(self.branch, self.position, self.name);
        let (slot, reached) = self.scope.reach(self.branch, &place)?;
        let journaled = match reached {
            Lookup::New => false,
            Lookup::Journaled(past) if past.kind == JournaledKind::Signal => true,
            Lookup::Journaled(past) => {
                let journal = format!("{place} as {}", past.kind);
                self.scope.fail(Fault::Mismatch { journal, code: format!("{place} as a wait for a signal") });
                return None;
            }
        };
        let type_name = self.type_name.clone();
        self.scope.enter(self.branch, Intent::Signal { slot, place, type_name, within: self.within, journaled });
        Some(slot)
    }
}

impl<M> Unpin for Signal<M> {}

impl<M: Message + Default> Future for Signal<M> {
    type Output = Result<M, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        self.wait.poll(cx).map(|came| came?)
    }
}

impl<M: Message + Default> Future for SignalWithin<M> {
    type Output = Result<Option<M>, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        // Nothing but its time ends a wait without a message.
        self.0.wait.poll(cx).map(|came| came.ok().transpose())
    }
}

impl<M> Sealed for Signal<M> {
    fn let_go(&mut self, gone: &mut Vec<SlotId>) {
        if let Some(slot) = self.wait.slot {
            self.wait.scope.let_go(self.wait.branch, slot, gone);
        }
    }
}

impl<M> Sealed for SignalWithin<M> {
    fn let_go(&mut self, gone: &mut Vec<SlotId>) {
        self.0.let_go(gone);
    }
}

impl<M: Message + Default> Step for Signal<M> {
    type Value = M;
}

impl<M: Message + Default> Step for SignalWithin<M> {
    type Value = Option<M>;
}
