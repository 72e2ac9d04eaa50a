//! What goes with every request, put there in one place.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use engine::transport::Attempt;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE, USER_AGENT};
use http::request::Parts;
use http::uri::{Authority, Scheme, Uri};
use http::{Method, Request, Version};
use tokio::time::Instant;

use super::Trace;
use super::fault::Fault;
use super::identity::Identity;

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

const ATTEMPT: HeaderName = HeaderName::from_static("orchestrator-attempt");

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");
const GZIP: HeaderValue = HeaderValue::from_static("gzip");
const AGENT: HeaderValue = HeaderValue::from_static(concat!("orchestrator/", env!("CARGO_PKG_VERSION")));

/// Length of a key, a UUID with hyphens.
const KEY: usize = 36;

/// Room for the three values that are new with every attempt.
const VALUES: usize = 9 + 55 + KEY;

/// The head of a request to the authority; none where the path is not one. Metadata of the caller stays.
pub(crate) fn head(mut parts: Parts, scheme: Scheme, authority: &Authority) -> Option<Request<()>> {
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(scheme);
    uri.authority = Some(authority.clone());
    uri.path_and_query = parts.uri.into_parts().path_and_query;
    parts.uri = Uri::from_parts(uri).ok()?;
    parts.method = Method::POST;
    parts.version = Version::HTTP_2;
    parts.headers.insert(TE, TRAILERS);
    parts.headers.insert(CONTENT_TYPE, GRPC);
    parts.headers.insert(USER_AGENT, AGENT);
    parts.extensions.clear();
    Some(Request::from_parts(parts, ()))
}

/// Adds the token that the service knows us by, where there is one.
///
/// # Errors
/// There should be one, and it cannot be used: the request must not be sent.
pub(crate) fn authorize(headers: &mut HeaderMap, identity: &Identity) -> Result<(), Fault> {
    if let Some(value) = identity.authorization()? {
        headers.insert(AUTHORIZATION, value);
    }
    Ok(())
}

/// Adds what an attempt says of itself: what it can read, how long it waits, which trace it belongs to, the key of an
/// effect, and how often it was made before.
pub(crate) fn describe(headers: &mut HeaderMap, attempt: &Attempt, trace: Option<Trace>, previous: u32, now: Instant) {
    let mut values = BytesMut::with_capacity(VALUES);
    let mut insert = |name: HeaderName, values: &mut BytesMut| {
        // What is written here are visible characters.
        if let Ok(mut value) = HeaderValue::from_maybe_shared(values.split().freeze()) {
            // No other request has the same value: keeping it in the table of the header compression would only drive
            // out those that all have.
            value.set_sensitive(true);
            headers.insert(name, value);
        }
    };

    let (amount, unit) = timeout(attempt.deadline.saturating_duration_since(now));
    // Writing to a buffer does not fail.
    let _ = write!(values, "{amount}{unit}");
    insert(GRPC_TIMEOUT, &mut values);

    let Trace { trace, span, sampled } = trace.unwrap_or_else(|| unrecorded(attempt));
    values.extend_from_slice(b"00-");
    put_hex(&mut values, &trace.to_be_bytes());
    values.extend_from_slice(b"-");
    put_hex(&mut values, &span.to_be_bytes());
    values.extend_from_slice(if sampled { b"-01" } else { b"-00" });
    insert(TRACEPARENT, &mut values);

    if let Some(key) = attempt.key {
        let (hyphenated, length) = (key.hyphenated(), values.len() + KEY);
        values.resize(length, 0);
        hyphenated.encode_lower(&mut values);
        insert(IDEMPOTENCY_KEY, &mut values);
    }
    headers.insert(ACCEPT_ENCODING, GZIP);
    if previous > 0 {
        headers.insert(PREVIOUS_ATTEMPTS, HeaderValue::from(previous));
    }
}

/// All steps of a run share a trace. All zeros would be no trace at all.
fn unrecorded(attempt: &Attempt) -> Trace {
    let trace = if attempt.run.is_nil() { rand::random_range(1..=u128::MAX) } else { attempt.run.as_u128() };
    Trace { trace, span: rand::random_range(1..=u64::MAX), sampled: true }
}

/// The most bytes of a branch's path that are told.
const BRANCH: usize = 256;

/// Adds which attempt of which step of which run this is, and when it is given up, for services that keep out what is
/// outdated by themselves (semantics.md E3): `run=<uuid>;step=<branch>:<position>;attempt=<n>;epoch=<n>;expires=<ms>`, where
/// `expires` is milliseconds since the Unix epoch, and of the branch all but visible ASCII without `;` is percent-encoded.
pub(crate) fn tell_attempt(headers: &mut HeaderMap, attempt: &Attempt, now: Instant) {
    let left = attempt.deadline.saturating_duration_since(now);
    let expires = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().saturating_add(left);
    let mut value = format!("run={};step=", attempt.run.hyphenated());
    for byte in attempt.step.branch.bytes().take(BRANCH) {
        // Writing to a string does not fail.
        let _ = match byte {
            b';' => write!(value, "%3B"),
            byte if byte.is_ascii_graphic() => write!(value, "{}", char::from(byte)),
            byte => write!(value, "%{byte:02X}"),
        };
    }
    let (position, number, epoch) = (attempt.step.position, attempt.number, attempt.epoch);
    let _ = write!(value, ":{position};attempt={number};epoch={epoch};expires={}", expires.as_millis());
    if let Ok(mut value) = HeaderValue::try_from(value) {
        value.set_sensitive(true);
        headers.insert(ATTEMPT, value);
    }
}

fn put_hex(values: &mut BytesMut, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        values.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

/// The most precise form that has no more than eight digits, rounded up so that the peer does not give up first.
fn timeout(left: Duration) -> (u64, char) {
    const LIMIT: u64 = 99_999_999;
    match u64::try_from(left.as_micros()).unwrap_or(u64::MAX).saturating_add(1) {
        micros if micros <= LIMIT => (micros, 'u'),
        micros if micros.div_ceil(1_000) <= LIMIT => (micros.div_ceil(1_000), 'm'),
        micros => (micros.div_ceil(1_000_000).min(LIMIT), 'S'),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use engine::claim::Always;
    use engine::rpc::Level;
    use engine::transport::StepPlace;

    use super::*;

    #[test]
    fn a_timeout_has_at_most_eight_digits() {
        assert_eq!(timeout(Duration::ZERO), (1, 'u'));
        assert_eq!(timeout(Duration::from_secs(5)), (5_000_001, 'u'));
        assert_eq!(timeout(Duration::from_secs(100)), (100_001, 'm'));
        assert_eq!(timeout(Duration::from_secs(86_400)), (86_400_001, 'm'));
        assert_eq!(timeout(Duration::from_secs(1_000_000)), (1_000_001, 'S'));
        assert_eq!(timeout(Duration::MAX), (99_999_999, 'S'));
    }

    #[tokio::test]
    async fn an_attempt_can_be_told_with_its_place_and_its_end() {
        let attempt = Attempt {
            request: Bytes::new(),
            level: Level::Unknown,
            key: None,
            deadline: Instant::now() + Duration::from_secs(5),
            run: "018f4c1e-0000-7000-8000-00000000002a".parse().unwrap(),
            step: StepPlace { branch: "user[zoë;1]".into(), position: 2 },
            number: 3,
            epoch: 4,
            claim: Arc::new(Always),
        };
        let mut headers = HeaderMap::new();
        tell_attempt(&mut headers, &attempt, Instant::now());
        let (told, expires) = headers[ATTEMPT].to_str().unwrap().split_once(";expires=").unwrap();
        let expected = "run=018f4c1e-0000-7000-8000-00000000002a;step=user[zo%C3%AB%3B1]:2;attempt=3;epoch=4";
        assert_eq!(told, expected);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
        assert!((now..=now + 5_000).contains(&expires.parse().unwrap()), "{expires}");
    }

    #[tokio::test]
    async fn attempts_of_a_run_share_a_trace_and_no_span() {
        let mut attempt = Attempt {
            request: Bytes::new(),
            level: Level::Unknown,
            key: None,
            deadline: Instant::now(),
            run: "018f4c1e-0000-7000-8000-00000000002a".parse().unwrap(),
            step: StepPlace::default(),
            number: 1,
            epoch: 1,
            claim: Arc::new(Always),
        };
        let mut seen = Vec::new();
        for _ in 0..2 {
            let mut headers = HeaderMap::new();
            describe(&mut headers, &attempt, None, 0, Instant::now());
            assert!(!headers.contains_key(IDEMPOTENCY_KEY));
            seen.push(headers[TRACEPARENT].to_str().unwrap().to_owned());
        }
        assert!(seen.iter().all(|parent| parent.starts_with("00-018f4c1e00007000800000000000002a-")), "{seen:?}");
        assert!(seen.iter().all(|parent| parent.len() == 55 && parent.ends_with("-01")), "{seen:?}");
        assert_ne!(seen[0], seen[1]);

        attempt.key = Some("00000000-0000-4000-8000-000000000001".parse().unwrap());
        let mut headers = HeaderMap::new();
        describe(&mut headers, &attempt, None, 0, Instant::now());
        assert_eq!(headers[IDEMPOTENCY_KEY], "00000000-0000-4000-8000-000000000001");
    }
}
