//! The one message of a unary response as it comes in.

use bytes::{BufMut, Bytes, BytesMut};
use engine::failure::Code;

use super::encoding::Encoding;
use super::fault::{Fault, cut_off};
use super::frame::{PREFIX, stated};

pub(crate) struct Single {
    bytes: Whole,
    max_bytes: usize,
    encoding: Encoding,
}

/// Most answers come in one piece, which then is not copied.
enum Whole {
    One(Bytes),
    Many(BytesMut),
}

impl Single {
    pub(crate) fn new(max_bytes: usize, encoding: Encoding) -> Self {
        Self { bytes: Whole::One(Bytes::new()), max_bytes, encoding }
    }

    /// Says whether the message is complete.
    pub(crate) fn push(&mut self, chunk: Bytes) -> Result<bool, Fault> {
        match &mut self.bytes {
            Whole::One(first) if first.is_empty() => *first = chunk,
            Whole::One(first) => {
                let mut many = BytesMut::with_capacity(first.len() + chunk.len());
                many.extend_from_slice(first);
                many.extend_from_slice(&chunk);
                self.bytes = Whole::Many(many);
            }
            Whole::Many(many) => many.extend_from_slice(&chunk),
        }
        let Some((_, length)) = self.announced()? else { return Ok(false) };
        if self.bytes().len() > length {
            return Err(Fault::inferred(Code::Internal, "the response holds more than one message"));
        }
        if let Whole::Many(many) = &mut self.bytes {
            many.reserve(length - many.len());
        }
        Ok(self.bytes().len() == length)
    }

    /// The message with its prefix, as if it had never been compressed.
    pub(crate) fn finish(self) -> Result<Bytes, Fault> {
        match self.announced()? {
            Some((true, length)) if self.bytes().len() == length => self.decoded(),
            Some((false, length)) if self.bytes().len() == length => Ok(match self.bytes {
                Whole::One(bytes) => bytes,
                Whole::Many(bytes) => bytes.freeze(),
            }),
            _ if self.bytes().is_empty() => {
                Err(Fault::inferred(Code::Internal, "the status is OK, and there is no message"))
            }
            _ => Err(cut_off()),
        }
    }

    fn decoded(&self) -> Result<Bytes, Fault> {
        let message = self.encoding.decoded(self.bytes().get(PREFIX..).unwrap_or_default(), self.max_bytes)?;
        let mut bytes = BytesMut::with_capacity(PREFIX + message.len());
        bytes.put_u8(0);
        // It is within a limit that was configured in these terms.
        bytes.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
        bytes.extend_from_slice(&message);
        Ok(bytes.freeze())
    }

    fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Whole::One(bytes) => bytes,
            Whole::Many(bytes) => bytes,
        }
    }

    /// Whether the message is compressed, and its length with the prefix, as that states it; none while it is not complete.
    fn announced(&self) -> Result<Option<(bool, usize)>, Fault> {
        let Some((prefix, _)) = self.bytes().split_first_chunk::<PREFIX>() else { return Ok(None) };
        let ((compressed, length), limit) = (stated(*prefix), self.max_bytes);
        if length > limit {
            let message = format!("the response message has {length} bytes, more than the {limit} allowed");
            return Err(Fault::inferred(Code::ResourceExhausted, message));
        }
        Ok(Some((compressed, PREFIX + length)))
    }
}
