//! How the engine and operators reach a run that is in memory.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Poll;

use futures_util::task::AtomicWaker;

use super::orders::Ordered;

#[derive(Debug, Default)]
pub(crate) struct Handle {
    wishes: AtomicU8,
    /// Whether there is a wish that the run has not looked at.
    told: AtomicBool,
    waker: AtomicWaker,
    orders: Mutex<Vec<Ordered>>,
}

/// An operator asked the run to end.
pub(crate) const CANCEL: u8 = 1;
/// The replica goes: start nothing new, let what is in flight finish.
pub(crate) const DRAIN: u8 = 2;
/// The replica cannot wait any longer.
pub(crate) const GIVE_UP: u8 = 4;
/// The claim is lost: stop at once and write nothing.
pub(crate) const LOST: u8 = 8;
/// A message came.
pub(crate) const MESSAGE: u8 = 32;
/// An operator asked the run to stop.
pub(crate) const PAUSE: u8 = 64;
/// An operator asks for something that is answered once it is durable.
pub(super) const ORDERED: u8 = 16;
/// Code was woken by something that is no step.
pub(super) const FOREIGN: u8 = 128;

impl Handle {
    pub(crate) fn wish(&self, wish: u8) {
        self.wishes.fetch_or(wish, Ordering::AcqRel);
        self.told.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Has the run do what an operator asks. Where it leaves memory before that, the answer never comes.
    pub(crate) fn order(&self, ordered: Ordered) {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).push(ordered);
        self.wish(ORDERED);
    }

    pub(super) fn take_orders(&self) -> Vec<Ordered> {
        self.wishes.fetch_and(!ORDERED, Ordering::AcqRel);
        std::mem::take(&mut *self.orders.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends once for each time that there is something new to look at. For one task.
    pub(super) async fn told(&self) {
        poll_fn(|cx| {
            self.waker.register(cx.waker());
            if self.told.swap(false, Ordering::AcqRel) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Whether there is this wish; it is fulfilled now.
    pub(super) fn take_wish(&self, wish: u8) -> bool {
        self.wishes(wish) && self.wishes.fetch_and(!wish, Ordering::AcqRel) & wish != 0
    }

    pub(crate) fn wishes_nothing(&self) -> bool {
        self.wishes.load(Ordering::Acquire) == 0
    }

    pub(super) fn wishes(&self, wish: u8) -> bool {
        self.wishes.load(Ordering::Acquire) & wish != 0
    }
}
