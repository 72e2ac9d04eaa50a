//! The services as the orchestrator reaches them: stored bytes, over its own transport, by the path of the method.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clients::guras::journal::v1::{Entry, StreamEntriesCollected, StreamEntriesRequest};
use clients::guras::notifications::v1::{PushOutcome, SendPushRequest, SendPushResponse};
use demo::{Count, Faults, Settings, World};
use engine::claim::Always;
use engine::rpc::Rpc;
use engine::transport::{Attempt, Outcome, Reserved, StepPlace, Transport};
use prost::Message;
use tonic::Code;
use transport::{ServiceConfig, Services};
use uuid::Uuid;

const WITHIN: Duration = Duration::from_secs(10);

fn transport(world: &World) -> Services {
    let config = |(name, address): (&str, std::net::SocketAddr)| ServiceConfig {
        name: name.to_owned(),
        prefixes: vec![format!("guras.{name}.v1")],
        address: format!("http://{address}"),
        ..ServiceConfig::default()
    };
    Services::new(&clients::CONTRACTS, world.services().map(config)).unwrap()
}

async fn send(transport: &Services, path: &str, request: Bytes, key: Option<Uuid>, number: u32) -> Outcome {
    let deadline = tokio::time::Instant::now() + WITHIN;
    let attempt = Attempt {
        request,
        level: clients::CONTRACTS.find(path).unwrap().method.level,
        key,
        deadline,
        run: Uuid::nil(),
        step: StepPlace::default(),
        number,
        epoch: 1,
        claim: Arc::new(Always),
    };
    match transport.reserve(path, attempt.run, WITHIN).await {
        Ok(Reserved::Ready(reservation)) => reservation.send(attempt).await,
        Ok(Reserved::Down(outage, _)) => panic!("{path} was not sent: {outage:?}"),
        Err(unsent) => panic!("{path} was not sent: {unsent:?}"),
    }
}

#[tokio::test]
async fn every_method_of_every_service_answers() {
    let world = World::start(Settings::default()).await.unwrap();
    let transport = transport(&world);
    let ours = || clients::CONTRACTS.methods().filter(|entry| entry.method.service.starts_with("guras."));
    for entry in ours() {
        let path = entry.method.path;
        match send(&transport, path, Bytes::new(), Some(Uuid::from_u128(1)), 1).await {
            Outcome::Done(_) => (),
            // An empty request is not always a good one.
            Outcome::Refused(failure) => assert_ne!(failure.code(), engine::failure::Code::Unimplemented, "{path}"),
            other => panic!("{path}: {other:?}"),
        }
    }
    assert_eq!(world.ledger().methods().len(), ours().count());
}

#[tokio::test]
async fn an_ambiguous_push_is_asked_again_with_its_key_and_happens_once() {
    let world = World::start(Settings::default()).await.unwrap();
    let transport = transport(&world);
    let push = SendPushRequest {
        user_id: "00000000-0000-4000-8000-000000000000".to_owned(),
        token: "ios-0000-0".to_owned(),
        title: "Today".to_owned(),
        body: "Sweep the floor you stand on first.".to_owned(),
        slot: "s".to_owned(),
        ..Default::default()
    };
    let path = SendPushRequest::METHOD.path;
    let (request, key) = (Bytes::from(push.encode_to_vec()), Some(Uuid::from_u128(7)));

    let lost = Faults { error_rate: 1.0, after_effect_rate: 1.0, code: Code::Unavailable, ..Faults::default() };
    world.faults().set(path, lost);
    let first = send(&transport, path, request.clone(), key, 1).await;
    assert!(matches!(first, Outcome::Ambiguous { .. }), "{first:?}");

    world.faults().set(path, Faults::default());
    let Outcome::Done(answer) = send(&transport, path, request, key, 2).await else {
        panic!("the repeat was not answered");
    };
    assert_eq!(SendPushResponse::decode(answer).unwrap().outcome(), PushOutcome::Delivered);
    let pushed = format!("push:{}/s/{}", push.user_id, push.token);
    assert_eq!(world.ledger().effects()[&pushed], Count { entered: 2, applied: 1 });
    assert_eq!(world.ledger().keys()[&(path.to_owned(), key.unwrap().to_string())], Count { entered: 2, applied: 1 });
}

#[tokio::test]
async fn a_stream_of_entries_is_collected_oldest_first() {
    let world = World::start(Settings::default()).await.unwrap();
    let transport = transport(&world);
    let user_id = "00000000-0000-4000-8000-000000000000".to_owned();
    let of_ever = |user_id| StreamEntriesRequest {
        user_id,
        start_time: Some(prost_types::Timestamp::default()),
        end_time: Some(prost_types::Timestamp { seconds: i64::from(u32::MAX), nanos: 0 }),
    };
    let request = of_ever(user_id.clone()).encode_to_vec();
    let answer = send(&transport, StreamEntriesRequest::METHOD.path, request.into(), None, 1).await;
    let Outcome::Done(answer) = answer else { panic!("{answer:?}") };
    let entries = StreamEntriesCollected::decode(answer).unwrap().responses;
    let entries: Vec<Entry> = entries.into_iter().filter_map(|response| response.entry).collect();
    assert!(!entries.is_empty() && entries.iter().all(|entry| entry.user_id == user_id));
    let at = |entry: &Entry| entry.create_time.map(|time| (time.seconds, time.nanos));
    assert!(entries.is_sorted_by_key(at));
}
