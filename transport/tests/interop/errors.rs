//! Statuses as other implementations send them: every code, trailers alone and behind a head, details, pushback.

use std::time::Duration;

use engine::failure::{Code, Failure};
use engine::transport::Outcome;
use serde_json::json;
use tokio::time::Instant;
use transport::channel::ChannelConfig;

use super::peer::{LONG, STREAM, attempt, call, payload, peers, seen, send};

const RETRY: &str = r#"{"methodConfig": [{"name": [{}], "retryPolicy": {
    "maxAttempts": 3, "initialBackoff": "0.001s", "maxBackoff": "0.001s", "backoffMultiplier": 1,
    "retryableStatusCodes": ["UNAVAILABLE"]
}}]}"#;

/// The codes that say that nothing was done (semantics.md E6).
const REFUSALS: [Code; 9] = [
    Code::InvalidArgument,
    Code::NotFound,
    Code::AlreadyExists,
    Code::PermissionDenied,
    Code::Unauthenticated,
    Code::FailedPrecondition,
    Code::Aborted,
    Code::OutOfRange,
    Code::Unimplemented,
];

#[track_caller]
fn failure(outcome: Outcome) -> (bool, Failure, Option<Duration>) {
    match outcome {
        Outcome::Refused(failure) => (true, failure, None),
        Outcome::Ambiguous { failure, retry_after } => (false, failure, retry_after),
        other => panic!("expected a status, got {other:?}"),
    }
}

#[tokio::test]
async fn every_code_comes_through_with_its_message_and_says_what_it_proves() {
    for peer in peers(json!([])).await {
        let services = peer.services();
        for number in 1..=16 {
            for begin in [false, true] {
                let message = "50% größer\n\"heute\"";
                let script = json!({"code": number, "message": message, "begin": begin});
                let (refused, failure, _) = failure(call(&services, script).await);
                let code = Code::from_i32(number);
                assert_eq!((failure.code(), failure.message()), (code, message), "{:?}", peer.implementation);
                assert_eq!(refused, REFUSALS.contains(&code), "{code} from {:?}", peer.implementation);
            }
        }
    }
}

#[tokio::test]
async fn rich_details_are_read_wherever_they_stand() {
    // google.rpc.ErrorInfo { reason: "QUOTA", domain: "guras.test", metadata: {"limit": "10"} }
    const INFO: &[u8] = b"\x0a\x05QUOTA\x12\x0aguras.test\x1a\x0b\x0a\x05limit\x12\x0210";
    for peer in peers(json!([])).await {
        for begin in [false, true] {
            let script = json!({"code": 8, "message": "slowly", "details": "rich", "begin": begin});
            let (refused, failure, retry_after) = failure(call(&peer.services(), script).await);
            assert_eq!((refused, failure.code(), failure.message()), (false, Code::ResourceExhausted, "slowly"));
            assert_eq!(retry_after, Some(Duration::from_millis(1_500)), "{:?}", peer.implementation);
            let names = failure.details().iter().map(|detail| detail.type_name.as_str());
            assert_eq!(names.collect::<Vec<_>>(), ["google.rpc.RetryInfo", "google.rpc.ErrorInfo"]);
            assert_eq!(failure.details()[1].value, INFO);
        }
    }
}

#[tokio::test]
async fn details_that_are_no_message_are_left_out() {
    for peer in peers(json!([])).await {
        let script = json!({"code": 5, "message": "gone", "details": "garbage"});
        let (refused, failure, _) = failure(call(&peer.services(), script).await);
        assert_eq!((refused, failure.code(), failure.message()), (true, Code::NotFound, "gone"));
        assert_eq!(failure.details(), []);
    }
}

#[tokio::test]
async fn a_failure_is_made_again_with_the_same_key_until_one_succeeds() {
    for peer in peers(json!([])).await {
        let services = peer.services_with(ChannelConfig::default(), RETRY);
        let seen = seen(call(&services, json!({"code": 14, "failures": 2})).await);
        assert_eq!(seen["attempt"], 3, "{:?}", peer.implementation);
        assert_eq!(seen["metadata"]["grpc-previous-rpc-attempts"], "2");
    }
}

#[tokio::test]
async fn a_failure_behind_a_head_is_the_answer() {
    for peer in peers(json!([])).await {
        let services = peer.services_with(ChannelConfig::default(), RETRY);
        let (_, failure, _) = failure(call(&services, json!({"code": 14, "failures": 2, "begin": true})).await);
        assert_eq!(failure.code(), Code::Unavailable, "{:?}", peer.implementation);
    }
}

#[tokio::test]
async fn a_server_says_when_to_come_again_or_that_it_wants_no_more() {
    for peer in peers(json!([])).await {
        let services = peer.services_with(ChannelConfig::default(), RETRY);
        let begun = Instant::now();
        let later = json!({"code": 14, "failures": 1, "pushback_ms": 120, "size": 1});
        assert_eq!(payload(call(&services, later).await).len(), 1);
        assert!(begun.elapsed() >= Duration::from_millis(119), "{:?}", begun.elapsed());

        let (_, failure, _) = failure(call(&services, json!({"code": 14, "failures": 1, "pushback_ms": -1})).await);
        assert_eq!(failure.code(), Code::Unavailable, "{:?}", peer.implementation);
    }
}

#[tokio::test]
async fn a_method_that_the_server_does_not_have_is_refused() {
    for peer in peers(json!([])).await {
        let path = "/test.entries.v1.EntryService/GetEntry";
        let services = peer.services();
        let outcome = send(&services, path, "{}".into(), attempt(LONG)).await;
        let (refused, failure, _) = failure(outcome);
        assert_eq!((refused, failure.code()), (true, Code::Unimplemented), "{:?}", peer.implementation);
    }
}

#[tokio::test]
async fn a_stream_that_fails_after_some_messages_has_failed() {
    for peer in peers(json!([])).await {
        let script = json!({"messages": 3, "code": 14, "message": "moved"}).to_string();
        let services = peer.services_with(ChannelConfig::default(), RETRY);
        let (_, failure, _) = failure(send(&services, STREAM, script.into(), attempt(LONG)).await);
        assert_eq!((failure.code(), failure.message()), (Code::Unavailable, "moved"), "{:?}", peer.implementation);
    }
}
