//! The order of writes: those of one run are done in the order of their calls, and a claim comes after everything that was
//! called before it. Everything else is done at the same time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What a write waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// The one before on the same run or schedule.
    Same(Uuid),
    /// All before it.
    All,
    /// All before it, and all that come later wait for it.
    AllAndBefore,
    /// Nothing.
    None,
}

#[derive(Debug, Default)]
pub(crate) struct Order(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    closed: bool,
    /// Writes that are not over.
    open: HashMap<u64, CancellationToken>,
    /// The last write on each run that has one which is not over.
    last: HashMap<Uuid, (u64, CancellationToken)>,
    /// The last write that all later ones wait for, while it is not over.
    barrier: Option<(u64, CancellationToken)>,
}

/// A write's place in the order. It is over when this is dropped.
pub(crate) struct Turn {
    order: Arc<Order>,
    number: u64,
    of: Option<Uuid>,
    before: Vec<CancellationToken>,
    over: CancellationToken,
}

impl Order {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place behind what was called before; none once the store is closed.
    pub(crate) fn enter(self: &Arc<Self>, after: After) -> Option<Turn> {
        let mut inner = self.lock();
        if inner.closed {
            return None;
        }
        let over = CancellationToken::new();
        let number = inner.next;
        inner.next += 1;
        let mut before = Vec::new();
        let mut of = None;
        match after {
            After::None => {}
            After::Same(key) => {
                of = Some(key);
                before.extend(inner.last.insert(key, (number, over.clone())).map(|(_, last)| last));
            }
            After::All | After::AllAndBefore => before.extend(inner.open.values().cloned()),
        }
        before.extend(inner.barrier.as_ref().map(|(_, barrier)| barrier.clone()));
        if after == After::AllAndBefore {
            inner.barrier = Some((number, over.clone()));
        }
        inner.open.insert(number, over.clone());
        Some(Turn { order: Arc::clone(self), number, of, before, over })
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Nothing enters any more.
    pub(crate) fn shut(&self) {
        self.lock().closed = true;
    }

    /// The same. Ends when everything that has entered is over.
    pub(crate) async fn close(&self) {
        self.shut();
        let open: Vec<CancellationToken> = self.lock().open.values().cloned().collect();
        for write in open {
            write.cancelled().await;
        }
    }
}

impl Turn {
    /// Ends when everything is over that comes before.
    pub(crate) async fn comes(&mut self) {
        for before in self.before.drain(..) {
            before.cancelled().await;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut inner = self.order.lock();
        inner.open.remove(&self.number);
        if let Some(of) = self.of
            && inner.last.get(&of).is_some_and(|(number, _)| *number == self.number)
        {
            inner.last.remove(&of);
        }
        if inner.barrier.as_ref().is_some_and(|(number, _)| *number == self.number) {
            inner.barrier = None;
        }
        drop(inner);
        self.over.cancel();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn entered(order: &Arc<Order>, after: After) -> Turn {
        order.enter(after).expect("it is open")
    }

    #[tokio::test]
    async fn writes_on_one_run_wait_for_each_other_and_for_nothing_else() {
        let (order, run) = (Arc::new(Order::default()), Uuid::from_u128(1));
        let mut first = entered(&order, After::Same(run));
        let mut second = entered(&order, After::Same(run));
        let mut other = entered(&order, After::Same(Uuid::from_u128(2)));
        assert!(first.comes().now_or_never().is_some() && other.comes().now_or_never().is_some());
        assert!(second.comes().now_or_never().is_none());
        drop(first);
        let mut second = second;
        assert!(second.comes().now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_claim_waits_for_all_before_it_and_a_barrier_holds_up_what_comes_later() {
        let order = Arc::new(Order::default());
        let write = entered(&order, After::Same(Uuid::from_u128(1)));
        let mut claim = entered(&order, After::All);
        let mut later = entered(&order, After::None);
        assert!(claim.comes().now_or_never().is_none() && later.comes().now_or_never().is_some());
        drop(write);
        assert!(claim.comes().now_or_never().is_some());
        let barrier = entered(&order, After::AllAndBefore);
        let mut behind = entered(&order, After::None);
        assert!(behind.comes().now_or_never().is_none());
        drop(barrier);
        assert!(behind.comes().now_or_never().is_some());
    }

    #[tokio::test]
    async fn nothing_enters_a_closed_order_and_its_end_waits_for_what_has() {
        let order = Arc::new(Order::default());
        let write = entered(&order, After::None);
        assert!(order.close().now_or_never().is_none());
        assert!(order.enter(After::None).is_none());
        drop(write);
        assert!(order.close().now_or_never().is_some());
    }
}
