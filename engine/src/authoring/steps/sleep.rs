//! A wait for a time as a step.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use super::{Step, sealed::Sealed};
use crate::authoring::context::Context;
use crate::failure::Failure;
use crate::history::JournaledKind;
use crate::scope::{Fault, Intent, Lookup, Scope};
use crate::step_id::{BranchId, SlotId};

impl Context {
    /// Waits. The run continues after this long, whatever crashes in between; a long wait costs no memory.
    pub fn sleep(&self, name: &'static str, span: Duration) -> Sleep {
        Sleep::build(Arc::clone(&self.scope), self.branch, name, span)
    }
}

/// A sleep that was built; await it to sleep.
#[must_use = "a sleep begins when it is awaited"]
#[derive(Debug)]
pub struct Sleep {
    scope: Arc<Scope>,
    branch: BranchId,
    position: u32,
    name: &'static str,
    span: Duration,
    slot: Option<SlotId>,
}

impl Sleep {
    pub(crate) fn build(scope: Arc<Scope>, branch: BranchId, name: &'static str, span: Duration) -> Self {
        let position = scope.build(branch, name);
        Self { scope, branch, position, name, span, slot: None }
    }
}

impl Future for Sleep {
    type Output = Result<(), Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let slot = match self.slot {
            Some(slot) => slot,
            None => {
                let place = self.scope.place(self.branch, self.position, self.name);
                let Some((slot, reached)) = self.scope.reach(self.branch, &place) else { return Poll::Pending };
                let journaled = match reached {
                    Lookup::New => false,
                    Lookup::Journaled(past) if past.kind == JournaledKind::Sleep => true,
                    Lookup::Journaled(past) => {
                        let journal = format!("{place} as {}", past.kind);
                        self.scope.fail(Fault::Mismatch { journal, code: format!("{place} as a sleep") });
                        return Poll::Pending;
                    }
                };
                self.scope.enter(self.branch, Intent::Sleep { slot, place, span: self.span, journaled });
                self.slot = Some(slot);
                slot
            }
        };
        self.scope.poll_slot(self.branch, slot, cx.waker()).map(|result| result.map(drop))
    }
}

impl Sealed for Sleep {
    fn let_go(&mut self, gone: &mut Vec<SlotId>) {
        if let Some(slot) = self.slot {
            self.scope.let_go(self.branch, slot, gone);
        }
    }
}

impl Step for Sleep {
    type Value = ();
}
