//! Warns before a limit bites: once for each limit while the run is in memory.

use std::fmt::Display;
use std::sync::atomic::Ordering;

use super::Scope;
use crate::limits::{Limit, is_near, warn_near};

impl Scope {
    /// Something new of the run counts so much against a limit. What code says in a replay was warned of before.
    pub(crate) fn counts(&self, limit: Limit, value: u64, max: u64, at: impl Display) {
        if is_near(value, max) && !self.lock().past.replaying {
            self.warn_once(limit, value, max, at);
        }
    }

    #[cold]
    fn warn_once(&self, limit: Limit, value: u64, max: u64, at: impl Display) {
        let bit = 1 << limit as u8;
        if self.warned.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            warn_near(self.run, self.workflow, limit, value, max, at);
        }
    }
}
