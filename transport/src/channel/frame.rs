//! A gRPC message on its way out: the five bytes of its prefix and the message, without copying them together.

use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// Bytes before each message: a flag for compression and the length.
pub(crate) const PREFIX: usize = 5;

/// What h2 sends as DATA.
#[derive(Debug)]
pub(crate) struct Frame {
    prefix: [u8; PREFIX],
    /// First byte of the prefix that is still to be sent.
    at: usize,
    /// Byte of the prefix behind the last one to be sent.
    end: usize,
    message: Bytes,
}

impl Frame {
    /// An uncompressed message; none where its length does not fit the prefix.
    pub(crate) fn of(message: Bytes) -> Option<Self> {
        let length = u32::try_from(message.len()).ok()?.to_be_bytes();
        let prefix = [0, length[0], length[1], length[2], length[3]];
        Some(Self { prefix, at: 0, end: PREFIX, message })
    }

    /// Bytes that carry their prefixes already.
    pub(crate) fn raw(bytes: Bytes) -> Self {
        Self { prefix: [0; PREFIX], at: 0, end: 0, message: bytes }
    }

    /// Takes the first bytes away, at most all.
    pub(crate) fn split_to(&mut self, count: usize) -> Self {
        let of_prefix = count.min(self.end - self.at);
        let of_message = (count - of_prefix).min(self.message.len());
        let (at, end) = (self.at, self.at + of_prefix);
        self.at = end;
        Self { prefix: self.prefix, at, end, message: self.message.split_to(of_message) }
    }

    fn prefix(&self) -> &[u8] {
        self.prefix.get(self.at..self.end).unwrap_or_default()
    }
}

impl Buf for Frame {
    fn remaining(&self) -> usize {
        self.end - self.at + self.message.len()
    }

    fn chunk(&self) -> &[u8] {
        if self.at < self.end { self.prefix() } else { &self.message }
    }

    fn advance(&mut self, count: usize) {
        let of_prefix = count.min(self.end - self.at);
        self.at += of_prefix;
        self.message.advance(count - of_prefix);
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let chunks = [self.prefix(), &self.message];
        let chunks = chunks.into_iter().filter(|chunk| !chunk.is_empty());
        slices.iter_mut().zip(chunks).map(|(slice, chunk)| *slice = IoSlice::new(chunk)).count()
    }
}

/// What a prefix states: whether its message is compressed, and how long it is.
pub(crate) fn stated([flag, a, b, c, d]: [u8; PREFIX]) -> (bool, usize) {
    (flag != 0, u32::from_be_bytes([a, b, c, d]) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut frame: Frame) -> Vec<u8> {
        frame.copy_to_bytes(frame.remaining()).to_vec()
    }

    #[test]
    fn a_frame_is_its_prefix_and_its_message_however_it_is_cut() {
        for cut in 0..=10 {
            let mut rest = Frame::of(Bytes::from_static(b"quote")).unwrap();
            let first = rest.split_to(cut);
            assert_eq!((first.remaining(), rest.remaining()), (cut, 10 - cut));
            let mut slices = [IoSlice::new(&[]); 2];
            let count = rest.chunks_vectored(&mut slices);
            assert_eq!(slices.iter().take(count).map(|slice| slice.len()).sum::<usize>(), 10 - cut);
            assert_eq!([all(first), all(rest)].concat(), b"\0\0\0\0\x05quote");
        }
    }

    #[test]
    fn raw_bytes_go_out_as_they_are() {
        let mut frame = Frame::raw(Bytes::from_static(b"quote"));
        assert_eq!(all(frame.split_to(2)), b"qu");
        assert_eq!(all(frame), b"ote");
    }
}
