//! Contracts of protobuf editions are read and written as their features say.

use std::collections::BTreeMap;
use std::time::Duration;

use engine::rpc::{Level, Rpc};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use test_contracts::fixture::edition::closed::v1::{Drawer, drawer};
use test_contracts::fixture::edition::next::v1::{NextRequest, NextResponse, next_request};
use test_contracts::fixture::edition::v1::{AskRequest, AskResponse, Closed, Part, ask_request, ask_response};

/// The same message through the descriptors, as JSON.
fn as_json(full_name: &str, bytes: &[u8]) -> serde_json::Value {
    let pool = DescriptorPool::decode(test_contracts::CONTRACTS.descriptors).unwrap();
    let message = DynamicMessage::decode(pool.get_message_by_name(full_name).unwrap(), bytes).unwrap();
    serde_json::to_value(&message).unwrap()
}

#[test]
fn presence_is_that_of_each_field() {
    let request = AskRequest { implicit: 0, explicit: Some(0), required: String::new(), ..Default::default() };
    // Field 1 is not written at its default, field 2 is where it is set, and field 3 always.
    assert_eq!(request.encode_to_vec(), [0x10, 0, 0x1a, 0]);
    let answer = AskResponse { answer: String::new(), number: Some(0), inner: None };
    assert_eq!(answer.encode_to_vec(), [0x10, 0]);
    assert!(ask_response::Inner { inherited: false }.encode_to_vec().is_empty());
    assert_eq!(as_json("fixture.edition.v1.AskResponse", &[0x10, 0]), serde_json::json!({ "number": 0 }));
}

#[test]
fn repeated_fields_are_packed_unless_the_contract_says_expanded() {
    let request = AskRequest { packed: vec![1, 2], expanded: vec![1, 2], ..Default::default() };
    assert_eq!(request.encode_to_vec(), [0x1a, 0, 0x2a, 2, 1, 2, 0x30, 1, 0x30, 2]);
    let drawer = Drawer { expanded: vec![1, 2], packed: vec![1, 2], sides: vec![1, 2], ..Default::default() };
    assert_eq!(drawer.encode_to_vec(), [0x18, 1, 0x18, 2, 0x22, 2, 1, 2, 0x30, 1, 0x30, 2, 0x3a, 0]);
}

#[test]
fn delimited_messages_are_groups_on_the_wire() {
    let part = Part { number: Some(7) };
    let request = AskRequest { part: Some(part), group: Some(part), groups: vec![part], ..Default::default() };
    let bytes = request.encode_to_vec();
    assert_eq!(bytes, [0x1a, 0, 0x3a, 2, 8, 7, 0x43, 8, 7, 0x44, 0x4b, 8, 7, 0x4c]);
    assert_eq!(AskRequest::decode(bytes.as_slice()).unwrap(), request);
    let json = as_json("fixture.edition.v1.AskRequest", &bytes);
    assert_eq!((&json["group"]["number"], &json["groups"][0]["number"]), (&7.into(), &7.into()));

    let inner = Drawer { inner: Some(Box::new(Drawer::default())), ..Default::default() };
    assert_eq!(inner.encode_to_vec(), [0x2b, 0x3a, 0, 0x2c, 0x3a, 0]);
}

#[test]
fn closed_enums_may_begin_with_another_number_and_defaults_are_kept() {
    assert_eq!(Drawer::default().side(), drawer::Side::Right);
    assert_eq!(Drawer::default().depth(), 7);
    assert_eq!(Closed::One as i32, 1);
    let request = AskRequest { closed: 0, closeds: vec![1, 0], ..Default::default() };
    assert_eq!(request.encode_to_vec(), [0x1a, 0, 0x5a, 2, 1, 0]);
}

#[test]
fn maps_oneofs_and_options_are_as_in_every_syntax() {
    let request = AskRequest {
        parts: BTreeMap::from([(String::from("a"), Part { number: Some(1) })]),
        choice: Some(ask_request::Choice::Text(String::from("t"))),
        secret: Some(String::from("Secret")),
        ..Default::default()
    };
    assert_eq!(AskRequest::decode(request.encode_to_vec().as_slice()).unwrap(), request);
    assert!(!format!("{request:?}").contains("Secret"));
    assert_eq!(AskRequest::METHOD.level, Level::Idempotent);
    assert_eq!(AskRequest::METHOD.request_id, Some("request_id"));
    let mut request = AskRequest::default();
    AskRequest::fill_request_id(&mut request, "key-1");
    assert_eq!(request.request_id.as_deref(), Some("key-1"));
}

#[test]
fn edition_2024_is_read_with_its_visibility_and_its_imports_of_options() {
    let export = next_request::Export { local: Some(0), export: Some(String::from("e")) };
    let request = NextRequest { export: Some(export), locals: vec![0] };
    assert_eq!(NextRequest::decode(request.encode_to_vec().as_slice()).unwrap(), request);
    assert_eq!(NextRequest::METHOD.level, Level::Keyed { horizon: Duration::from_secs(60) });
    assert!(NextResponse {}.encode_to_vec().is_empty());
}
