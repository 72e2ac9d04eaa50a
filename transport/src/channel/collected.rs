//! The messages of a stream of responses as they come in, put behind each other as one message that repeats them.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use engine::failure::Code;

use super::encoding::Encoding;
use super::fault::{Fault, cut_off};
use super::frame::{PREFIX, stated};

/// What stands before each response in the collected message: the number of its field, 1, and that a length follows.
const RESPONSES: u8 = 0x0a;

pub(crate) struct Collected {
    /// All that came so far, encoded as it is stored.
    bytes: BytesMut,
    /// Messages that began.
    messages: usize,
    next: Next,
    max_bytes: usize,
    max_messages: usize,
    encoding: Encoding,
}

/// What the next bytes belong to.
enum Next {
    /// This much of a prefix is there.
    Prefix([u8; PREFIX], usize),
    /// This much of a message is missing.
    Message(usize),
    /// A compressed message of this length, as far as it is there.
    Compressed(BytesMut, usize),
}

const PREFIX_IS_NEXT: Next = Next::Prefix([0; PREFIX], 0);

impl Collected {
    pub(crate) fn new(max_bytes: usize, max_messages: usize, encoding: Encoding) -> Self {
        Self { bytes: BytesMut::new(), messages: 0, next: PREFIX_IS_NEXT, max_bytes, max_messages, encoding }
    }

    pub(crate) fn push(&mut self, mut chunk: Bytes) -> Result<(), Fault> {
        while chunk.has_remaining() {
            match &mut self.next {
                Next::Prefix(prefix, at) => {
                    let missing = prefix.get_mut(*at..).unwrap_or_default();
                    let taken = chunk.len().min(missing.len());
                    chunk.copy_to_slice(missing.get_mut(..taken).unwrap_or_default());
                    *at += taken;
                    if *at == PREFIX {
                        let (compressed, length) = stated(*prefix);
                        self.begin(compressed, length)?;
                    }
                }
                Next::Message(missing) => {
                    let taken = chunk.len().min(*missing);
                    self.bytes.extend_from_slice(&chunk.split_to(taken));
                    *missing -= taken;
                    if *missing == 0 {
                        self.next = PREFIX_IS_NEXT;
                    }
                }
                Next::Compressed(compressed, length) => {
                    let taken = chunk.len().min(*length - compressed.len());
                    compressed.extend_from_slice(&chunk.split_to(taken));
                    if compressed.len() == *length {
                        let message = self.encoding.decoded(compressed, self.max_bytes)?;
                        self.announce(message.len())?;
                        self.bytes.extend_from_slice(&message);
                        self.next = PREFIX_IS_NEXT;
                    }
                }
            }
        }
        Ok(())
    }

    /// A message of this length follows.
    fn begin(&mut self, compressed: bool, length: usize) -> Result<(), Fault> {
        self.messages += 1;
        if self.messages > self.max_messages {
            let message = format!("the response is a stream of more than the {} messages allowed", self.max_messages);
            return Err(Fault::inferred(Code::ResourceExhausted, message));
        }
        self.next = match (compressed, length) {
            (true, _) if length > self.max_bytes => return Err(self.too_big()),
            // Not even nothing is compressed to nothing.
            (true, 0) => return self.encoding.decoded(&[], self.max_bytes).map(drop),
            (true, _) => Next::Compressed(BytesMut::new(), length),
            (false, _) => {
                self.announce(length)?;
                if length > 0 { Next::Message(length) } else { PREFIX_IS_NEXT }
            }
        };
        Ok(())
    }

    /// Makes room for a message of this length and writes what stands before it.
    fn announce(&mut self, length: usize) -> Result<(), Fault> {
        let encoded = 1 + prost::length_delimiter_len(length) + length;
        if self.bytes.len().saturating_add(encoded) > self.max_bytes {
            return Err(self.too_big());
        }
        self.bytes.reserve(encoded);
        self.bytes.put_u8(RESPONSES);
        // There is room for it.
        let _ = prost::encode_length_delimiter(length, &mut self.bytes);
        Ok(())
    }

    fn too_big(&self) -> Fault {
        let message =
            format!("the messages of the response have together more than the {} bytes allowed", self.max_bytes);
        Fault::inferred(Code::ResourceExhausted, message)
    }

    pub(crate) fn finish(self) -> Result<Bytes, Fault> {
        match self.next {
            Next::Prefix(_, 0) => Ok(self.bytes.freeze()),
            Next::Prefix(..) | Next::Message(_) | Next::Compressed(..) => Err(cut_off()),
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    /// What a stream is collected in.
    #[derive(Clone, PartialEq, prost::Message)]
    struct Texts {
        #[prost(bytes = "vec", repeated, tag = "1")]
        responses: Vec<Vec<u8>>,
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        [&[0], &u32::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat()
    }

    fn collected(stream: &[u8], piece: usize, max_bytes: usize, max_messages: usize) -> Result<Bytes, Fault> {
        let mut collected = Collected::new(max_bytes, max_messages, Encoding::Gzip);
        for chunk in stream.chunks(piece) {
            collected.push(Bytes::copy_from_slice(chunk))?;
        }
        collected.finish()
    }

    #[test]
    fn messages_are_kept_in_their_order_however_the_stream_is_cut() {
        let messages = [b"".to_vec(), b"quote".to_vec(), vec![7; 300], b"".to_vec(), b"of the hour".to_vec()];
        let stream: Vec<u8> = messages.iter().flat_map(|message| framed(message)).collect();
        for piece in 1..=stream.len() {
            let bytes = collected(&stream, piece, 1_000, 5).unwrap();
            assert_eq!(Texts::decode(bytes).unwrap().responses, messages, "pieces of {piece}");
        }
    }

    #[test]
    fn a_stream_without_messages_is_an_empty_list() {
        assert_eq!(collected(b"", 1, 0, 0).unwrap(), b"".as_slice());
    }

    #[test]
    fn what_is_stored_is_within_the_limit_and_one_byte_more_is_not() {
        let stream = [framed(b"four"), framed(b"more")].concat();
        let bytes = collected(&stream, 3, 12, 2).unwrap();
        assert_eq!(bytes.len(), 12);
        let fault = collected(&stream, 3, 11, 2).unwrap_err();
        assert_eq!((fault.code, fault.message.contains("more than the 11 bytes")), (Code::ResourceExhausted, true));
    }

    #[test]
    fn one_message_more_than_allowed_is_too_many() {
        let stream = [framed(b"a"), framed(b"b"), framed(b"c")].concat();
        assert!(collected(&stream, 8, 100, 3).is_ok());
        let fault = collected(&stream, 8, 100, 2).unwrap_err();
        assert_eq!((fault.code, fault.message.contains("more than the 2 messages")), (Code::ResourceExhausted, true));
    }

    #[test]
    fn compressed_messages_stand_among_others_as_if_they_had_not_been() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, b"quote").unwrap();
        let mut compressed = framed(&encoder.finish().unwrap());
        compressed[0] = 1;
        let stream = [framed(b"a"), compressed, framed(b"b")].concat();
        for piece in 1..=stream.len() {
            let bytes = collected(&stream, piece, 100, 3).unwrap();
            assert_eq!(Texts::decode(bytes).unwrap().responses, [b"a".to_vec(), b"quote".to_vec(), b"b".to_vec()]);
        }
        // `a` takes three bytes and `quote` seven.
        assert_eq!(collected(&stream, 7, 9, 3).unwrap_err().code, Code::ResourceExhausted);
        assert_eq!(collected(b"\x01\0\0\0\0", 5, 100, 3).unwrap_err().code, Code::Internal);
    }

    #[test]
    fn a_length_is_believed_only_within_the_limit() {
        for prefix in [b"\0\xff\xff\xff\xff", b"\x01\xff\xff\xff\xff"] {
            assert_eq!(collected(prefix, 5, 1_000, 10).unwrap_err().code, Code::ResourceExhausted);
        }
    }

    #[test]
    fn a_stream_that_ends_inside_a_message_is_cut_off() {
        let stream = framed(b"quote");
        for cut in 1..stream.len() {
            assert_eq!(collected(&stream[..cut], 100, 100, 10).unwrap_err().code, Code::Internal, "{cut}");
        }
    }
}
