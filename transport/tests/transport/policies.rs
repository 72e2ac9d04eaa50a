//! What the policy of a service does to single calls: their time, their sizes, and how long they wait for a connection.

use std::time::Duration;

use engine::failure::Code;
use engine::transport::{CALL_TIMEOUT, Transport, Unsent};

use super::wire::{Wire, listen, peer, refusing};
use super::{
    HI, LONG, WRITE, ambiguous_as, attempt, call_over, done, not_sent, reserve, reserve_for, services, services_under,
};

fn said(millis: u64) -> Option<Duration> {
    Some(Duration::from_millis(millis))
}

#[tokio::test]
async fn the_smaller_of_what_step_and_policy_say_is_the_time_of_a_call() {
    let (_, address) = listen().await;
    let policy = r#"{"methodConfig": [{"name": [{}], "timeout": "0.5s"}]}"#;
    let under = services_under(address, policy);
    assert_eq!(under.call_timeout(WRITE, None), Duration::from_millis(500));
    assert_eq!(under.call_timeout(WRITE, said(300)), Duration::from_millis(300));
    assert_eq!(under.call_timeout(WRITE, said(700)), Duration::from_millis(500));

    let without = services(address);
    assert_eq!(without.call_timeout(WRITE, None), CALL_TIMEOUT);
    assert_eq!(without.call_timeout(WRITE, said(60_000)), Duration::from_secs(60));
    assert_eq!(without.call_timeout("/no.Service/Method", None), CALL_TIMEOUT);
}

#[tokio::test]
async fn a_policy_makes_messages_smaller_and_never_larger() {
    let (_, address) = listen().await;
    let largest = |bytes: u64| {
        let policy = format!(r#"{{"methodConfig": [{{"name": [{{}}], "maxRequestMessageBytes": {bytes}}}]}}"#);
        services_under(address, &policy).policy(WRITE).unwrap().max_request_bytes
    };
    assert_eq!(largest(10), 10);
    assert_eq!(largest(1 << 30), 4 * 1024 * 1024);
}

#[tokio::test]
async fn a_request_that_is_larger_than_the_policy_has_it_is_not_sent() {
    let address = peer(async |mut wire| wire.linger().await);
    let services = services_under(address.await, r#"{"methodConfig": [{"name": [{}], "maxRequestMessageBytes": 6}]}"#);
    let unsent = not_sent(call_over(&services, attempt(LONG)).await);
    assert_eq!(unsent.failure.code(), Code::ResourceExhausted);
    assert_eq!(unsent.failure.message(), "the request message has 7 bytes, more than the 6 allowed");
}

#[tokio::test]
async fn a_response_that_is_larger_than_the_policy_has_it_is_not_taken() {
    let address = peer(async |mut wire| {
        let stream = wire.request().await;
        wire.answer(stream, HI).await;
        wire.linger().await;
    });
    let services = services_under(address.await, r#"{"methodConfig": [{"name": [{}], "maxResponseMessageBytes": 3}]}"#);
    ambiguous_as(call_over(&services, attempt(LONG)).await, Code::ResourceExhausted, "more than the 3 allowed");
}

const PATIENT: &str = r#"{"methodConfig": [{"name": [{}], "waitForReady": true}]}"#;

#[tokio::test]
async fn a_call_that_waits_for_its_service_goes_out_when_that_is_there() {
    let (socket, address) = refusing();
    let services = services_under(address, PATIENT);
    let call = tokio::spawn(async move { call_over(&services, attempt(LONG)).await });
    tokio::time::sleep(Duration::from_millis(30)).await;
    let listener = socket.listen(16).unwrap();
    let mut wire = Wire::accept(&listener, &[]).await;
    let stream = wire.request().await;
    wire.answer(stream, HI).await;
    assert_eq!(done(call.await.unwrap()), HI);
}

#[tokio::test]
async fn a_call_that_waits_in_vain_says_for_what() {
    let (_kept, address) = refusing();
    let services = services_under(address, PATIENT);
    let waited = reserve_for(&services, WRITE, Duration::from_millis(60)).await;
    let Err(Unsent { failure, .. }) = waited else { panic!("reserved") };
    assert_eq!(failure.code(), Code::DeadlineExceeded);
    assert!(failure.message().contains("waited in vain for a connection: cannot connect to"), "{failure}");

    let impatient = services_under(address, "{}");
    let Err(Unsent { failure, .. }) = reserve(&impatient).await else { panic!("reserved") };
    assert_eq!(failure.code(), Code::Unavailable);
}
