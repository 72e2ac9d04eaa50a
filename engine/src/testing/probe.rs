//! Points at which a replica can be killed: before and after every write, send, response and acknowledgement; and what
//! else is done to its runs.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use uuid::Uuid;

use super::cut::Cut;

/// When an operation of the store times out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing of it was done.
    Before,
    /// It was done, and the answer is lost.
    After,
}

/// Counts the points that a replica passes, and kills it at one of them.
#[derive(Clone, Debug, Default)]
pub struct Probe(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    passed: AtomicUsize,
    fatal: Option<usize>,
    /// How long a point takes at most.
    delay: Duration,
    killed: AtomicBool,
    notify: Notify,
    names: Mutex<Vec<&'static str>>,
    /// Store operations of the replica's own tasks, in order,
    operations: Mutex<Vec<&'static str>>,
    /// and which of them times out.
    fault: Option<(usize, Fault)>,
    /// Whether runs lose their memory after every step,
    forgets: bool,
    /// how often they did,
    forgotten: AtomicUsize,
    /// and what makes one of them do it.
    forget: OnceLock<Forget>,
    cut: Mutex<Option<Cut>>,
}

struct Forget(Box<dyn Fn(Uuid) + Send + Sync>);

impl fmt::Debug for Forget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Forget")
    }
}

impl Probe {
    /// A probe that only counts.
    pub fn counting() -> Self {
        Self::default()
    }

    /// A probe that kills at the point with this number, from 0.
    pub fn killing_at(point: usize) -> Self {
        Self(Arc::new(Inner { fatal: Some(point), ..Inner::default() }))
    }

    /// A probe whose points take up to this long, some longer than others, so that writes and answers overlap.
    /// Kills at the point with this number, where one is given.
    pub fn slow(delay: Duration, fatal: Option<usize>) -> Self {
        Self(Arc::new(Inner { fatal, delay, ..Inner::default() }))
    }

    /// A probe of a replica one of whose store operations times out: the one with this number, from 0.
    pub(crate) fn timing_out(operation: usize, fault: Fault) -> Self {
        Self(Arc::new(Inner { fault: Some((operation, fault)), ..Inner::default() }))
    }

    /// Notes a store operation of the replica; says whether it times out.
    pub(crate) fn operation(&self, name: &'static str) -> Option<Fault> {
        // Claims come by the clock; a run has as many as it waits long.
        if name == "claim" {
            return None;
        }
        let mut operations = self.0.operations.lock().unwrap_or_else(PoisonError::into_inner);
        operations.push(name);
        let number = operations.len() - 1;
        self.0.fault.filter(|(operation, _)| *operation == number).map(|(_, fault)| fault)
    }

    /// Store operations of the replica's own tasks, in order.
    pub(crate) fn operations(&self) -> Vec<&'static str> {
        self.0.operations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A probe of a replica whose runs lose their memory whenever a step has settled or waits.
    pub fn forgetting() -> Self {
        Self(Arc::new(Inner { forgets: true, ..Inner::default() }))
    }

    /// How often a run was made to lose its memory.
    pub fn forgotten(&self) -> usize {
        self.0.forgotten.load(Ordering::SeqCst)
    }

    pub(crate) fn forgets(&self) -> bool {
        self.0.forgets
    }

    /// Says how a run of the replica is made to lose its memory.
    pub(crate) fn forget_by(&self, forget: impl Fn(Uuid) + Send + Sync + 'static) {
        // A probe belongs to one replica.
        let _first = self.0.forget.set(Forget(Box::new(forget)));
    }

    /// A step of this run has its outcome.
    pub(crate) fn stepped(&self, run: Uuid) {
        if let Some(Forget(forget)) = self.0.forget.get().filter(|_| self.0.forgets) {
            self.0.forgotten.fetch_add(1, Ordering::SeqCst);
            forget(run);
        }
    }

    /// Kills right after the write that has this step settled, which is cut after it.
    pub(crate) fn kill_after(&self, cut: Cut) {
        *self.0.cut.lock().unwrap_or_else(PoisonError::into_inner) = Some(cut);
    }

    /// Cuts a write, where it is to be. Whether the replica dies after it.
    pub(crate) fn cuts(&self, write: impl FnOnce(&mut Cut) -> bool) -> bool {
        !self.is_dead() && self.0.cut.lock().unwrap_or_else(PoisonError::into_inner).as_mut().is_some_and(write)
    }

    /// The run whose writes were cut.
    pub(crate) fn cut_run(&self) -> Option<Uuid> {
        self.0.cut.lock().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(Cut::run)
    }

    /// Kills now.
    pub fn kill(&self) {
        self.0.killed.store(true, Ordering::SeqCst);
        self.0.notify.notify_waiters();
    }

    /// A point of life or death. Never returns once the replica is dead.
    pub async fn pass(&self, name: &'static str) {
        let point = self.0.passed.fetch_add(1, Ordering::SeqCst);
        self.0.names.lock().unwrap_or_else(PoisonError::into_inner).push(name);
        if !self.0.delay.is_zero() && !self.is_dead() {
            // A number of its own for every point, the same in every run of a test.
            let share = u32::try_from(point.wrapping_mul(0x9E37_79B9) >> 7 & 3).unwrap_or(0);
            tokio::time::sleep(self.0.delay * share / 3).await;
        }
        if self.0.fatal == Some(point) {
            self.kill();
        }
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether the replica is dead.
    pub fn is_dead(&self) -> bool {
        self.0.killed.load(Ordering::SeqCst)
    }

    /// Waits until the replica is dead.
    pub async fn death(&self) {
        loop {
            let notified = self.0.notify.notified();
            if self.is_dead() {
                return;
            }
            notified.await;
        }
    }

    /// The names of the points passed, in order.
    pub fn points(&self) -> Vec<&'static str> {
        self.0.names.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
