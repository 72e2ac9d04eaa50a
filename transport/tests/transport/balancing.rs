//! Several endpoints: which ones are connected, which one has a call, and what becomes of calls when one goes.

use std::time::Duration;

use engine::failure::Code;
use engine::transport::Transport;
use tokio::time::{Instant, timeout};
use transport::Services;
use transport::channel::ChannelConfig;
use transport::channel::Connectivity::{self, Idle, Ready, TransientFailure};

use super::servers::Server;
use super::wire::{MAX_CONCURRENT_STREAMS, listen, peer_with, refusing};
use super::{LONG, WRITE, attempt, call_over, config, done, reserve, services_at};

pub const ROUND_ROBIN: &str = r#"{"loadBalancingConfig": [{"round_robin": {}}]}"#;
pub const LEAST_REQUEST: &str = r#"{"loadBalancingConfig": [{"least_request_experimental": {"choiceCount": 10}}]}"#;

fn quick() -> ChannelConfig {
    ChannelConfig { back_off: Duration::from_millis(5), max_back_off: Duration::from_millis(20), ..config() }
}

fn listed<'s>(servers: impl IntoIterator<Item = &'s Server>) -> String {
    let addresses: Vec<String> = servers.into_iter().map(|server| server.address.to_string()).collect();
    format!("ipv4:{}", addresses.join(","))
}

/// Waits until the endpoints stand so, and asks for them with calls that are not made.
pub async fn until(services: &Services, wanted: &[Connectivity]) {
    let stands = || {
        let states = services.states().remove(0).channel.endpoints;
        states.iter().map(|endpoint| endpoint.connectivity).collect::<Vec<_>>()
    };
    let begun = Instant::now();
    while stands() != wanted {
        assert!(begun.elapsed() < LONG, "{:?} is not {wanted:?}", stands());
        drop(timeout(Duration::from_millis(1), reserve(services)).await);
        tokio::task::yield_now().await;
    }
}

pub async fn make(services: &Services, calls: usize) {
    for _ in 0..calls {
        done(call_over(services, attempt(LONG)).await);
    }
}

#[tokio::test]
async fn round_robin_spreads_calls_evenly() {
    let servers = [Server::start().await, Server::start().await, Server::start().await];
    let services = services_at(&listed(&servers), ROUND_ROBIN, quick());
    until(&services, &[Ready; 3]).await;
    make(&services, 30).await;
    assert_eq!(servers.each_ref().map(Server::calls), [10; 3]);
}

#[tokio::test]
async fn least_request_prefers_the_endpoint_with_fewer_calls_in_flight() {
    let servers = [Server::start().await, Server::start().await];
    let services = services_at(&listed(&servers), LEAST_REQUEST, quick());
    until(&services, &[Ready; 2]).await;
    servers.iter().for_each(|server| server.set_open(false));
    let held = reserve(&services).await.unwrap();
    let states = services.states().remove(0).channel.endpoints;
    let busy = states.iter().position(|endpoint| endpoint.in_flight == 1).unwrap();
    servers.iter().for_each(|server| server.set_open(true));

    make(&services, 32).await;
    // It is drawn alone once in a thousand calls.
    assert!(servers[busy].calls() < 3, "{states:?}");
    assert!(servers[1 - busy].calls() > 29);
    drop(held);
}

#[tokio::test]
async fn pick_first_calls_the_first_that_answers_and_leaves_the_others_alone() {
    let (_kept, refusing) = refusing();
    let servers = [Server::start().await, Server::start().await];
    let target = format!("ipv4:{refusing},{},{}", servers[0].address, servers[1].address);
    let services = services_at(&target, "{}", quick());
    make(&services, 5).await;
    assert_eq!(servers.each_ref().map(Server::calls), [5, 0]);
    let state = services.states().remove(0).channel;
    let stands: Vec<Connectivity> = state.endpoints.iter().map(|endpoint| endpoint.connectivity).collect();
    assert_eq!((stands.as_slice(), state.connectivity), (&[Idle, Ready, Idle][..], Ready));
    assert_eq!(state.last_error, None);
    assert!(state.endpoints[0].last_error.as_ref().unwrap().contains("cannot connect"), "{state:?}");
}

#[tokio::test]
async fn an_address_that_does_not_answer_holds_the_next_one_up_only_shortly() {
    let (silent, address) = listen().await;
    let server = Server::start().await;
    let services = services_at(&format!("ipv4:{address},{}", server.address), "{}", config());
    let begun = Instant::now();
    make(&services, 1).await;
    // Its own time would be five seconds.
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    drop(silent);
}

#[tokio::test]
async fn shuffled_addresses_are_not_always_tried_in_their_order() {
    let servers = [Server::start().await, Server::start().await];
    let shuffled = r#"{"loadBalancingConfig": [{"pick_first": {"shuffleAddressList": true}}]}"#;
    let mut calls = [0, 0];
    // Both orders come within 64 tries, but for one chance in 2^63.
    for _ in 0..64 {
        make(&services_at(&listed(&servers), shuffled, quick()), 1).await;
        calls = [calls[0] + servers[0].calls(), calls[1] + servers[1].calls()];
        if calls.iter().all(|calls| *calls > 0) {
            return;
        }
    }
    panic!("{calls:?}");
}

#[tokio::test]
async fn an_endpoint_that_dies_gets_no_more_calls_and_the_others_take_them() {
    let servers = [Server::start().await, Server::start().await];
    let services = services_at(&listed(&servers), ROUND_ROBIN, quick());
    until(&services, &[Ready; 2]).await;
    let [dying, living] = servers;
    dying.die();
    until(&services, &[TransientFailure, Ready]).await;
    living.calls();
    for _ in 0..20 {
        // Without a wait, too.
        let reserved = services.try_reserve(WRITE).unwrap();
        done(reserved.send(attempt(LONG)).await);
    }
    assert_eq!(living.calls(), 20);
    let state = services.states().remove(0).channel;
    assert_eq!(state.connectivity, Ready);
    assert!(state.last_error.as_ref().unwrap().contains("cannot connect"), "{state:?}");
}

#[tokio::test]
async fn when_all_have_died_calls_fail_at_once() {
    let servers = [Server::start().await, Server::start().await];
    let services = services_at(&listed(&servers), ROUND_ROBIN, quick());
    until(&services, &[Ready; 2]).await;
    servers.into_iter().for_each(Server::die);
    until(&services, &[TransientFailure; 2]).await;
    let begun = Instant::now();
    let unsent = reserve(&services).await.err().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(unsent.failure.code(), Code::Unavailable);
    assert!(unsent.failure.message().contains("none of 2 endpoints is ready"), "{}", unsent.failure);
    assert!(unsent.retry_after.is_some_and(|pause| pause < Duration::from_millis(25)), "{:?}", unsent.retry_after);
}

#[tokio::test]
async fn endpoints_come_back_after_a_failure() {
    let kept = [refusing(), refusing()];
    let addresses = kept.each_ref().map(|(_, address)| *address);
    let servers = [Server::at(addresses[0]).await, Server::at(addresses[1]).await];
    let services = services_at(&listed(&servers), ROUND_ROBIN, quick());
    until(&services, &[Ready; 2]).await;
    servers.into_iter().for_each(Server::die);
    until(&services, &[TransientFailure; 2]).await;
    let again = Server::at(addresses[1]).await;
    until(&services, &[TransientFailure, Ready]).await;
    make(&services, 2).await;
    assert_eq!(again.calls(), 2);
}

#[tokio::test]
async fn a_server_that_leaves_finishes_its_calls_and_gets_no_new_ones() {
    let servers = [Server::start().await, Server::start().await];
    let services = services_at(&listed(&servers), ROUND_ROBIN, quick());
    until(&services, &[Ready; 2]).await;
    servers[0].set_open(false);
    let held: Vec<_> = (0..2).map(|_| tokio::spawn(services.try_reserve(WRITE).unwrap().send(attempt(LONG)))).collect();
    while servers.iter().any(|server| server.seen() == 0) {
        tokio::task::yield_now().await;
    }
    servers[0].leave();
    until(&services, &[TransientFailure, Ready]).await;
    assert_eq!(servers.each_ref().map(Server::calls), [1, 1]);
    make(&services, 10).await;
    assert_eq!((servers[0].calls(), servers[1].calls()), (0, 10));
    servers[0].set_open(true);
    for call in held {
        done(call.await.unwrap());
    }
}

#[tokio::test]
async fn no_call_fails_while_one_server_after_the_other_is_replaced() {
    let kept = [refusing(), refusing()];
    let addresses = kept.each_ref().map(|(_, address)| *address);
    let mut servers = vec![Server::at(addresses[0]).await, Server::at(addresses[1]).await];
    let services = services_at(&listed(&servers), ROUND_ROBIN, quick());
    until(&services, &[Ready; 2]).await;
    let callers = futures_util::future::join_all((0..8).map(|_| async {
        loop {
            make(&services, 1).await;
            tokio::task::yield_now().await;
        }
    }));
    let replaced = async {
        for at in [0, 1, 0] {
            let mut old = servers.remove(at);
            old.leave();
            old.has_left().await;
            servers.insert(at, Server::at(addresses[at]).await);
            until(&services, &[Ready; 2]).await;
            while servers[at].seen() == 0 {
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::select! {
        _ = callers => unreachable!(),
        () = replaced => {}
    }
}

#[tokio::test]
async fn each_endpoint_takes_as_many_calls_as_its_peer_allows() {
    let one = [(MAX_CONCURRENT_STREAMS, 1)];
    let linger = async |mut wire: super::wire::Wire| wire.linger().await;
    let (first, second) = (peer_with(&one, linger).await, peer_with(&one, linger).await);
    let services = services_at(&format!("ipv4:{first},{second}"), ROUND_ROBIN, quick());
    until(&services, &[Ready; 2]).await;
    let held = [services.try_reserve(WRITE).unwrap(), services.try_reserve(WRITE).unwrap()];
    assert!(services.try_reserve(WRITE).is_none());
    let state = services.states().remove(0).channel;
    assert_eq!((state.in_flight, state.limit), (2, 2));
    assert!(state.endpoints.iter().all(|endpoint| endpoint.in_flight == 1), "{state:?}");
    assert!(timeout(Duration::from_millis(10), reserve(&services)).await.is_err());
    drop(held);
    assert!(services.try_reserve(WRITE).is_some());
}

#[tokio::test]
async fn a_service_has_no_more_calls_in_flight_than_its_own_limit_over_all_endpoints() {
    let servers = [Server::start().await, Server::start().await];
    let services = services_at(&listed(&servers), ROUND_ROBIN, ChannelConfig { max_in_flight: 3, ..quick() });
    until(&services, &[Ready; 2]).await;
    let held: Vec<_> = (0..3).map(|_| services.try_reserve(WRITE).unwrap()).collect();
    assert!(services.try_reserve(WRITE).is_none());
    drop(held);
}
