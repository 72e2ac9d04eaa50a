//! Who a read of the store is for: reads of the engine never stand behind those that callers ask for.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The two queues of reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Lane {
    /// The engine, and what reports its health.
    #[default]
    Engine,
    /// Callers from outside, however many they are.
    Callers,
}

thread_local! {
    static LANE: Cell<Lane> = const { Cell::new(Lane::Engine) };
}

impl Lane {
    /// The lane of what is polled on this thread at the moment.
    pub(crate) fn current() -> Self {
        LANE.get()
    }
}

/// Whatever `work` reads from a store, it reads for a caller. What it spawns is the engine's own again.
pub fn for_caller<T>(work: impl FnOnce() -> T) -> T {
    struct Back(Lane);
    impl Drop for Back {
        fn drop(&mut self) {
            LANE.set(self.0);
        }
    }
    let _back = Back(LANE.replace(Lane::Callers));
    work()
}

/// A future whose reads are for a caller.
#[derive(Debug)]
pub struct ForCaller<F>(F);

impl<F> ForCaller<F> {
    /// Marks an answer as one that a caller waits for.
    pub const fn new(future: F) -> Self {
        Self(future)
    }
}

impl<F: Future + Unpin> Future for ForCaller<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        for_caller(|| Pin::new(&mut self.0).poll(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_read_is_for_a_caller_while_its_future_is_polled_and_not_after() {
        let seen = ForCaller::new(Box::pin(async {
            let before = Lane::current();
            tokio::task::yield_now().await;
            let spawned = tokio::spawn(async { Lane::current() });
            (before, Lane::current(), spawned.await.unwrap())
        }));
        assert_eq!(seen.await, (Lane::Callers, Lane::Callers, Lane::Engine));
        assert_eq!(Lane::current(), Lane::Engine);
    }
}
