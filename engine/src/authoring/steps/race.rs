//! Several steps at the same time, of which the first that settles counts.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use super::{Step, sealed::Sealed};
use crate::authoring::context::Context;
use crate::failure::{Code, Failure};
use crate::scope::Scope;
use crate::step_id::{BranchId, SlotId};
use racing::Selection;

impl Context {
    /// Makes steps at the same time, and continues with the first that settles, well or badly. Takes a tuple of two to
    /// four steps, or a `Vec` of equal ones.
    ///
    /// Waits that lost are withdrawn. Calls that lost are not made if they were not sent yet; an effect that was
    /// continues, is journaled, and has settled before the run ends.
    pub fn race<A: RaceSteps>(&self, arms: A) -> Race<A> {
        Race::build(Arc::clone(&self.scope), self.branch, arms)
    }
}

/// The first of two steps that settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First2<A, B> {
    /// The first step won.
    First(A),
    /// The second step won.
    Second(B),
}

/// The first of three steps that settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First3<A, B, C> {
    /// The first step won.
    First(A),
    /// The second step won.
    Second(B),
    /// The third step won.
    Third(C),
}

/// The first of four steps that settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First4<A, B, C, D> {
    /// The first step won.
    First(A),
    /// The second step won.
    Second(B),
    /// The third step won.
    Third(C),
    /// The fourth step won.
    Fourth(D),
}

/// Steps that race: a tuple of two to four, or a `Vec` of equal ones.
///
/// Built before any is polled, so their places do not depend on which answers first.
pub trait RaceSteps: Unpin + racing::Racing<Value = Self::Winner> {
    /// What the winner brings, and which one it was.
    type Winner;
}

mod racing {
    use std::task::{Context as TaskContext, Poll};

    use crate::failure::Failure;
    use crate::step_id::SlotId;

    /// Which arms may win, and which are polled.
    #[derive(Clone, Copy, Debug)]
    pub struct Selection {
        /// The winner, if the journal has one.
        pub(super) known: Option<u32>,
        /// Whether all arms are polled, so that code comes to the same steps as it did before.
        pub(super) all: bool,
    }

    impl Selection {
        pub(super) fn allow(self, arm: u32) -> bool {
            self.known.is_none_or(|known| known == arm)
        }
    }

    pub trait Racing {
        type Value;

        /// The index and the result of the first arm, in their order, that has settled and may win. Polls those after it too
        /// if `selection` say so.
        fn poll_first(
            &mut self,
            selection: Selection,
            cx: &mut TaskContext<'_>,
        ) -> Poll<(u32, Result<Self::Value, Failure>)>;

        /// Lets go of all arms but one.
        fn let_go_but(&mut self, winner: u32, gone: &mut Vec<SlotId>);
    }
}

/// A race that was built; await it to begin it.
#[must_use = "a race begins when it is awaited"]
#[derive(Debug)]
pub struct Race<A> {
    scope: Arc<Scope>,
    branch: BranchId,
    position: u32,
    /// Gone once it is decided.
    arms: Option<A>,
}

/// What the journal calls the step.
const NAME: &str = "race";

impl<A: RaceSteps> Race<A> {
    pub(crate) fn build(scope: Arc<Scope>, branch: BranchId, arms: A) -> Self {
        let position = scope.build(branch, NAME);
        Self { scope, branch, position, arms: Some(arms) }
    }
}

impl<A: RaceSteps> Future for Race<A> {
    type Output = Result<A::Winner, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        // After a retry code may come to the race when several of its arms have settled, or have steps that are open.
        let known = self.scope.winner(self.branch, self.position);
        let selection = Selection { known, all: known.is_some() || self.scope.was_reset() };
        let Some(arms) = &mut self.arms else { return Poll::Pending };
        let Poll::Ready((winner, result)) = arms.poll_first(selection, cx) else { return Poll::Pending };
        let mut losers = Vec::new();
        arms.let_go_but(winner, &mut losers);
        self.arms = None;
        let place = self.scope.place(self.branch, self.position, NAME);
        if self.scope.raced(self.branch, place, winner, losers) { Poll::Ready(result) } else { Poll::Pending }
    }
}

impl<A: RaceSteps> Sealed for Race<A> {
    fn let_go(&mut self, gone: &mut Vec<SlotId>) {
        if let Some(arms) = &mut self.arms {
            arms.let_go_but(u32::MAX, gone);
        }
        self.arms = None;
    }
}

impl<A: RaceSteps> Step for Race<A> {
    type Value = A::Winner;
}

impl<S: Step + Unpin> racing::Racing for Vec<S> {
    type Value = (usize, S::Value);

    fn poll_first(
        &mut self,
        selection: Selection,
        cx: &mut TaskContext<'_>,
    ) -> Poll<(u32, Result<Self::Value, Failure>)> {
        if self.is_empty() {
            return Poll::Ready((0, Err(Failure::new(Code::InvalidArgument, "a race of no steps has no winner"))));
        }
        let mut first = Poll::Pending;
        for (index, arm) in self.iter_mut().enumerate() {
            let winner = u32::try_from(index).unwrap_or(u32::MAX);
            if let Poll::Ready(result) = Pin::new(arm).poll(cx)
                && selection.allow(winner)
                && first.is_pending()
            {
                first = Poll::Ready((winner, result.map(|value| (index, value))));
                if !selection.all {
                    break;
                }
            }
        }
        first
    }

    fn let_go_but(&mut self, winner: u32, gone: &mut Vec<SlotId>) {
        for (index, arm) in self.iter_mut().enumerate() {
            if u32::try_from(index) != Ok(winner) {
                arm.let_go(gone);
            }
        }
    }
}

impl<S: Step + Unpin> RaceSteps for Vec<S> {
    type Winner = (usize, S::Value);
}

macro_rules! tuple {
    ($first:ident { $($arm:ident $index:tt $variant:ident)+ }) => {
        impl<$($arm: Step + Unpin),+> racing::Racing for ($($arm,)+) {
            type Value = $first<$($arm::Value),+>;

            fn poll_first(
                &mut self,
                selection: Selection,
                cx: &mut TaskContext<'_>,
            ) -> Poll<(u32, Result<Self::Value, Failure>)> {
                let mut first = Poll::Pending;
                $(
                    if let Poll::Ready(result) = Pin::new(&mut self.$index).poll(cx)
                        && selection.allow($index)
                        && first.is_pending()
                    {
                        first = Poll::Ready(($index, result.map($first::$variant)));
                        if !selection.all {
                            return first;
                        }
                    }
                )+
                first
            }

            fn let_go_but(&mut self, winner: u32, gone: &mut Vec<SlotId>) {
                $(
                    if winner != $index {
                        self.$index.let_go(gone);
                    }
                )+
            }
        }

        impl<$($arm: Step + Unpin),+> RaceSteps for ($($arm,)+) {
            type Winner = $first<$($arm::Value),+>;
        }
    };
}

tuple!(First2 { A 0 First B 1 Second });
tuple!(First3 { A 0 First B 1 Second C 2 Third });
tuple!(First4 { A 0 First B 1 Second C 2 Third D 3 Fourth });
