//! Several steps in a row as one step, on a branch of their own.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use futures_util::future::BoxFuture;

use super::{Step, sealed::Sealed};
use crate::authoring::context::Context;
use crate::failure::Failure;
use crate::history::JournaledKind;
use crate::journal::Kind;
use crate::journal_v1::BranchStarted;
use crate::scope::{Fault, Lookup, Scope};
use crate::step_id::{BranchId, SlotId};

impl Context {
    /// Several steps in a row as one: they stand on a branch of their own, and so may continue beside others.
    ///
    /// ```
    /// # use engine::{Context, Failure};
    /// # use std::time::Duration;
    /// async fn both(ctx: &Context) -> Result<(), Failure> {
    ///     let twice = ctx.branch("twice", |ctx| async move {
    ///         ctx.sleep("first", Duration::from_secs(1)).await?;
    ///         ctx.sleep("second", Duration::from_secs(1)).await
    ///     });
    ///     ctx.all((twice, ctx.sleep("once", Duration::from_secs(2)))).await?;
    ///     Ok(())
    /// }
    /// ```
    pub fn branch<'b, F, Fut, T>(&self, name: &'static str, body: F) -> Branch<'b, T>
    where
        F: FnOnce(Self) -> Fut,
        Fut: Future<Output = Result<T, Failure>> + Send + 'b,
    {
        Branch::build(Arc::clone(&self.scope), self.branch, name, body)
    }
}

/// A branch that was built; await it to begin it.
#[must_use = "a branch begins when it is awaited"]
pub struct Branch<'b, T> {
    scope: Arc<Scope>,
    /// The branch that it leaves.
    parent: BranchId,
    position: u32,
    name: &'static str,
    branch: BranchId,
    path: Arc<str>,
    body: BoxFuture<'b, Result<T, Failure>>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Built,
    Going,
    /// It ended, or the run cannot continue; the driver knows why.
    Over,
}

impl<'b, T> Branch<'b, T> {
    pub(crate) fn build<F, Fut>(scope: Arc<Scope>, parent: BranchId, name: &'static str, body: F) -> Self
    where
        F: FnOnce(Context) -> Fut,
        Fut: Future<Output = Result<T, Failure>> + Send + 'b,
    {
        let position = scope.build(parent, name);
        let ordinal = scope.count_branches(parent, name);
        let (branch, path) = scope.open_branch(parent, name, ordinal);
        let body = Box::pin(body(Context::on(Arc::clone(&scope), branch)));
        Self { scope, parent, position, name, branch, path, body, state: State::Built }
    }

    /// Begins it, in the journal too. False where the run cannot continue.
    fn begin(&self) -> bool {
        let place = self.scope.place(self.parent, self.position, self.name);
        let Some((_, reached)) = self.scope.reach_at_once(self.parent, &place) else { return false };
        match reached {
            Lookup::New => {
                let begun = BranchStarted { place: Some(place.stored()), path: (*self.path).into() };
                self.scope.write(Kind::BranchStarted(begun));
            }
            Lookup::Journaled(past) if matches!(&past.kind, JournaledKind::Branch { path } if **path == *self.path) => {
            }
            Lookup::Journaled(past) => {
                let code = format!("{place} as branch {}", self.path);
                self.scope.fail(Fault::Mismatch { journal: format!("{place} as {}", past.kind), code });
                return false;
            }
        }
        self.scope.occupy(self.parent);
        true
    }
}

impl<T> Future for Branch<'_, T> {
    type Output = Result<T, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        if self.state == State::Built {
            self.state = if self.begin() { State::Going } else { State::Over };
        }
        if self.state == State::Over {
            return Poll::Pending;
        }
        let ended = self.body.as_mut().poll(cx);
        if ended.is_ready() {
            self.scope.leave(self.parent);
            self.state = State::Over;
        }
        ended
    }
}

impl<T> Sealed for Branch<'_, T> {
    fn let_go(&mut self, gone: &mut Vec<SlotId>) {
        if self.state == State::Going {
            self.scope.let_go_branch(self.branch, gone);
            self.scope.leave(self.parent);
            self.state = State::Over;
        }
    }
}

impl<T> Step for Branch<'_, T> {
    type Value = T;
}

impl<T> fmt::Debug for Branch<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Branch({})", self.path)
    }
}
