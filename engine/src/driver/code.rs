//! A run's code: one future, polled once for every fact.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as TaskContext, Poll, Wake, Waker};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tracing::Dispatch;

use crate::failure::Failure;

pub(crate) struct Code {
    future: BoxFuture<'static, Result<Bytes, Failure>>,
    woken: Arc<Woken>,
    waker: Waker,
}

/// How code ended.
pub(crate) enum Finished {
    Returned(Result<Bytes, Failure>),
    Panicked(String),
}

/// Set when a step of the run got its result; nothing else may wake code.
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

impl Code {
    pub(crate) fn new(future: BoxFuture<'static, Result<Bytes, Failure>>) -> Self {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&woken));
        Self { future, woken, waker }
    }

    /// Polls until code waits for a fact; says so when it ended.
    pub(crate) fn run(&mut self) -> Option<Finished> {
        while self.woken.0.swap(false, Ordering::AcqRel) {
            let mut cx = TaskContext::from_waker(&self.waker);
            match catch_unwind(AssertUnwindSafe(|| self.future.as_mut().poll(&mut cx))) {
                Ok(Poll::Pending) => {}
                Ok(Poll::Ready(result)) => return Some(Finished::Returned(result)),
                Err(panic) => return Some(Finished::Panicked(message(panic.as_ref()))),
            }
        }
        None
    }

    /// The same while the journal is replayed: what code logs was logged before.
    pub(crate) fn rerun(&mut self) -> Option<Finished> {
        tracing::dispatcher::with_default(&Dispatch::none(), || self.run())
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
