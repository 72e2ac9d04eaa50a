//! What a workflow may be sent while it runs: names, each with the message that comes under it.

use std::fmt;

use bytes::Bytes;
use prost::{DecodeError, Message, Name};

/// A signal that a workflow takes.
#[derive(Clone, Copy)]
pub struct SignalType {
    name: &'static str,
    type_name: fn() -> String,
    check: fn(Bytes) -> Result<(), DecodeError>,
}

/// The longest name of a signal, in bytes.
const LONGEST_NAME: usize = 100;

impl SignalType {
    /// The signal of this name, whose messages are `M`.
    ///
    /// # Panics
    /// If the name is not 1 to 100 lower-case letters, digits, `-`, `.` and `_`. Said in a constant, as it is meant
    /// to be, such a name does not compile.
    pub const fn of<M: Message + Name + Default>(name: &'static str) -> Self {
        assert!(is_name(name.as_bytes()), "a signal's name is 1 to 100 of a-z, 0-9, '-', '.' and '_'");
        Self { name, type_name: M::full_name, check: |message| M::decode(message).map(drop) }
    }

    /// The name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Full name of the message.
    pub fn type_name(&self) -> String {
        (self.type_name)()
    }

    /// Whether these bytes are such a message.
    pub(crate) fn check(&self, message: Bytes) -> Result<(), DecodeError> {
        (self.check)(message)
    }
}

const fn is_name(name: &[u8]) -> bool {
    let mut at = 0;
    while at < name.len() {
        if !matches!(name[at], b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_') {
            return false;
        }
        at += 1;
    }
    !name.is_empty() && name.len() <= LONGEST_NAME
}

impl fmt::Debug for SignalType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.type_name())
    }
}
