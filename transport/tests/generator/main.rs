//! What the generator makes of contracts that ours are not like. The contracts are in `tests/contracts/proto`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod debug;
mod editions;
mod names;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use engine::rpc::{Level, Rpc};
use prost::Message;
use tonic::{Code, Request};
use transport::channel::{Received, Seam, Stored};
use transport::methods::{MethodEntry, Undecodable};

use test_contracts::fixture::rooms::v1::FillRoomCall;
use test_contracts::fixture::secrets::v1::{Colour, Diary, diary};
use test_contracts::fixture::v1::{
    CloseShelfCall, CountShelvesCall, FollowCollected, FollowRequest, HttpShelfServiceOpenShelfCall, MoveRequest,
    OpenShelfCall, PaintShelfRequest, ShakeShelfRequest, Shelf, ShelfAnswer, ShelfFeedServiceFollowCollected,
    ShelfFeedServiceWatchShelvesCall, ShelfFeedServiceWatchShelvesCollected, WatchShelvesCall, WatchShelvesCollected,
};

fn entry(path: &str) -> &'static MethodEntry {
    let mut all = test_contracts::CONTRACTS.services.iter().copied().flatten();
    all.find(|entry| entry.method.path == path).unwrap_or_else(|| panic!("{path} has no entry"))
}

fn method<R: Rpc>() -> &'static engine::rpc::Method {
    R::METHOD
}

#[test]
fn a_shared_request_message_gets_a_type_for_each_method() {
    let shelf = Shelf { shelf_id: "s1".to_owned(), books: BTreeMap::new() };
    assert_eq!(method::<OpenShelfCall>().path, "/fixture.v1.ShelfService/OpenShelf");
    assert_eq!(method::<CloseShelfCall>().path, "/fixture.v1.ShelfService/CloseShelf");
    assert_eq!(OpenShelfCall(shelf.clone()).into_request(), shelf);
    assert_eq!(CloseShelfCall(shelf.clone()).into_request(), shelf);
}

#[test]
fn methods_of_the_same_name_in_one_package_are_told_apart_by_their_service() {
    assert_eq!(method::<HttpShelfServiceOpenShelfCall>().path, "/fixture.v1.HTTPShelfService/OpenShelf");
    assert_eq!(method::<HttpShelfServiceOpenShelfCall>().level, Level::Unknown);
    assert_eq!(method::<OpenShelfCall>().level, Level::Idempotent);
}

#[test]
fn a_request_message_of_another_package_is_shared_as_well() {
    assert_eq!(method::<FillRoomCall>().path, "/fixture.rooms.v1.RoomService/FillRoom");
}

#[test]
fn a_message_that_is_not_generated_here_is_wrapped() {
    assert_eq!(method::<CountShelvesCall>().level, Level::NoSideEffects);
    CountShelvesCall(()).into_request();
}

#[test]
fn a_method_that_says_nothing_promises_nothing() {
    assert_eq!(method::<ShakeShelfRequest>().level, Level::Unknown);
}

#[test]
fn a_method_that_remembers_keys_says_for_how_long() {
    assert_eq!(method::<PaintShelfRequest>().level, Level::Keyed { horizon: Duration::from_secs(3_600) });
}

#[test]
fn an_annotated_request_id_takes_the_key_where_it_is_empty() {
    assert_eq!(method::<ShakeShelfRequest>().request_id, Some("request_id"));
    let mut request = ShakeShelfRequest::default();
    ShakeShelfRequest::fill_request_id(&mut request, "key-1");
    assert_eq!(request.request_id.as_deref(), Some("key-1"));
    ShakeShelfRequest::fill_request_id(&mut request, "key-2");
    assert_eq!(request.request_id.as_deref(), Some("key-1"));
}

#[test]
fn a_request_id_that_is_not_annotated_is_left_alone() {
    assert_eq!(method::<MoveRequest>().request_id, None);
    let mut request = MoveRequest::default();
    MoveRequest::fill_request_id(&mut request, "key-1");
    assert_eq!(request, MoveRequest::default());
}

#[test]
fn marked_fields_are_not_shown() {
    let diary = Diary {
        owner: "Secret".to_owned(),
        r#type: Some(2),
        colour: Colour::Red.into(),
        pages: vec![diary::Page { text: "Secret".to_owned(), number: 7 }],
        cover: Some(diary::Cover { material: Some(diary::cover::Material::Cloth("linen".to_owned())) }),
        notes: BTreeMap::from([("Secret".to_owned(), "Secret".to_owned())]),
        lock: Some(diary::Lock::Code("Secret".to_owned())),
    };
    let shown = format!("{diary:?}");
    assert!(!shown.contains("Secret"), "{shown}");
    assert!(shown.starts_with("Diary { owner: [redacted], type: Some(2), colour: Red, "), "{shown}");
    assert!(shown.contains("Page { text: [redacted], number: 7 }"), "{shown}");
}

#[test]
fn what_takes_a_stream_is_no_call() {
    let all: Vec<&str> =
        test_contracts::CONTRACTS.services.iter().copied().flatten().map(|entry| entry.method.path).collect();
    let all: Vec<&str> = all
        .into_iter()
        .filter(|path| path.starts_with("/fixture.v1.") || path.starts_with("/fixture.rooms."))
        .collect();
    assert_eq!(all.len(), 11, "{all:?}");
    assert!(!all.iter().any(|path| path.ends_with("/FillShelves") || path.ends_with("/Talk")));
}

#[test]
fn a_stream_of_responses_is_answered_with_all_of_them() {
    fn collects<R: Rpc>(_: impl Fn(Vec<ShelfAnswer>) -> R::Response) -> (&'static str, Option<&'static str>) {
        (R::METHOD.path, entry(R::METHOD.path).collected)
    }
    let watch = collects::<WatchShelvesCall>(|responses| WatchShelvesCollected { responses });
    assert_eq!(watch, ("/fixture.v1.ShelfService/WatchShelves", Some("fixture.v1.WatchShelvesCollected")));
    let feed =
        collects::<ShelfFeedServiceWatchShelvesCall>(|responses| ShelfFeedServiceWatchShelvesCollected { responses });
    let name = Some("fixture.v1.ShelfFeedServiceWatchShelvesCollected");
    assert_eq!(feed, ("/fixture.v1.ShelfFeedService/WatchShelves", name));
    assert_eq!(entry("/fixture.v1.ShelfService/OpenShelf").collected, None);
    assert_eq!(method::<WatchShelvesCall>().level, Level::NoSideEffects);
}

#[test]
fn a_name_that_a_message_of_the_contract_has_is_not_taken_from_it() {
    let collected = ShelfFeedServiceFollowCollected { responses: vec![(), ()] };
    assert_eq!(collected.encode_to_vec(), [0x0a, 0, 0x0a, 0]);
    assert!(FollowCollected {}.encode_to_vec().is_empty());
    assert_eq!(FollowRequest::METHOD.path, "/fixture.v1.ShelfFeedService/Follow");
}

#[test]
fn what_a_stream_is_collected_in_is_among_the_descriptors() {
    let descriptors = test_contracts::CONTRACTS.descriptors;
    let pool = prost_reflect::DescriptorPool::decode(descriptors).unwrap();
    let bytes = WatchShelvesCollected { responses: vec![ShelfAnswer { shelves: 7 }] }.encode_to_vec();
    let message = pool.get_message_by_name("fixture.v1.WatchShelvesCollected").unwrap();
    let message = prost_reflect::DynamicMessage::decode(message, bytes.as_slice()).unwrap();
    assert_eq!(serde_json::to_string(&message).unwrap(), r#"{"responses":[{"shelves":7}]}"#);
}

/// Answers every call with `answer` and keeps what it was handed.
fn seam(answer: ShelfAnswer, sent: std::sync::mpsc::Sender<(String, Bytes)>) -> Seam {
    let bytes = Bytes::from(answer.encode_to_vec());
    Seam::new(tower::service_fn(move |request: http::Request<tonic::body::Body>| {
        let stored = request.extensions().get::<Stored>().cloned().unwrap();
        sent.send((request.uri().path().to_owned(), stored.0)).unwrap();

        let mut frame = vec![0];
        frame.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
        frame.extend(&bytes);
        let trailers = http::HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
        let body = http_body_util::BodyExt::with_trailers(http_body_util::Full::new(Bytes::from(frame)), async move {
            Some(Ok(trailers))
        });
        let mut response = http::Response::new(tonic::body::Body::new(body));
        response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        response.extensions_mut().insert(Received(bytes.clone()));
        async move { Ok(response) }
    }))
}

#[tokio::test]
async fn a_call_sends_the_stored_bytes_and_returns_the_received_ones() {
    let (sender, sent) = std::sync::mpsc::channel();
    let answer = ShelfAnswer { shelves: 7 };
    // A field that the contract of today does not know must go out all the same.
    let mut stored = Shelf { shelf_id: "s1".to_owned(), books: BTreeMap::new() }.encode_to_vec();
    stored.extend([0x78, 0x01]);
    let stored = Bytes::from(stored);

    let open = entry("/fixture.v1.ShelfService/OpenShelf");
    let received = (open.call)(seam(answer, sender), Request::new(stored.clone())).await.unwrap();

    assert_eq!(received, answer.encode_to_vec());
    assert_eq!(sent.try_recv().unwrap(), ("/fixture.v1.ShelfService/OpenShelf".to_owned(), stored));
}

#[tokio::test]
async fn stored_bytes_that_are_no_request_are_not_sent() {
    let (sender, sent) = std::sync::mpsc::channel();
    let open = entry("/fixture.v1.ShelfService/OpenShelf");
    let status = (open.call)(seam(ShelfAnswer::default(), sender), Request::new(Bytes::from_static(&[0x0a, 0xff])))
        .await
        .unwrap_err();

    assert_eq!(status.code(), Code::Internal);
    assert!(status.message().contains("/fixture.v1.ShelfService/OpenShelf"), "{}", status.message());
    assert!(std::error::Error::source(&status).is_some_and(|source| source.is::<Undecodable>()));
    assert!(sent.try_recv().is_err());
}
