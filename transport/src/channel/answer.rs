//! What comes back of a call as it comes in: one message, or the messages of a stream collected as one.

use bytes::Bytes;

use super::collected::Collected;
use super::encoding::Encoding;
use super::fault::Fault;
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
