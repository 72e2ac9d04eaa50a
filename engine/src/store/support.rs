//! What implementations of a store share, in this crate and beside it.

use super::lane::Lane;
use super::{RunRow, Schedule, Signal, stored_schedule};
use crate::limits::{Limit, comes_near, warn_near};

pub use super::stored_schedule::StoredError;

pub mod ticking;

/// A schedule's definition as it is stored.
pub fn encode_schedule(schedule: &Schedule) -> Vec<u8> {
    stored_schedule::encode(schedule)
}

/// Reads what [`encode_schedule`] wrote; the name is stored beside it.
///
/// # Errors
/// If it cannot be read, or a newer release wrote it.
pub fn decode_schedule(name: String, bytes: &[u8]) -> Result<Schedule, StoredError> {
    stored_schedule::decode(name, bytes)
}

/// Whether what is polled on this thread at the moment reads for a caller from outside, not for the engine.
pub fn is_for_caller() -> bool {
    Lane::current() == Lane::Callers
}

/// Says when an inbox comes near its room; `waiting` are the messages with the one that came.
pub fn warn_of_inbox(row: &RunRow, waiting: u64, signal: &Signal) {
    let room = u64::from(signal.room);
    if comes_near(waiting, room) {
        warn_near(row.id, &row.workflow, Limit::InboxMessages, waiting, room, &signal.name);
    }
}
