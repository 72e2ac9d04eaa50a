//! The statements that this process has sent, for the test that reads them.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

static SEEN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

pub(crate) fn seen(statement: &'static str) {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).insert(statement);
}

/// All of them, each once.
pub fn all() -> Vec<&'static str> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
}
