//! Calls that are made again by the stack itself: when, how often, and what is then said of them (gRFC A6).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use engine::claim::Claim;
use engine::failure::Code;
use engine::rpc::Level;
use engine::transport::{Attempt, Outcome, Transport};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use transport::policy::Repeats;
use transport::{ServiceConfig, Services};

use super::wire::{DATA, Wire, listen, peer};
use super::{HI, LONG, WRITE, ambiguous, ambiguous_as, attempt, call_over, config, done, not_sent, refused, reserve};
use super::{reserve_for, services, services_under, without_breaker};

const READ: &str = "/test.echo.v1.EchoService/Read";
/// A method whose contract does not say how often it may be called.
const WRITE_TEXT: &str = "/test.texts.v1.TextService/WriteText";

const RETRY: &str = r#"{"methodConfig": [{"name": [{}], "retryPolicy": {
    "maxAttempts": 3, "initialBackoff": "0.002s", "maxBackoff": "0.01s", "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"]
}}]}"#;

const UNAVAILABLE: (&str, &str) = ("grpc-status", "14");
const OK: (&str, &str) = (":status", "200");
const REFUSED_STREAM: u32 = 7;

/// Nothing comes any more until the other side has gone.
async fn nothing_more(mut wire: Wire) {
    let frame = wire.frame().await;
    assert!(frame.is_none(), "{frame:?}");
}

async fn call(address: SocketAddr) -> Outcome {
    call_over(&services_under(address, RETRY), attempt(LONG)).await
}

/// One call to a peer that plays this script, and to its end.
async fn tried<F: Future<Output = ()> + Send>(script: impl FnOnce(Wire) -> F + Send + 'static) -> Outcome {
    let (address, played) = play(script).await;
    let outcome = call(address).await;
    played.await.unwrap();
    outcome
}

/// A peer whose script can be waited for, so that what it does not expect is seen.
async fn play<F: Future<Output = ()> + Send>(
    script: impl FnOnce(Wire) -> F + Send + 'static,
) -> (SocketAddr, JoinHandle<()>) {
    let (listener, address) = listen().await;
    let played = tokio::spawn(async move {
        let wire = Wire::accept(&listener, &[]).await;
        drop(listener);
        script(wire).await;
    });
    (address, played)
}

#[tokio::test]
async fn a_failure_that_the_policy_lists_is_made_again_until_one_is_done() {
    let outcome = tried(async |mut wire| {
        for _ in 0..2 {
            let stream = wire.request().await;
            wire.trailers(stream, &[OK, UNAVAILABLE]).await;
        }
        let stream = wire.request().await;
        wire.answer(stream, HI).await;
        nothing_more(wire).await;
    })
    .await;
    assert_eq!(done(outcome), HI);
}

#[tokio::test]
async fn after_the_last_attempt_its_failure_stands() {
    let outcome = tried(async |mut wire| {
        for number in ["first", "second", "third"] {
            let stream = wire.request().await;
            wire.trailers(stream, &[OK, UNAVAILABLE, ("grpc-message", number)]).await;
        }
        nothing_more(wire).await;
    })
    .await;
    ambiguous_as(outcome, Code::Unavailable, "third");
}

#[tokio::test]
async fn a_connection_that_breaks_is_followed_by_an_attempt_over_another() {
    let (listener, address) = listen().await;
    let served = tokio::spawn(async move {
        Wire::accept(&listener, &[]).await.request().await;
        let mut wire = Wire::accept(&listener, &[]).await;
        let stream = wire.request().await;
        wire.answer(stream, HI).await;
    });
    assert_eq!(done(call(address).await), HI);
    served.await.unwrap();
}

#[tokio::test]
async fn an_attempt_that_may_have_happened_leaves_the_call_in_doubt() {
    let script = async |mut wire: Wire| {
        let stream = wire.request().await;
        wire.trailers(stream, &[OK, UNAVAILABLE]).await;
        let stream = wire.request().await;
        wire.trailers(stream, &[OK, ("grpc-status", "9"), ("grpc-message", "closed")]).await;
        nothing_more(wire).await;
    };
    ambiguous_as(tried(script).await, Code::FailedPrecondition, "closed");

    // A read has nothing that could have happened.
    let services = services_under(peer(script).await, RETRY);
    let reserved = reserve_for(&services, READ, LONG).await.unwrap();
    let read = Attempt { level: Level::NoSideEffects, ..attempt(LONG) };
    assert_eq!(refused(reserved.send(read).await).code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn a_response_that_began_is_the_answer() {
    let outcome = tried(async |mut wire| {
        let stream = wire.request().await;
        wire.begin(stream).await;
        wire.trailers(stream, &[UNAVAILABLE]).await;
        nothing_more(wire).await;
    })
    .await;
    assert_eq!(ambiguous(outcome).code(), Code::Unavailable);
}

#[tokio::test]
async fn a_service_that_wants_no_retry_gets_none() {
    for pushback in ["-1", "later"] {
        let outcome = tried(async move |mut wire| {
            let stream = wire.request().await;
            wire.trailers(stream, &[OK, UNAVAILABLE, ("grpc-retry-pushback-ms", pushback)]).await;
            nothing_more(wire).await;
        })
        .await;
        ambiguous(outcome);
    }
}

#[tokio::test]
async fn a_service_that_names_a_time_is_called_then() {
    let outcome = tried(async |mut wire| {
        let stream = wire.request().await;
        wire.trailers(stream, &[OK, UNAVAILABLE, ("grpc-retry-pushback-ms", "80")]).await;
        let asked = Instant::now();
        let stream = wire.request().await;
        assert!(asked.elapsed() >= Duration::from_millis(79), "{:?}", asked.elapsed());
        wire.answer(stream, HI).await;
        wire.linger().await;
    })
    .await;
    assert_eq!(done(outcome), HI);
}

#[tokio::test]
async fn no_pause_is_begun_that_the_deadline_does_not_leave_time_for() {
    let outcome = tried(async |mut wire| {
        let stream = wire.request().await;
        wire.trailers(stream, &[OK, UNAVAILABLE, ("grpc-retry-pushback-ms", "60000")]).await;
        nothing_more(wire).await;
    })
    .await;
    let begun = Instant::now();
    assert_eq!(ambiguous(outcome).code(), Code::Unavailable);
    assert!(begun.elapsed() < LONG / 2);
}

#[tokio::test]
async fn all_attempts_of_a_call_share_its_deadline() {
    let address = peer(async |mut wire| {
        let stream = wire.request().await;
        tokio::time::sleep(Duration::from_millis(60)).await;
        wire.trailers(stream, &[OK, UNAVAILABLE]).await;
        wire.linger().await;
    });
    let services = services_under(address.await, RETRY);
    let begun = Instant::now();
    let outcome = call_over(&services, attempt(Duration::from_millis(120))).await;
    ambiguous_as(outcome, Code::DeadlineExceeded, "deadline");
    assert!(begun.elapsed() < Duration::from_millis(1_000), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn what_never_left_goes_out_again_at_once_without_any_policy() {
    let address = peer(async |mut wire| {
        let stream = wire.request().await;
        wire.reset(stream, REFUSED_STREAM).await;
        let stream = wire.request().await;
        wire.answer(stream, HI).await;
        wire.linger().await;
    });
    assert_eq!(done(call_over(&services(address.await), attempt(LONG)).await), HI);

    let (listener, address) = listen().await;
    let served = tokio::spawn(async move {
        let mut first = Wire::accept(&listener, &[]).await;
        first.request().await;
        first.go_away(0).await;
        let mut second = Wire::accept(&listener, &[]).await;
        let stream = second.request().await;
        second.answer(stream, HI).await;
    });
    assert_eq!(done(call_over(&services(address), attempt(LONG)).await), HI);
    served.await.unwrap();
}

fn texts(address: SocketAddr) -> Services {
    Services::new(&test_contracts::CONTRACTS, [texts_config(address)]).unwrap()
}

fn texts_config(address: SocketAddr) -> ServiceConfig {
    ServiceConfig {
        name: "ai".to_owned(),
        prefixes: vec!["test.texts.v1".to_owned()],
        address: format!("http://{address}"),
        channel: config(),
        policy: transport::policy::ServicePolicy::parse(RETRY).unwrap(),
        breaker: without_breaker(),
        ..ServiceConfig::default()
    }
}

#[tokio::test]
async fn a_method_whose_contract_says_nothing_is_called_again_only_where_nothing_left() {
    let write_text = async |address| {
        let reserved = reserve_for(&texts(address), WRITE_TEXT, LONG).await.unwrap();
        reserved.send(Attempt { request: Bytes::new(), level: Level::Unknown, ..attempt(LONG) }).await
    };
    let (address, played) = play(async |mut wire| {
        let stream = wire.request().await;
        wire.trailers(stream, &[OK, UNAVAILABLE]).await;
        nothing_more(wire).await;
    })
    .await;
    ambiguous(write_text(address).await);
    played.await.unwrap();

    let address = peer(async |mut wire| {
        for _ in 0..3 {
            let stream = wire.request().await;
            wire.reset(stream, REFUSED_STREAM).await;
        }
        let stream = wire.request().await;
        wire.answer(stream, b"").await;
        wire.linger().await;
    });
    done(write_text(address.await).await);
}

#[tokio::test]
async fn a_configured_level_holds_for_its_method_and_is_obeyed_as_it_was_journaled() {
    let levels = [(WRITE_TEXT, Level::Idempotent)].into();
    let services = |address| {
        Services::new(&test_contracts::CONTRACTS, [ServiceConfig { levels, ..texts_config(address) }]).unwrap()
    };
    let address = peer(async |mut wire| {
        let stream = wire.request().await;
        wire.trailers(stream, &[OK, UNAVAILABLE]).await;
        let stream = wire.request().await;
        wire.answer(stream, b"").await;
        let stream = wire.request().await;
        wire.trailers(stream, &[OK, UNAVAILABLE]).await;
        nothing_more(wire).await;
    });
    let services = services(address.await);
    let policy = services.policy(WRITE_TEXT).unwrap();
    assert_eq!((policy.repeats, policy.level_is_configured()), (Repeats::All, true));
    assert_eq!(services.level(WRITE_TEXT, Level::Unknown), Level::Idempotent);
    assert_eq!(services.level("/test.texts.v1.TextService/AnalyzeText", Level::NoSideEffects), Level::NoSideEffects);

    let write_text = async |level| {
        let reserved = reserve_for(&services, WRITE_TEXT, LONG).await.unwrap();
        reserved.send(Attempt { request: Bytes::new(), level, ..attempt(LONG) }).await
    };
    done(write_text(Level::Idempotent).await);
    // It was started before the level was configured.
    ambiguous(write_text(Level::Unknown).await);
}

/// Held until it was asked as often as one attempt asks.
#[derive(Debug)]
struct LostAfterOne(AtomicU32);

impl Claim for LostAfterOne {
    fn is_held(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) < 2
    }
}

#[tokio::test]
async fn a_claim_that_is_lost_between_two_attempts_ends_the_call() {
    let (address, played) = play(async |mut wire| {
        let stream = wire.request().await;
        wire.trailers(stream, &[OK, UNAVAILABLE]).await;
        nothing_more(wire).await;
    })
    .await;
    let attempt = Attempt { claim: Arc::new(LostAfterOne(AtomicU32::new(0))), ..attempt(LONG) };
    let outcome = call_over(&services_under(address, RETRY), attempt).await;
    ambiguous_as(outcome, Code::Aborted, "the claim on the run was lost");
    played.await.unwrap();
}

#[tokio::test]
async fn a_call_holds_no_place_among_those_in_flight_while_it_pauses() {
    let (told, paused) = tokio::sync::oneshot::channel();
    let address = peer(async |mut wire| {
        let stream = wire.request().await;
        wire.trailers(stream, &[OK, UNAVAILABLE, ("grpc-retry-pushback-ms", "5000")]).await;
        told.send(()).unwrap();
        wire.linger().await;
    });
    let services = services_under(address.await, RETRY);
    let mut call = std::pin::pin!(call_over(&services, attempt(LONG)));
    tokio::select! {
        outcome = &mut call => panic!("{outcome:?}"),
        _ = paused => {}
    }
    tokio::select! {
        outcome = &mut call => panic!("{outcome:?}"),
        () = async { while services.states()[0].channel.in_flight > 0 { tokio::task::yield_now().await } } => {}
    }
}

#[tokio::test]
async fn the_calls_of_a_service_share_one_budget_of_retries() {
    let budgeted = RETRY.replacen('{', r#"{"retryThrottling": {"maxTokens": 4, "tokenRatio": 0.5}, "#, 1);
    let (address, played) = play(async |mut wire| {
        // Two attempts of the first call take two of four tokens; the second call has one attempt.
        for _ in 0..3 {
            let stream = wire.request().await;
            wire.trailers(stream, &[OK, UNAVAILABLE]).await;
        }
        let stream = wire.request().await;
        wire.answer(stream, HI).await;
        nothing_more(wire).await;
    })
    .await;
    let services = services_under(address, &budgeted);
    assert_eq!(services.states()[0].retry_millitokens, Some(4_000));
    ambiguous(call_over(&services, attempt(LONG)).await);
    assert_eq!(services.states()[0].retry_millitokens, Some(2_000));
    ambiguous(call_over(&services, attempt(LONG)).await);
    assert_eq!(services.states()[0].retry_millitokens, Some(1_000));
    done(call_over(&services, attempt(LONG)).await);
    assert_eq!(services.states()[0].retry_millitokens, Some(1_500));
    drop(services);
    played.await.unwrap();
}

#[tokio::test]
async fn a_service_that_went_away_in_between_leaves_the_call_in_doubt() {
    let address = peer(async |mut wire| {
        let stream = wire.request().await;
        wire.trailers(stream, &[OK, UNAVAILABLE]).await;
    });
    let services = services_under(address.await, RETRY);
    ambiguous(call_over(&services, attempt(LONG)).await);
    assert!(services.try_reserve(WRITE).is_none());
    let unsent = not_sent(match reserve(&services).await {
        Ok(reserved) => reserved.send(attempt(LONG)).await,
        Err(unsent) => Outcome::NotSent(unsent),
    });
    assert_eq!(unsent.failure.code(), Code::Unavailable);
}

#[tokio::test]
async fn calls_that_a_connection_left_out_are_sent_over_others_and_are_neither_attempts_nor_failures() {
    let (listener, address) = listen().await;
    let served = tokio::spawn(async move {
        for _ in 0..5 {
            let mut wire = Wire::accept(&listener, &[]).await;
            wire.request().await;
            wire.go_away(0).await;
        }
        let mut last = Wire::accept(&listener, &[]).await;
        let stream = last.request().await;
        last.answer(stream, HI).await;
        last.linger().await;
    });
    let services = services(address);
    assert_eq!(done(call_over(&services, attempt(LONG)).await), HI);
    let state = services.states().remove(0);
    assert!(state.gate.last_error.is_none(), "{state:?}");
    assert_eq!(state.gate.failures_per_second, 0.0);
    served.abort();
}

#[tokio::test]
async fn a_status_of_a_megabyte_keeps_its_code_and_the_connection_of_the_other_calls() {
    for begun in [false, true] {
        let address = peer(async move |mut wire| {
            // The parts of two requests come in any order.
            let mut whole = Vec::new();
            while whole.len() < 2 {
                let frame = wire.frame().await.unwrap();
                if frame.kind == DATA && frame.flags & 1 != 0 {
                    whole.push(frame.stream);
                }
            }
            let (first, second) = (whole[0], whole[1]);
            let message = "x".repeat(1_000_000);
            let status = [("grpc-status", "5"), ("grpc-message", message.as_str())];
            if begun {
                wire.begin(first).await;
                wire.trailers(first, &status).await;
            } else {
                wire.trailers(first, &[&[(":status", "200")][..], &status].concat()).await;
            }
            wire.answer(second, HI).await;
            wire.linger().await;
        });
        let services = services(address.await);
        let calls = (call_over(&services, attempt(LONG)), call_over(&services, attempt(LONG)));
        let (one, two) = tokio::join!(calls.0, calls.1);
        let (large, other) = if matches!(one, Outcome::Done(_)) { (two, one) } else { (one, two) };
        let Outcome::Refused(failure) = large else { panic!("{large:?}") };
        assert_eq!(failure.code(), Code::NotFound);
        assert!(failure.message().ends_with("[cut: it had 1000000 bytes]"), "{}", failure.message().len());
        assert_eq!(done(other), HI);
    }
}
