//! What is said of a call by the stage at which the peer broke it off (semantics.md E6).

use std::time::Duration;

use engine::failure::Code;
use engine::transport::Unsent;
use tokio::sync::oneshot;

use super::wire::{INITIAL_WINDOW_SIZE, Wire, framed, listen, peer, peer_with};
use super::{HI, LONG, ambiguous, ambiguous_as, attempt, call, done, is_ready, not_sent, refused, reserve, services};

const REFUSED_STREAM: u32 = 7;

/// What was refused comes once more by itself.
async fn refuse_again(wire: &mut Wire) {
    let stream = wire.head().await;
    wire.reset(stream, REFUSED_STREAM).await;
}

#[tokio::test]
async fn a_connection_that_ends_between_reserve_and_send_sends_nothing() {
    let (end, ended) = oneshot::channel::<()>();
    let address = peer(async |mut wire| {
        tokio::select! {
            () = wire.linger() => {}
            _ = ended => {}
        }
    });
    let services = services(address.await);
    let reservation = reserve(&services).await.unwrap();
    end.send(()).unwrap();
    while is_ready(&services) {
        tokio::task::yield_now().await;
    }
    let unsent = not_sent(reservation.send(attempt(LONG)).await);
    assert_eq!(unsent.failure.code(), Code::Unavailable);
}

#[tokio::test]
async fn a_request_of_which_only_the_head_left_is_not_sent() {
    // A peer that gives no window gets no byte of the message.
    let address = peer_with(&[(INITIAL_WINDOW_SIZE, 0)], async |mut wire| {
        wire.head().await;
    });
    not_sent(call(address.await).await);

    for reason in 0..=13 {
        let address = peer_with(&[(INITIAL_WINDOW_SIZE, 0)], async move |mut wire| {
            let stream = wire.head().await;
            wire.reset(stream, reason).await;
            if reason == REFUSED_STREAM {
                refuse_again(&mut wire).await;
            }
            wire.linger().await;
        });
        not_sent(call(address.await).await);
    }
}

#[tokio::test]
async fn a_request_of_which_half_left_is_not_sent() {
    let address = peer_with(&[(INITIAL_WINDOW_SIZE, 7)], async |mut wire| {
        wire.head().await;
        assert_eq!(wire.frame().await.unwrap().payload.len(), 7);
    });
    not_sent(call(address.await).await);
}

#[tokio::test]
async fn a_peer_that_refuses_before_it_has_all_is_believed() {
    let address = peer_with(&[(INITIAL_WINDOW_SIZE, 0)], async |mut wire| {
        let stream = wire.head().await;
        wire.trailers(stream, &[(":status", "200"), ("grpc-status", "7")]).await;
        wire.linger().await;
    });
    assert_eq!(refused(call(address.await).await).code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_connection_that_ends_after_the_whole_request_is_ambiguous() {
    let address = peer(async |mut wire| {
        wire.request().await;
    });
    ambiguous_as(call(address.await).await, Code::Unavailable, "before a response");
}

#[tokio::test]
async fn a_connection_that_ends_in_the_response_is_ambiguous() {
    let address = peer(async |mut wire| {
        let stream = wire.request().await;
        wire.begin(stream).await;
    });
    ambiguous_as(call(address.await).await, Code::Unavailable, "while the response came in");

    for cut in 1..framed(HI).len() {
        let address = peer(async move |mut wire| {
            let stream = wire.request().await;
            wire.begin(stream).await;
            wire.data(stream, &framed(HI)[..cut]).await;
        });
        ambiguous_as(call(address.await).await, Code::Unavailable, "while the response came in");
    }
}

#[tokio::test]
async fn a_connection_that_ends_before_the_trailers_is_ambiguous() {
    let address = peer(async |mut wire| {
        let stream = wire.request().await;
        wire.begin(stream).await;
        wire.data(stream, &framed(HI)).await;
    });
    ambiguous_as(call(address.await).await, Code::Unavailable, "while the response came in");
}

#[tokio::test]
async fn a_response_that_ends_inside_its_message_is_ambiguous() {
    let address = peer(async |mut wire| {
        let stream = wire.request().await;
        wire.begin(stream).await;
        wire.data(stream, &framed(HI)[..7]).await;
        wire.trailers(stream, &[("grpc-status", "0")]).await;
        wire.linger().await;
    });
    ambiguous_as(call(address.await).await, Code::Internal, "inside its message");
}

#[tokio::test]
async fn a_go_away_below_the_request_proves_that_it_was_not_taken() {
    let address = peer(async |mut wire| {
        wire.request().await;
        wire.go_away(0).await;
        wire.linger().await;
    });
    assert_eq!(not_sent(call(address.await).await).failure.code(), Code::Unavailable);
}

#[tokio::test]
async fn a_go_away_above_the_request_lets_it_finish() {
    let address = peer(async |mut wire| {
        let stream = wire.request().await;
        wire.go_away(stream).await;
        wire.answer(stream, HI).await;
        wire.linger().await;
    });
    assert_eq!(done(call(address.await).await), HI);

    let address = peer(async |mut wire| {
        let stream = wire.request().await;
        wire.go_away(stream).await;
    });
    ambiguous(call(address.await).await);
}

#[tokio::test]
async fn a_reset_is_ambiguous_unless_it_says_that_the_stream_was_refused() {
    let codes = [
        Code::Internal,
        Code::Internal,
        Code::Internal,
        Code::Internal,
        Code::Internal,
        Code::Unknown,
        Code::Internal,
        Code::Unavailable,
        Code::Cancelled,
        Code::Internal,
        Code::Internal,
        Code::ResourceExhausted,
        Code::PermissionDenied,
        Code::Unknown,
        Code::Internal,
    ];
    for (reason, code) in (0..).zip(codes) {
        let address = peer(async move |mut wire| {
            let stream = wire.request().await;
            wire.reset(stream, reason).await;
            if reason == REFUSED_STREAM {
                refuse_again(&mut wire).await;
            }
            wire.linger().await;
        });
        let outcome = call(address.await).await;
        if reason == REFUSED_STREAM {
            not_sent(outcome);
        } else {
            ambiguous_as(outcome, code, "before a response");
        }

        let address = peer(async move |mut wire| {
            let stream = wire.request().await;
            wire.begin(stream).await;
            wire.reset(stream, reason).await;
            wire.linger().await;
        });
        ambiguous_as(call(address.await).await, code, "while the response came in");
    }
}

#[tokio::test]
async fn a_service_that_cannot_be_reached_is_an_unsent_call_with_a_time_to_come_back() {
    let (listener, address) = listen().await;
    drop(listener);
    let services = services(address);
    let Err(Unsent { failure, retry_after }) = reserve(&services).await else { panic!("reserved") };
    assert_eq!(failure.code(), Code::Unavailable);
    assert!(failure.message().contains("echo (http://127.0.0.1:"), "{failure}");
    assert!(retry_after.unwrap() <= Duration::from_millis(120));
}
