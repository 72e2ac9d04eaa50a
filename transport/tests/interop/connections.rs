//! Connections as other implementations end and watch them: shutdown, age, pings.

use std::time::Duration;

use engine::failure::Code;
use engine::transport::Outcome;
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::Instant;
use transport::channel::{ChannelConfig, KeepAlive};

use super::peer::{LONG, WRITE, attempt, call, payload, peers, send};

#[tokio::test]
async fn calls_that_are_open_finish_while_a_server_shuts_down() {
    for peer in peers(json!([])).await {
        let services = peer.services();
        let open = join_all((0..8).map(|_| call(&services, json!({"sleep": 0.4, "size": 1}))));
        let stopping = async {
            tokio::time::sleep(Duration::from_millis(150)).await;
            call(&services, json!({"stop": true, "sleep": 0.1, "size": 1})).await
        };
        let (open, stopping) = tokio::join!(open, stopping);
        for outcome in open.into_iter().chain([stopping]) {
            assert_eq!(payload(outcome).len(), 1, "{:?}", peer.implementation);
        }
        // No one listens any more, which is certain to have had no effect.
        let after = call(&services, json!({"size": 1})).await;
        assert!(matches!(after, Outcome::NotSent(_)), "{after:?} from {:?}", peer.implementation);
    }
}

#[tokio::test]
async fn no_call_is_lost_while_connections_grow_old_and_are_replaced() {
    let options = json!([["grpc.max_connection_age_ms", 100], ["grpc.max_connection_age_grace_ms", 10_000]]);
    for peer in peers(options).await {
        let services = peer.services();
        let end = Instant::now() + Duration::from_millis(1_500);
        let calls = join_all((0..16).map(|_| async {
            let mut calls = 0;
            while Instant::now() < end {
                let outcome = call(&services, json!({"size": 1})).await;
                assert_eq!(payload(outcome).len(), 1, "{:?}", peer.implementation);
                calls += 1;
            }
            calls
        }));
        let calls: u32 = calls.await.into_iter().sum();
        assert!(calls > 100, "only {calls} calls were made of {:?}", peer.implementation);
    }
}

#[tokio::test]
async fn a_long_silent_call_is_watched_without_offence() {
    for peer in peers(json!([])).await {
        let interval = Duration::from_millis(30);
        let keep_alive = KeepAlive { interval, timeout: LONG, while_idle: false };
        let services = peer.services_with(ChannelConfig { keep_alive, ..ChannelConfig::default() }, "{}");
        let outcome = call(&services, json!({"sleep": 1.5, "size": 1})).await;
        assert_eq!(payload(outcome).len(), 1, "{:?}", peer.implementation);
    }
}

#[tokio::test]
async fn a_server_that_takes_too_long_is_given_up_at_the_deadline() {
    for peer in peers(json!([])).await {
        let services = peer.services();
        let begun = Instant::now();
        let script = json!({"sleep": 2}).to_string();
        let outcome = send(&services, WRITE, script.into(), attempt(Duration::from_millis(300))).await;
        let Outcome::Ambiguous { failure, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(failure.code(), Code::DeadlineExceeded, "{:?}", peer.implementation);
        assert!(begun.elapsed() < Duration::from_millis(1_500), "{:?}", begun.elapsed());
        assert_eq!(payload(call(&services, json!({"size": 1})).await).len(), 1);
    }
}
