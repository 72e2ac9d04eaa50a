//! What comes back of a call as it comes in: one message, or the messages of a stream collected as one.

use bytes::Bytes;
use engine::failure::Code;

use super::collected::Collected;
use super::encoding::Encoding;
use super::fault::Fault;
use super::frame::PREFIX;
use super::single::Single;

/// How much of an answer is taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// The largest response message; of a stream, all of them together.
    pub(crate) max_bytes: usize,
    /// The most messages of a stream; none where the method answers with one.
    pub(crate) max_messages: Option<usize>,
}

/// An answer as it comes in.
pub(crate) enum Answer {
    Single(Single),
    Collected(Collected),
}

impl Answer {
    pub(crate) fn within(bounds: Bounds, encoding: Encoding) -> Self {
        let Bounds { max_bytes, max_messages } = bounds;
        match max_messages {
            None => Self::Single(Single::new(max_bytes, encoding)),
            Some(max_messages) => Self::Collected(Collected::new(max_bytes, max_messages, encoding)),
        }
    }

    /// Takes the next bytes of the response; says whether nothing more is expected.
    pub(crate) fn push(&mut self, chunk: Bytes) -> Result<bool, Fault> {
        match self {
            Self::Single(single) => single.push(chunk),
            Self::Collected(collected) => collected.push(chunk).map(|()| false),
        }
    }

    /// The message, once the response has ended with OK.
    pub(crate) fn finish(self) -> Result<Message, Fault> {
        match self {
            Self::Single(single) => single.finish().map(Message::Single),
            Self::Collected(collected) => collected.finish().map(Message::Collected),
        }
    }
}

/// A whole answer.
#[derive(Debug)]
pub(crate) enum Message {
    /// With its prefix.
    Single(Bytes),
    /// A message whose first field repeats those that came.
    Collected(Bytes),
}

/// What a prefix states: whether its message is compressed, and how long it is.
pub(crate) fn stated([flag, a, b, c, d]: [u8; PREFIX]) -> (bool, usize) {
    (flag != 0, u32::from_be_bytes([a, b, c, d]) as usize)
}

/// The response ended before the message did.
pub(crate) fn cut_off() -> Fault {
    Fault::inferred(Code::Internal, "the response ended inside its message")
}
