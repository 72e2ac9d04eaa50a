//! Methods that answer with a stream: all messages are one response, up to stated limits.

use std::net::SocketAddr;

use bytes::Bytes;
use engine::failure::Code;
use engine::rpc::Rpc;
use engine::transport::{Attempt, Outcome};
use prost::Message;
use test_contracts::test::entries::v1::{Entry, StreamEntriesCollected, StreamEntriesRequest, StreamEntriesResponse};
use transport::channel::ChannelConfig;
use transport::policy::ServicePolicy;
use transport::{ServiceConfig, Services};

use super::wire::{RST_STREAM, framed, peer};
use super::{LONG, ambiguous_as, attempt, config, done, refused, reserve_for};

const OK: (&str, &str) = (":status", "200");

fn response(id: &str) -> StreamEntriesResponse {
    StreamEntriesResponse { entry: Some(Entry { entry_id: id.to_owned(), ..Entry::default() }) }
}

/// One call of `StreamEntries`, with a policy that makes failures again.
async fn stream_within(address: SocketAddr, channel: ChannelConfig) -> Outcome {
    let policy = r#"{"methodConfig": [{"name": [{}], "retryPolicy": {
        "maxAttempts": 3, "initialBackoff": "0.001s", "maxBackoff": "0.001s", "backoffMultiplier": 1,
        "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]
    }}]}"#;
    let services = Services::new(
        &test_contracts::CONTRACTS,
        [ServiceConfig {
            name: "journal".to_owned(),
            prefixes: vec!["test.entries.v1".to_owned()],
            address: format!("http://{address}"),
            channel,
            policy: ServicePolicy::parse(policy).unwrap(),
            ..ServiceConfig::default()
        }],
    )
    .unwrap();
    let reserved = reserve_for(&services, StreamEntriesRequest::METHOD.path, LONG).await.unwrap();
    let request = Bytes::from(StreamEntriesRequest { user_id: "u1".to_owned() }.encode_to_vec());
    reserved.send(Attempt { request, key: None, ..attempt(LONG) }).await
}

async fn stream(address: SocketAddr) -> Outcome {
    stream_within(address, config()).await
}

#[tokio::test]
async fn all_messages_of_a_stream_are_one_response_in_their_order() {
    let ids = ["e1", "e2", "e3"];
    let address = peer(async move |mut wire| {
        let stream = wire.request().await;
        wire.begin(stream).await;
        // However the messages are cut.
        for piece in ids.map(|id| framed(&response(id).encode_to_vec())).concat().chunks(3) {
            wire.data(stream, piece).await;
        }
        wire.trailers(stream, &[("grpc-status", "0")]).await;
        wire.linger().await;
    });
    let collected = StreamEntriesCollected::decode(done(stream(address.await).await)).unwrap();
    assert_eq!(collected.responses, ids.map(response));
}

#[tokio::test]
async fn a_stream_may_be_empty() {
    for trailers_only in [true, false] {
        let address = peer(async move |mut wire| {
            let stream = wire.request().await;
            if trailers_only {
                wire.trailers(stream, &[OK, ("grpc-status", "0")]).await;
            } else {
                wire.begin(stream).await;
                wire.trailers(stream, &[("grpc-status", "0")]).await;
            }
            wire.linger().await;
        });
        assert_eq!(done(stream(address.await).await), "");
    }
}

#[tokio::test]
async fn a_stream_that_fails_after_it_began_is_not_made_again() {
    for messages in [0, 2] {
        let address = peer(async move |mut wire| {
            let stream = wire.request().await;
            wire.begin(stream).await;
            for _ in 0..messages {
                wire.data(stream, &framed(&response("e1").encode_to_vec())).await;
            }
            wire.trailers(stream, &[("grpc-status", "14"), ("grpc-message", "moved")]).await;
            assert!(wire.frame().await.is_none());
        });
        ambiguous_as(stream(address.await).await, Code::Unavailable, "moved");
    }
}

#[tokio::test]
async fn a_stream_that_fails_before_it_began_is_made_again() {
    let address = peer(async |mut wire| {
        let stream = wire.request().await;
        wire.trailers(stream, &[OK, ("grpc-status", "14")]).await;
        let stream = wire.request().await;
        wire.begin(stream).await;
        wire.data(stream, &framed(&response("e1").encode_to_vec())).await;
        wire.trailers(stream, &[("grpc-status", "0")]).await;
        wire.linger().await;
    });
    let collected = StreamEntriesCollected::decode(done(stream(address.await).await)).unwrap();
    assert_eq!(collected.responses, [response("e1")]);
}

#[tokio::test]
async fn a_stream_that_is_refused_midway_is_refused() {
    let address = peer(async |mut wire| {
        let stream = wire.request().await;
        wire.begin(stream).await;
        wire.data(stream, &framed(&response("e1").encode_to_vec())).await;
        wire.trailers(stream, &[("grpc-status", "5"), ("grpc-message", "the user is gone")]).await;
        wire.linger().await;
    });
    assert_eq!(refused(stream(address.await).await).code(), Code::NotFound);
}

#[tokio::test]
async fn a_stream_beyond_a_limit_is_cancelled_and_says_which() {
    let few = ChannelConfig { max_stream_messages: 2, ..config() };
    let small = ChannelConfig { max_response_bytes: 20, ..config() };
    for (channel, part) in [(few, "more than the 2 messages allowed"), (small, "more than the 20 bytes allowed")] {
        let address = peer(async |mut wire| {
            let stream = wire.request().await;
            wire.begin(stream).await;
            for _ in 0..3 {
                wire.data(stream, &framed(&response("e1").encode_to_vec())).await;
            }
            let frame = wire.frame().await.unwrap();
            assert_eq!(frame.kind, RST_STREAM, "{frame:?}");
        });
        ambiguous_as(stream_within(address.await, channel).await, Code::ResourceExhausted, part);
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_off_or_garbled_is_ambiguous() {
    let whole = framed(&response("e1").encode_to_vec());
    for (bytes, part) in [
        (whole[..whole.len() - 1].to_vec(), "inside its message"),
        ([whole.clone(), vec![0, 0]].concat(), "inside its message"),
        (b"\x01\0\0\0\x04\x0a\x02hi".to_vec(), "compressed with ``"),
        (framed(b"\x0a\xff"), "StreamEntries"),
    ] {
        let address = peer(async move |mut wire| {
            let stream = wire.request().await;
            wire.begin(stream).await;
            wire.data(stream, &bytes).await;
            wire.trailers(stream, &[("grpc-status", "0")]).await;
            wire.linger().await;
        });
        ambiguous_as(stream(address.await).await, Code::Internal, part);
    }
}
