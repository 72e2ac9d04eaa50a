//! Reads the status that a peer sent, whatever bytes it put there.

use std::time::Duration;

use bytes::Bytes;
use engine::failure::{Code, Detail};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use prost::Message;
use tonic::metadata::MetadataMap;

use tonic_types::pb;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const GRPC_PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// What is kept of a message.
const MAX_MESSAGE: usize = 16 * 1024;
/// Details that are larger than this together are left out.
const MAX_DETAILS: usize = 64 * 1024;

const RETRY_INFO: &str = "google.rpc.RetryInfo";

/// A status as a peer stated it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stated {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) details: Vec<Detail>,
    /// When the peer asked to be called again, at the earliest.
    pub(crate) retry_after: Option<Duration>,
    /// What it said of a retry of this very call.
    pub(crate) pushback: Option<Pushback>,
}

/// What a peer says of a retry, in place of our own pause (gRFC A6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushback {
    /// Not before, and not later than need be.
    After(Duration),
    /// Not at all. What cannot be read says so too.
    Never,
}

/// Of `google.rpc.RetryInfo`, what we read.
#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<prost_types::Duration>,
}

/// The status in headers or trailers; none where there is no `grpc-status`.
pub(crate) fn read(headers: &HeaderMap) -> Option<Stated> {
    let code = match headers.get(GRPC_STATUS)?.as_bytes() {
        b"0" => {
            let (message, details) = (String::new(), Vec::new());
            return Some(Stated { code: Code::Ok, message, details, retry_after: None, pushback: None });
        }
        digits => std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| digits.parse().ok())
            .map_or(Code::Unknown, Code::from_i32),
    };
    let mut message = headers.get(GRPC_MESSAGE).map(message).unwrap_or_default();
    let mut details = details(headers);
    let size: usize = details.iter().map(|detail| detail.type_name.len() + detail.value.len()).sum();
    let pushback = pushback(headers);
    let retry_after = match pushback {
        Some(Pushback::After(time)) => Some(time),
        Some(Pushback::Never) | None => retry_delay(&details),
    };
    if size > MAX_DETAILS {
        details.clear();
        message.push_str(&format!(" [its details had {size} bytes and are left out]"));
    }
    Some(Stated { code, message, details, retry_after, pushback })
}

/// The message, cut if it is long, which it then says.
fn message(value: &HeaderValue) -> String {
    let sent = value.as_bytes();
    if sent.len() <= MAX_MESSAGE {
        return percent_decoded(sent);
    }
    let mut end = MAX_MESSAGE;
    // Not within an escape of three letters.
    if let Some(escape) = sent[end - 2..end].iter().position(|byte| *byte == b'%') {
        end = end - 2 + escape;
    }
    format!("{} [cut: it had {} bytes]", percent_decoded(&sent[..end]), sent.len())
}

/// Takes out what tonic would panic on.
pub(crate) fn clean(headers: &mut HeaderMap) {
    if headers.get_all(GRPC_DETAILS).iter().any(|value| decoded(value).is_none()) {
        headers.remove(GRPC_DETAILS);
    }
}

/// Decodes as tonic does it, padded or not.
fn decoded(value: &HeaderValue) -> Option<Bytes> {
    let mut headers = HeaderMap::with_capacity(1);
    headers.insert(GRPC_DETAILS, value.clone());
    MetadataMap::from_headers(headers).get_bin(GRPC_DETAILS.as_str())?.to_bytes().ok()
}

fn details(headers: &HeaderMap) -> Vec<Detail> {
    let bytes = headers.get(GRPC_DETAILS).and_then(decoded);
    let status = bytes.and_then(|bytes| pb::Status::decode(bytes).ok()).unwrap_or_default();
    let named = |url: &str| url.rsplit('/').next().unwrap_or_default().to_owned();
    let details = status.details.into_iter();
    details.map(|any| Detail { type_name: named(&any.type_url), value: Bytes::from(any.value) }).collect()
}

/// For how long a negative one holds is for the caller's policy.
fn pushback(headers: &HeaderMap) -> Option<Pushback> {
    let mut values = headers.get_all(GRPC_PUSHBACK).iter();
    let millis = values.next()?.to_str().ok().and_then(|millis| millis.parse::<u32>().ok());
    Some(match (millis, values.next()) {
        (Some(millis), None) => Pushback::After(Duration::from_millis(millis.into())),
        _ => Pushback::Never,
    })
}

fn retry_delay(details: &[Detail]) -> Option<Duration> {
    let info = details.iter().find(|detail| detail.type_name == RETRY_INFO)?;
    RetryInfo::decode(info.value.clone()).ok()?.retry_delay?.try_into().ok()
}

/// What is no escape stays as it is, and what is no UTF-8 is replaced: a message is for people.
fn percent_decoded(text: &[u8]) -> String {
    let digit = |at: usize| text.get(at).and_then(|digit| char::from(*digit).to_digit(16));
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let escaped = (byte == b'%').then(|| digit(at + 1).zip(digit(at + 2))).flatten();
        match escaped.and_then(|(high, low)| u8::try_from(high * 16 + low).ok()) {
            Some(escaped) => {
                bytes.push(escaped);
                at += 3;
            }
            None => {
                bytes.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap())).collect()
    }

    #[test]
    fn a_status_is_there_where_it_was_stated() {
        assert_eq!(read(&HeaderMap::new()), None);
        assert_eq!(read(&headers(&[("grpc-message", b"lost")])), None);
        assert_eq!(read(&headers(&[("grpc-status", b"0")])).unwrap().code, Code::Ok);
        for (text, code) in [
            ("00", Code::Ok),
            ("5", Code::NotFound),
            ("16", Code::Unauthenticated),
            ("17", Code::Unknown),
            ("-1", Code::Unknown),
            ("x", Code::Unknown),
            ("", Code::Unknown),
            ("\u{ff}", Code::Unknown),
        ] {
            assert_eq!(read(&headers(&[("grpc-status", text.as_bytes())])).unwrap().code, code, "{text}");
        }
    }

    #[test]
    fn a_message_is_decoded_as_far_as_it_can_be() {
        for (sent, read) in [
            ("no user", "no user"),
            ("100%25 %E2%82%AC", "100% \u{20ac}"),
            ("50% %zz %e", "50% %zz %e"),
            ("%FF", "\u{fffd}"),
            ("%", "%"),
        ] {
            assert_eq!(percent_decoded(sent.as_bytes()), read, "{sent}");
        }
    }

    #[test]
    fn details_and_the_wish_to_wait_are_read() {
        // google.rpc.Status { details: [Any { google.rpc.RetryInfo { retry_delay: 1.5 s } }] }
        let details = b"GjYKKHR5cGUuZ29vZ2xlYXBpcy5jb20vZ29vZ2xlLnJwYy5SZXRyeUluZm8SCgoICAEQgMq17gE=";
        let stated = read(&headers(&[("grpc-status", b"8"), ("grpc-status-details-bin", details)])).unwrap();
        assert_eq!(stated.details.len(), 1);
        assert_eq!(stated.details[0].type_name, RETRY_INFO);
        assert_eq!(stated.retry_after, Some(Duration::from_millis(1500)));
    }

    #[test]
    fn a_pushback_goes_before_a_retry_delay() {
        let stated = read(&headers(&[("grpc-status", b"14"), ("grpc-retry-pushback-ms", b"250")])).unwrap();
        assert_eq!(stated.retry_after, Some(Duration::from_millis(250)));
        assert_eq!(stated.pushback, Some(Pushback::After(Duration::from_millis(250))));
        for never in ["-1", "", "soon", "4294967296"] {
            let stated =
                read(&headers(&[("grpc-status", b"14"), ("grpc-retry-pushback-ms", never.as_bytes())])).unwrap();
            assert_eq!((stated.retry_after, stated.pushback), (None, Some(Pushback::Never)), "{never}");
        }
    }

    #[test]
    fn details_that_are_no_base64_are_taken_out() {
        let mut bad = headers(&[("grpc-status", b"3"), ("grpc-status-details-bin", b"*no*")]);
        assert_eq!(read(&bad).unwrap().details, []);
        clean(&mut bad);
        assert_eq!(bad, headers(&[("grpc-status", b"3")]));
        let good = headers(&[("grpc-status", b"3"), ("grpc-status-details-bin", b"CAM")]);
        let mut cleaned = good.clone();
        clean(&mut cleaned);
        assert_eq!(cleaned, good);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_in_a_status_do_harm(
            fields in proptest::collection::vec((0..4_usize, proptest::collection::vec(proptest::num::u8::ANY, 0..64)), 0..6),
        ) {
            let names = [GRPC_STATUS, GRPC_MESSAGE, GRPC_DETAILS, GRPC_PUSHBACK];
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                // What h2 itself takes as a value.
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    headers.append(names[name].clone(), value);
                }
            }
            let stated = read(&headers);
            clean(&mut headers);
            let by_tonic = tonic::Status::from_header_map(&headers);
            assert_eq!(stated.is_some(), by_tonic.is_some());
        }
    }

    #[test]
    fn a_status_that_is_too_large_keeps_its_code_and_says_what_was_cut() {
        let long = "a".repeat(MAX_MESSAGE - 1) + "%C3%A9" + &"b".repeat(100_000);
        let details = vec![prost_types::Any { type_url: String::from("t/acme.Big"), value: vec![7; MAX_DETAILS] }];
        let status = pb::Status { code: 5, message: String::new(), details };
        let mut headers = HeaderMap::new();
        headers.insert(GRPC_STATUS, HeaderValue::from_static("5"));
        headers.insert(GRPC_MESSAGE, HeaderValue::from_str(&long).unwrap());
        let mut metadata = MetadataMap::new();
        let bytes = tonic::metadata::MetadataValue::from_bytes(&status.encode_to_vec());
        metadata.insert_bin("grpc-status-details-bin", bytes);
        headers.extend(metadata.into_headers());

        let stated = read(&headers).unwrap();
        assert_eq!((stated.code, stated.details.len()), (Code::NotFound, 0));
        assert!(
            stated.message.starts_with("aaaa") && stated.message.len() < MAX_MESSAGE + 200,
            "{}",
            stated.message.len()
        );
        let end = &stated.message[MAX_MESSAGE - 1..];
        assert_eq!(
            end,
            format!(" [cut: it had {} bytes] [its details had {} bytes and are left out]", long.len(), MAX_DETAILS + 8)
        );
    }
}
