//! What a run waits for outside: a reservation, or the outcome of an attempt.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;

use crate::step_id::SlotId;
use crate::transport::{Outcome, Reserved, Reserving, Unsent, Waiting};

pub(crate) struct InFlight {
    slot: SlotId,
    /// Tells flights of one step apart: the end of one that is outdated is ignored.
    attempt: u32,
    kind: Kind,
}

enum Kind {
    Reserving(Reserving),
    Waiting(Waiting),
    Sending(BoxFuture<'static, Outcome>),
}

/// The end of a flight.
pub(crate) struct Completed {
    pub(crate) slot: SlotId,
    pub(crate) attempt: u32,
    pub(crate) kind: CompletedKind,
}

pub(crate) enum CompletedKind {
    Reserved(Result<Reserved, Unsent>),
    Sent(Outcome),
}

impl InFlight {
    pub(crate) fn slot(&self) -> SlotId {
        self.slot
    }

    pub(crate) fn reserving(slot: SlotId, attempt: u32, future: Reserving) -> Self {
        Self { slot, attempt, kind: Kind::Reserving(future) }
    }

    pub(crate) fn waiting(slot: SlotId, attempt: u32, future: Waiting) -> Self {
        Self { slot, attempt, kind: Kind::Waiting(future) }
    }

    pub(crate) fn sending(slot: SlotId, attempt: u32, future: BoxFuture<'static, Outcome>) -> Self {
        Self { slot, attempt, kind: Kind::Sending(future) }
    }
}

impl Future for InFlight {
    type Output = Completed;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Completed> {
        let (slot, attempt) = (self.slot, self.attempt);
        let kind = match &mut self.kind {
            Kind::Reserving(future) => future.as_mut().poll(cx).map(CompletedKind::Reserved),
            Kind::Waiting(future) => {
                future.as_mut().poll(cx).map(|got| CompletedKind::Reserved(got.map(Reserved::Ready)))
            }
            Kind::Sending(future) => future.as_mut().poll(cx).map(CompletedKind::Sent),
        };
        kind.map(|kind| Completed { slot, attempt, kind })
    }
}
