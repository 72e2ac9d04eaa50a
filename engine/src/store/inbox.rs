//! Messages to runs: durable before they are acknowledged, kept until a wait receives them.

use bytes::Bytes;

use crate::time::Timestamp;

/// A message in a run's inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Counts the messages that ever came to the run, from 1.
    pub number: u64,
    /// Name of the signal, or [`Message::CHILD_ENDED`].
    pub name: String,
    /// The encoded message.
    pub payload: Bytes,
    /// When it was acknowledged.
    pub received_at: Timestamp,
}

impl Message {
    /// What the end of a child run is called; no signal has such a name. It takes none of the inbox's room.
    pub const CHILD_ENDED: &'static str = "*child-ended";
}

/// A message to put into a run's inbox.
#[derive(Clone, Debug)]
pub struct Signal {
    /// Name of the signal.
    pub name: String,
    /// The encoded message.
    pub payload: Bytes,
    /// The most messages that may wait in the inbox, this one included.
    pub room: u32,
}
