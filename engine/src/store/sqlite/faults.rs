//! Faults that tests put into commits, before and after they become durable.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Where the next commit fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CommitFault {
    /// The disk refuses: nothing of the commit is there afterwards.
    Before = 1,
    /// The answer is lost: all of the commit is there afterwards.
    After = 2,
}

/// The fault that waits for the next commit, if any.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults(Arc<AtomicU8>);

impl Faults {
    pub(super) fn inject(&self, fault: CommitFault) {
        self.0.store(fault as u8, Ordering::SeqCst);
    }

    pub(super) fn before_commit(&self) -> Option<String> {
        self.take(CommitFault::Before)
    }

    pub(super) fn after_commit(&self) -> Option<String> {
        self.take(CommitFault::After)
    }

    fn take(&self, fault: CommitFault) -> Option<String> {
        let taken = self.0.compare_exchange(fault as u8, 0, Ordering::SeqCst, Ordering::SeqCst);
        taken.is_ok().then(|| format!("a test made the commit fail ({fault:?})"))
    }
}
