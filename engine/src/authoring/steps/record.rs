//! Local values as steps: the time, and what a closure makes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use prost::Message;

use crate::authoring::context::Context;
use crate::history::JournaledKind;
use crate::journal::Kind;
use crate::journal_v1::Recorded;
use crate::scope::{Fault, Lookup, Scope};
use crate::step_id::{BranchId, StepId};
use crate::time::Timestamp;

impl Context {
    /// The time, written down: a replay sees the same. Never goes backwards within a run.
    pub fn now(&self) -> Timestamp {
        now(&self.scope, self.branch)
    }

    /// A local value, written down once. The closure runs at least once; what it returned first to reach the
    /// journal is what every replay sees.
    pub fn record<T, F>(&self, name: &'static str, make: F) -> Record<T, F>
    where
        T: Message + Default,
        F: FnOnce() -> T,
    {
        Record::build(Arc::clone(&self.scope), self.branch, name, make)
    }
}

/// A value that is made and written down when it is awaited.
#[must_use = "a value is recorded when it is awaited"]
#[derive(Debug)]
pub struct Record<T, F> {
    scope: Arc<Scope>,
    branch: BranchId,
    position: u32,
    name: &'static str,
    make: Option<F>,
    value: std::marker::PhantomData<fn() -> T>,
}

impl<T, F> Record<T, F> {
    pub(crate) fn build(scope: Arc<Scope>, branch: BranchId, name: &'static str, make: F) -> Self {
        let position = scope.build(branch, name);
        Self { scope, branch, position, name, make: Some(make), value: std::marker::PhantomData }
    }
}

impl<T, F> Unpin for Record<T, F> {}

impl<T, F> Future for Record<T, F>
where
    T: Message + Default,
    F: FnOnce() -> T,
{
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, _cx: &mut TaskContext<'_>) -> Poll<T> {
        let Some(make) = self.make.take() else { return Poll::Pending };
        let place = self.scope.place(self.branch, self.position, self.name);
        match value(&self.scope, self.branch, &place, make) {
            Some(value) => Poll::Ready(value),
            None => Poll::Pending,
        }
    }
}

/// The time, as a value that is written down.
pub(crate) fn now(scope: &Arc<Scope>, branch: BranchId) -> Timestamp {
    let position = scope.build(branch, "now");
    let place = scope.place(branch, position, "now");
    let micros = value(scope, branch, &place, || scope.now().as_micros());
    // Where the run cannot continue, the driver looks at nothing that code does after this.
    let time = Timestamp::from_micros(micros.unwrap_or_default());
    scope.saw(time);
    time
}

/// The journaled value, or a new one; none where the run cannot continue.
fn value<T: Message + Default>(scope: &Scope, branch: BranchId, place: &StepId, make: impl FnOnce() -> T) -> Option<T> {
    match scope.reach_at_once(branch, place)?.1 {
        Lookup::New => {
            let value = make();
            let recorded = Recorded { place: Some(place.stored()), value: value.encode_to_vec().into() };
            scope.write(Kind::Recorded(recorded));
            Some(value)
        }
        Lookup::Journaled(past) => match past.kind {
            JournaledKind::Value(bytes) => match T::decode(bytes) {
                Ok(value) => Some(value),
                Err(error) => {
                    let journal = format!("{place} with a value that does not decode: {error}");
                    scope.fail(Fault::Mismatch { journal, code: place.to_string() });
                    None
                }
            },
            _ => {
                scope.fail(Fault::Mismatch {
                    journal: format!("{place} as a call"),
                    code: format!("{place} as a value"),
                });
                None
            }
        },
    }
}
