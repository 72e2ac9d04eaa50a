//! How a peer may compress its messages: with gzip, which we offer, and within the limits that hold for what comes out.
//!
//! Some servers compress whatever was offered, so there is no way around reading it. Requests go out as they are: the
//! journal keeps them as they are, and most are small.

use std::io::Read;

use engine::failure::Code;
use flate2::read::MultiGzDecoder;
use http::header::{HeaderMap, HeaderName};

use super::fault::Fault;

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GZIP: &str = "gzip";

/// What a peer says of the messages that it marks as compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Gzip,
    /// Nothing that we could read.
    Other(String),
}

impl Encoding {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        match headers.get(GRPC_ENCODING).map(|value| value.as_bytes()) {
            Some(value) if value == GZIP.as_bytes() => Self::Gzip,
            value => Self::Other(String::from_utf8_lossy(value.unwrap_or_default()).into_owned()),
        }
    }

    /// The message of a compressed one.
    ///
    /// # Errors
    /// INTERNAL where it cannot be read, RESOURCE_EXHAUSTED where more than `max_bytes` come out; no more than that is
    /// ever held.
    pub(crate) fn decoded(&self, message: &[u8], max_bytes: usize) -> Result<Vec<u8>, Fault> {
        if let Self::Other(name) = self {
            let message = format!("a response message is compressed with `{name}`, and only gzip was offered");
            return Err(Fault::inferred(Code::Internal, message));
        }
        let mut decoded = Vec::new();
        let most = u64::try_from(max_bytes).unwrap_or(u64::MAX).saturating_add(1);
        let read = MultiGzDecoder::new(message).take(most).read_to_end(&mut decoded);
        read.map_err(|error| Fault::inferred(Code::Internal, format!("a response message is no gzip: {error}")))?;
        if decoded.len() > max_bytes {
            let message = format!("a compressed response message has more than the {max_bytes} bytes allowed");
            return Err(Fault::inferred(Code::ResourceExhausted, message));
        }
        Ok(decoded)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn named(name: &'static str) -> Encoding {
        Encoding::of(&HeaderMap::from_iter([(GRPC_ENCODING, name.parse().unwrap())]))
    }

    #[test]
    fn what_was_compressed_with_gzip_is_read() {
        assert_eq!(named("gzip").decoded(&gzip(b"quote"), 5).unwrap(), b"quote");
        assert_eq!(named("gzip").decoded(&[gzip(b"quo"), gzip(b"te")].concat(), 5).unwrap(), b"quote");
        assert_eq!(named("gzip").decoded(&gzip(b""), 0).unwrap(), b"");
    }

    #[test]
    fn a_bomb_is_held_to_the_limit() {
        let bomb = gzip(&vec![0; 64 << 20]);
        assert!(bomb.len() < 100_000);
        let fault = named("gzip").decoded(&bomb, 1 << 20).unwrap_err();
        assert_eq!(fault.code, Code::ResourceExhausted);
        assert_eq!(named("gzip").decoded(&gzip(b"quote"), 4).unwrap_err().code, Code::ResourceExhausted);
    }

    #[test]
    fn what_cannot_be_read_says_so() {
        let whole = gzip(b"quote");
        for (encoding, bytes, part) in [
            (named("gzip"), &b"quote"[..], "no gzip"),
            (named("gzip"), &whole[..whole.len() - 1], "no gzip"),
            (named("gzip"), b"", "no gzip"),
            (named("zstd"), &whole, "`zstd`"),
            (named("identity"), &whole, "`identity`"),
            (Encoding::of(&HeaderMap::new()), &whole, "``"),
        ] {
            let fault = encoding.decoded(bytes, 100).unwrap_err();
            assert_eq!((fault.code, fault.message.contains(part)), (Code::Internal, true), "{}", fault.message);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_come_out_as_more_than_allowed(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..256)) {
            for input in [bytes.clone(), [gzip(b"quote"), bytes].concat()] {
                if let Ok(decoded) = Encoding::Gzip.decoded(&input, 16) {
                    assert!(decoded.len() <= 16);
                }
            }
        }
    }
}
