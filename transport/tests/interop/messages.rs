//! What other implementations see of our calls, and messages of every size, plain and compressed.

use bytes::Bytes;
use engine::failure::Code;
use engine::transport::{Outcome, Unsent};
use prost::Message;
use serde_json::json;
use test_contracts::test::entries::v1::StreamEntriesCollected;
use transport::channel::ChannelConfig;

use super::peer::{LONG, STREAM, WRITE, attempt, call, payload, peers, seen, send};

#[tokio::test]
async fn a_server_sees_the_deadline_the_trace_the_key_and_the_attempt() {
    for peer in peers(json!([])).await {
        let services = peer.services_with(ChannelConfig { attempt_header: true, ..ChannelConfig::default() }, "{}");
        let attempt = attempt(LONG);
        let key = attempt.key.unwrap().to_string();
        let seen = seen(send(&services, WRITE, "{}".into(), attempt).await);
        let metadata = &seen["metadata"];
        assert_eq!(metadata["idempotency-key"], key, "{:?}", peer.implementation);
        let parent = metadata["traceparent"].as_str().unwrap();
        assert!(parent.starts_with("00-018f4c1e00007000800000000000002a-"), "{parent}");
        assert!(metadata["user-agent"].as_str().unwrap().starts_with("orchestrator/"), "{metadata}");
        let told = metadata["orchestrator-attempt"].as_str().unwrap();
        assert!(told.starts_with("run=018f4c1e-0000-7000-8000-00000000002a;step=:0;attempt=1;epoch=1;"), "{told}");
        let left = seen["left"].as_f64().unwrap();
        assert!((LONG.as_secs_f64() - 5.0..=LONG.as_secs_f64() + 0.1).contains(&left), "{left} s are left");
    }
}

#[tokio::test]
async fn messages_of_every_size_go_both_ways() {
    for peer in peers(json!([])).await {
        let services = peer.services();
        for size in [0, 1, 16_384, 65_536, 1_048_576, 4_000_000] {
            let sent = Bytes::from(vec![7; size]);
            let answer = payload(send(&services, WRITE, sent.clone(), attempt(LONG)).await);
            assert!(answer == sent, "{size} bytes to {:?}", peer.implementation);
        }
    }
}

#[tokio::test]
async fn messages_above_a_limit_are_refused_by_whoever_has_it() {
    for peer in peers(json!([])).await {
        let small =
            peer.services_with(ChannelConfig { max_response_bytes: 1_000_000, ..ChannelConfig::default() }, "{}");
        let ours = [call(&small, json!({"size": 1_000_001})).await, call(&small, json!({"size": 8_000_000})).await];
        // Both implementations take 4 MiB unless told otherwise.
        let roomy = ChannelConfig { max_request_bytes: 8_000_000, ..ChannelConfig::default() };
        let theirs = send(&peer.services_with(roomy, "{}"), WRITE, vec![7; 5_000_000].into(), attempt(LONG)).await;
        for outcome in ours {
            let Outcome::Ambiguous { failure, .. } = outcome else { panic!("{outcome:?}") };
            assert_eq!(failure.code(), Code::ResourceExhausted, "{failure} from {:?}", peer.implementation);
        }
        // Whether it has all of the message when it refuses it is up to the server.
        let (Outcome::Ambiguous { failure, .. } | Outcome::NotSent(Unsent { failure, .. })) = theirs else {
            panic!("{theirs:?}")
        };
        assert_eq!(failure.code(), Code::ResourceExhausted, "{failure} from {:?}", peer.implementation);
        // The connection is none the worse for it.
        assert_eq!(payload(call(&small, json!({"size": 10})).await).len(), 10);
    }
}

#[tokio::test]
async fn answers_that_a_server_compresses_are_read_and_bounded() {
    for peer in peers(json!([])).await {
        let services = peer.services();
        let answer = payload(call(&services, json!({"compress": true, "size": 100_000})).await);
        assert_eq!(answer.len(), 100_000, "{:?}", peer.implementation);
        let seen = seen(call(&services, json!({"compress": true})).await);
        assert_eq!(seen["metadata"].get("grpc-encoding"), None);

        let small = peer.services_with(ChannelConfig { max_response_bytes: 99_999, ..ChannelConfig::default() }, "{}");
        let outcome = call(&small, json!({"compress": true, "size": 100_000})).await;
        let Outcome::Ambiguous { failure, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(failure.code(), Code::ResourceExhausted, "{failure} from {:?}", peer.implementation);
    }
}

#[tokio::test]
async fn a_stream_is_collected_in_order() {
    for peer in peers(json!([])).await {
        for messages in [0, 1, 5_000_u32] {
            let script = json!({ "messages": messages }).to_string();
            let outcome = send(&peer.services(), STREAM, script.into(), attempt(LONG)).await;
            let Outcome::Done(bytes) = outcome else { panic!("{outcome:?} from {:?}", peer.implementation) };
            let collected = StreamEntriesCollected::decode(bytes).unwrap();
            let ids = collected.responses.into_iter().map(|response| response.entry.unwrap().entry_id);
            let expected = (0..messages).map(|number| number.to_string());
            assert!(ids.eq(expected), "{messages} messages from {:?}", peer.implementation);
        }
    }
}
