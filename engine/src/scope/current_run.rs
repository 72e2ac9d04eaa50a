//! Tells wakes that a run makes itself from those that come from elsewhere.

use std::cell::Cell;

use super::Scope;

thread_local! {
    /// The run whose code is polled on this thread, or is brought a result.
    static INSIDE: Cell<usize> = const { Cell::new(0) };
}

/// One run in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CurrentRun(usize);

/// While it lives, this thread works for one run.
pub(crate) struct CurrentRunGuard(usize);

impl CurrentRun {
    pub(super) fn of(scope: &Scope) -> Self {
        Self(std::ptr::from_ref(scope) as usize)
    }

    /// From here on, until what is returned is dropped, wakes on this thread are the run's own.
    pub(crate) fn enter(self) -> CurrentRunGuard {
        CurrentRunGuard(INSIDE.replace(self.0))
    }

    pub(crate) fn is_inside(self) -> bool {
        INSIDE.get() == self.0
    }
}

impl Drop for CurrentRunGuard {
    fn drop(&mut self) {
        INSIDE.set(self.0);
    }
}
