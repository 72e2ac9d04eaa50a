//! The right to send one request over a channel.

use std::fmt;

use h2::client::SendRequest;

use super::endpoint::Slot;
use super::frame::Frame;

/// A permit and a connection, for one request.
pub struct Reserved {
    pub(crate) requests: SendRequest<Frame>,
    pub(crate) slot: Slot,
}

impl fmt::Debug for Reserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reserved").field("endpoint", self.slot.endpoint()).finish_non_exhaustive()
    }
}
