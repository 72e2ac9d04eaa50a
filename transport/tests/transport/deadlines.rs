//! What ends a call from our side: its deadline, a lost claim, a caller that is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::claim::Claim;
use engine::failure::Code;
use engine::transport::Attempt;
use tokio::sync::oneshot;

use super::wire::{INITIAL_WINDOW_SIZE, RST_STREAM, framed, peer, peer_with};
use super::{LONG, ambiguous_as, attempt, call_within, not_sent, reserve, services};

const CANCEL: u32 = 8;

#[tokio::test]
async fn a_deadline_that_passes_before_the_message_left_sends_nothing() {
    let address = peer_with(&[(INITIAL_WINDOW_SIZE, 0)], async |mut wire| wire.linger().await);
    let unsent = not_sent(call_within(address.await, Duration::from_millis(30)).await);
    assert_eq!(unsent.failure.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_peer_that_never_answers_is_cancelled_at_the_deadline() {
    let (saw, seen) = oneshot::channel();
    let address = peer(async |mut wire| {
        wire.request().await;
        saw.send(wire.frame().await.unwrap()).unwrap();
    });
    ambiguous_as(call_within(address.await, Duration::from_millis(50)).await, Code::DeadlineExceeded, "deadline");
    let frame = seen.await.unwrap();
    assert_eq!((frame.kind, frame.payload), (RST_STREAM, CANCEL.to_be_bytes().to_vec()));
}

#[tokio::test]
async fn a_peer_that_trickles_is_cancelled_at_the_deadline() {
    let address = peer(async |mut wire| {
        let stream = wire.request().await;
        wire.begin(stream).await;
        for byte in framed(&[0; 100]) {
            wire.data(stream, &[byte]).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    ambiguous_as(call_within(address.await, Duration::from_millis(60)).await, Code::DeadlineExceeded, "deadline");
}

#[tokio::test]
async fn a_service_that_gives_up_at_the_deadline_did_not_cancel() {
    for reset in [true, false] {
        let address = peer(async move |mut wire| {
            let stream = wire.request().await;
            tokio::time::sleep(Duration::from_millis(192)).await;
            if reset {
                wire.reset(stream, CANCEL).await;
            } else {
                wire.trailers(stream, &[(":status", "200"), ("grpc-status", "1"), ("grpc-message", "Timeout")]).await;
            }
            wire.linger().await;
        });
        let outcome = call_within(address.await, Duration::from_millis(200)).await;
        ambiguous_as(outcome, Code::DeadlineExceeded, "deadline");
    }
}

#[tokio::test]
async fn dropping_a_call_resets_its_stream() {
    let (has, got) = oneshot::channel();
    let (saw, seen) = oneshot::channel();
    let address = peer(async |mut wire| {
        wire.request().await;
        has.send(()).unwrap();
        saw.send(wire.frame().await.unwrap()).unwrap();
    });
    let services = services(address.await);
    let mut call = reserve(&services).await.unwrap().send(attempt(LONG));
    tokio::select! {
        outcome = &mut call => panic!("{outcome:?}"),
        _ = got => drop(call),
    }
    let frame = seen.await.unwrap();
    assert_eq!((frame.kind, frame.payload), (RST_STREAM, CANCEL.to_be_bytes().to_vec()));
    assert_eq!(services.states()[0].channel.in_flight, 0);
}

#[derive(Debug)]
struct Lost;

impl Claim for Lost {
    fn is_held(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn without_the_claim_nothing_leaves() {
    let address = peer(async |mut wire| {
        let frame = wire.frame().await;
        assert!(frame.is_none(), "{frame:?}");
    });
    let services = services(address.await);
    let attempt = Attempt { claim: Arc::new(Lost), ..attempt(LONG) };
    let unsent = not_sent(reserve(&services).await.unwrap().send(attempt).await);
    assert!(unsent.failure.message().contains("claim"), "{}", unsent.failure);
}

/// Lost after it was asked once.
#[derive(Debug, Default)]
struct LostMeanwhile(AtomicBool);

impl Claim for LostMeanwhile {
    fn is_held(&self) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }
}

#[tokio::test]
async fn a_claim_that_is_lost_while_the_peer_has_no_room_stops_the_message() {
    let address = peer_with(&[(INITIAL_WINDOW_SIZE, 0)], async |mut wire| {
        let stream = wire.head().await;
        wire.window(stream, 100).await;
        let frame = wire.frame().await.unwrap();
        assert_eq!(frame.kind, RST_STREAM, "{frame:?}");
    });
    let services = services(address.await);
    let attempt = Attempt { claim: Arc::new(LostMeanwhile::default()), ..attempt(LONG) };
    let unsent = not_sent(reserve(&services).await.unwrap().send(attempt).await);
    assert!(unsent.failure.message().contains("claim"), "{}", unsent.failure);
}

#[tokio::test]
async fn after_the_deadline_nothing_leaves() {
    let address = peer(async |mut wire| {
        let frame = wire.frame().await;
        assert!(frame.is_none(), "{frame:?}");
    });
    let unsent = not_sent(call_within(address.await, Duration::ZERO).await);
    assert_eq!(unsent.failure.code(), Code::DeadlineExceeded);
}
