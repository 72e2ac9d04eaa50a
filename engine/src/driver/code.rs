//! A run's code: one future, polled once for every fact.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as TaskContext, Poll, Wake, Waker};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tracing::Dispatch;
use uuid::Uuid;

use crate::breadcrumbs::Breadcrumbs;
use crate::failure::Failure;
use crate::history::Replay;
use crate::mailbox::{FOREIGN, Mailbox};
use crate::panics::{Panicked, caught};
use crate::scope::{CurrentRun, Fault, Scope};

pub(crate) struct Code {
    future: BoxFuture<'static, Result<Bytes, Failure>>,
    woken: Arc<Woken>,
    waker: Waker,
    /// Says which run this thread works for, where that is written down.
    breadcrumbs: Option<(Arc<Breadcrumbs>, Uuid)>,
    /// Whether it was told that code waits for what is no step.
    told_foreign: bool,
}

/// How code ended.
pub(crate) enum Finished {
    Returned(Result<Bytes, Failure>),
    Panicked(Panicked),
}

/// Set when a step of the run got its result. Nothing else should wake code; where something does, the run is told.
struct Woken {
    now: AtomicBool,
    run: CurrentRun,
    mailbox: Arc<Mailbox>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.now.store(true, Ordering::Release);
        if !self.run.is_inside() {
            self.mailbox.send(FOREIGN);
        }
    }
}

impl Code {
    pub(crate) fn new(
        future: BoxFuture<'static, Result<Bytes, Failure>>,
        run: CurrentRun,
        mailbox: Arc<Mailbox>,
    ) -> Self {
        let woken = Arc::new(Woken { now: AtomicBool::new(true), run, mailbox });
        let waker = Waker::from(Arc::clone(&woken));
        Self { future, woken, waker, breadcrumbs: None, told_foreign: false }
    }

    /// Has each poll leave its trail.
    pub(super) fn leaving(mut self, breadcrumbs: Option<Arc<Breadcrumbs>>, run: Uuid) -> Self {
        self.breadcrumbs = breadcrumbs.map(|breadcrumbs| (breadcrumbs, run));
        self
    }

    /// Notes that it is told that code waits for what is no step; says whether it was told before.
    pub(super) fn tell_foreign(&mut self) -> bool {
        std::mem::replace(&mut self.told_foreign, true)
    }

    /// Polls until code waits for a fact; says so when it ended.
    pub(crate) fn run(&mut self) -> Option<Finished> {
        if !self.woken.now.load(Ordering::Acquire) {
            return None;
        }
        let _inside = self.woken.run.enter();
        let _poll = self.breadcrumbs.as_ref().map(|(breadcrumbs, run)| breadcrumbs.enter(*run));
        while self.woken.now.swap(false, Ordering::AcqRel) {
            let mut cx = TaskContext::from_waker(&self.waker);
            match caught(|| self.future.as_mut().poll(&mut cx)) {
                Ok(Poll::Pending) => {}
                Ok(Poll::Ready(result)) => return Some(Finished::Returned(result)),
                Err(panicked) => return Some(Finished::Panicked(panicked)),
            }
        }
        None
    }

    /// The same while the journal is replayed: what code logs was logged before.
    pub(crate) fn rerun(&mut self) -> Option<Finished> {
        tracing::dispatcher::with_default(&Dispatch::none(), || self.run())
    }
}

/// Brings every fact to code, one poll each. Before the fact with the number `seen`, code comes to nothing that it writes
/// down immediately and that the journal does not have.
pub(super) fn replay_into(
    scope: &Scope,
    code: &mut Code,
    replay: Vec<Replay>,
    seen: usize,
) -> Result<Option<Finished>, Fault> {
    scope.expect_all(seen > 0);
    let mut finished = code.rerun();
    for (number, fact) in (1..).zip(replay) {
        if number == seen {
            scope.expect_all(false);
        }
        if let Some(fault) = scope.fault() {
            return Err(fault);
        }
        let (place, result) = match fact {
            Replay::Reached(place) => (place, None),
            Replay::Settled(place, result) => (place, Some(result)),
        };
        let Some(slot) = scope.slot_of(&place.branch, place.position) else {
            if scope.keep(&place, &result) {
                continue;
            }
            let journal = place.to_string();
            let code = if finished.is_some() { "ended before it" } else { "not reached it" };
            return Err(Fault::Mismatch { journal, code: code.to_owned() });
        };
        if let Some(result) = result {
            scope.deliver(slot, result);
            if finished.is_none() {
                finished = code.rerun();
            }
        }
    }
    match scope.fault() {
        Some(fault) => Err(fault),
        None => Ok(finished),
    }
}
