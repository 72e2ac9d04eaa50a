//! How a run stops because an operator says so, and continues: what is in flight settles first.

use super::mode::Stop;
use super::{Driver, STOP_CLOCK};
use crate::state::State;

impl Driver {
    /// Whether the deadline waits for the end of a pause.
    pub(super) fn deadline_paused(&self) -> bool {
        // The row says it only from the first append on that meets the pause.
        let known = || self.row.paused.as_ref().is_some_and(|paused| paused.stops_clock);
        let stops = || known() || self.mailbox.has(STOP_CLOCK);
        self.mode.is_paused() && stops()
    }

    /// An append was refused because of a pause, or of its end. Code was dropped by a pause, so a run whose pause ended
    /// before it had stopped is given back and loaded again.
    pub(super) fn pause_or_resume(&mut self) {
        if self.row.paused.is_some() {
            if !self.mode.is_paused() {
                self.stop(Stop::Paused);
            }
            return;
        }
        let state = match self.row.status.state {
            State::Paused => State::Pending,
            state => state,
        };
        self.mode.set_stopped(Stop::Reload { state });
    }
}
