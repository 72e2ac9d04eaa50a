//! A place among the calls of a service, the wait for one, and how it is left.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use engine::failure::Failure;
use engine::transport::Unsent;
use tokio::sync::oneshot;

use super::Gate;
use crate::stack::breaker::{Admitted, Sign};
use crate::stack::fair::Ticket;

/// A wait for a place. Dropped, it leaves the queue.
pub(crate) struct Queued {
    pub(super) gate: Arc<Gate>,
    pub(super) ticket: Ticket,
    pub(super) admitted: oneshot::Receiver<Admitted>,
    pub(super) done: bool,
}

impl Future for Queued {
    type Output = Pass;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Pass> {
        match Pin::new(&mut self.admitted).poll(cx) {
            Poll::Ready(Ok(admitted)) => {
                self.done = true;
                Poll::Ready(Pass::new(Arc::clone(&self.gate), admitted))
            }
            // The other half is in the queue for as long as this one waits.
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let taken_out = self.gate.lock().queue.remove(self.ticket);
        if taken_out.is_none()
            && let Ok(admitted) = self.admitted.try_recv()
        {
            self.gate.leave(admitted, Left::Unused);
        }
    }
}

/// How a place was left.
#[derive(Clone, Copy)]
pub(super) enum Left<'f> {
    /// Nothing was sent.
    Unused,
    /// Given up while it was under way.
    Cancelled,
    Ended {
        sign: Sign,
        failure: Option<&'f Failure>,
        not_before: Option<Duration>,
    },
}

/// A place among the calls of a service. Dropped, it is given back.
pub(crate) struct Pass {
    gate: Arc<Gate>,
    /// None once it was given back.
    admitted: Option<Admitted>,
    begun: bool,
}

impl Pass {
    pub(super) fn new(gate: Arc<Gate>, admitted: Admitted) -> Self {
        Self { gate, admitted: Some(admitted), begun: false }
    }

    /// The attempt begins: from here on the service may see something of it.
    pub(crate) fn begin(&mut self) {
        self.begun = true;
    }

    /// The attempt has ended. `failure`: what was seen, where it was not an answer.
    pub(crate) fn ended(mut self, sign: Sign, failure: Option<&Failure>, not_before: Option<Duration>) {
        if let Some(admitted) = self.admitted.take() {
            self.gate.leave(admitted, Left::Ended { sign, failure, not_before });
        }
    }

    /// No connection was to be had.
    pub(crate) fn not_connected(self, unsent: &Unsent) {
        self.ended(Sign::of_connect(&unsent.failure), Some(&unsent.failure), unsent.retry_after);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(admitted) = self.admitted.take() {
            self.gate.leave(admitted, if self.begun { Left::Cancelled } else { Left::Unused });
        }
    }
}
