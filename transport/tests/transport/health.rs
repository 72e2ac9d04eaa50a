//! Endpoints that say of themselves that they do not serve (gRFC A17).

use std::time::Duration;

use engine::failure::Code;
use transport::Services;
use transport::channel::ChannelConfig;
use transport::channel::Connectivity::{self, Ready, TransientFailure};

use super::balancing::{make, until};
use super::servers::Server;
use super::wire::{Wire, framed, peer};
use super::{HI, LONG, attempt, config, done, reserve, services_at};

const WATCHED: &str = r#"{"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}"#;

const SERVING: &[u8] = b"\x08\x01";
const NOT_SERVING: &[u8] = b"\x08\x02";

fn quick() -> ChannelConfig {
    ChannelConfig { back_off: Duration::from_millis(5), max_back_off: Duration::from_millis(20), ..config() }
}

fn watched(addresses: &[std::net::SocketAddr]) -> Services {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    services_at(&format!("ipv4:{}", addresses.join(",")), WATCHED, quick())
}

#[tokio::test]
async fn an_endpoint_that_does_not_serve_gets_no_calls_until_it_does() {
    let servers = [Server::healthy().await, Server::healthy().await];
    let services = watched(&servers.each_ref().map(|server| server.address));
    until(&services, &[Ready; 2]).await;
    servers[0].set_serving(false).await;
    until(&services, &[TransientFailure, Ready]).await;
    make(&services, 10).await;
    assert_eq!(servers.each_ref().map(Server::calls), [0, 10]);
    let error = services.states().remove(0).channel.endpoints.remove(0).last_error;
    assert_eq!(error.as_deref(), Some("its health is NOT_SERVING for \"\""));

    servers[0].set_serving(true).await;
    until(&services, &[Ready; 2]).await;
    make(&services, 10).await;
    assert_eq!(servers.each_ref().map(Server::calls), [5, 5]);
}

#[tokio::test]
async fn where_no_endpoint_serves_calls_fail_at_once() {
    let servers = [Server::healthy().await, Server::healthy().await];
    for server in &servers {
        server.set_serving(false).await;
    }
    let services = watched(&servers.each_ref().map(|server| server.address));
    until(&services, &[TransientFailure; 2]).await;
    let unsent = reserve(&services).await.err().unwrap();
    assert_eq!(unsent.failure.code(), Code::Unavailable);
    assert!(unsent.failure.message().contains("its health is NOT_SERVING"), "{}", unsent.failure);
}

#[tokio::test]
async fn a_server_without_a_health_service_counts_as_healthy() {
    let server = Server::start().await;
    let services = watched(&[server.address]);
    until(&services, &[Ready]).await;
    make(&services, 1).await;
}

#[tokio::test]
async fn pick_first_does_not_ask() {
    let server = Server::healthy().await;
    server.set_serving(false).await;
    let target = format!("http://{}", server.address);
    let services = services_at(&target, r#"{"healthCheckConfig": {"serviceName": ""}}"#, quick());
    make(&services, 1).await;
}

#[tokio::test]
async fn an_endpoint_takes_no_call_before_its_health_is_known() {
    let (answer, answered) = tokio::sync::oneshot::channel::<()>();
    let address = peer(async move |mut wire| {
        let watch = wire.request().await;
        wire.begin(watch).await;
        answered.await.unwrap();
        wire.data(watch, &framed(SERVING)).await;
        let call = wire.request().await;
        wire.answer(call, HI).await;
        wire.linger().await;
    });
    let services = watched(&[address.await]);
    let (reserved, ()) = tokio::join!(reserve(&services), async {
        while services.states()[0].channel.endpoints.is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(services.states()[0].channel.connectivity, Connectivity::Connecting);
        answer.send(()).unwrap();
    });
    assert_eq!(done(reserved.unwrap().send(attempt(LONG)).await), HI);
}

#[tokio::test]
async fn a_watch_that_breaks_off_is_begun_again() {
    let address = peer(async |mut wire: Wire| {
        let first = wire.request().await;
        wire.begin(first).await;
        wire.data(first, &framed(NOT_SERVING)).await;
        wire.trailers(first, &[("grpc-status", "14"), ("grpc-message", "later")]).await;
        let second = wire.request().await;
        wire.begin(second).await;
        wire.data(second, &framed(SERVING)).await;
        let call = wire.request().await;
        wire.answer(call, HI).await;
        wire.linger().await;
    });
    let services = watched(&[address.await]);
    until(&services, &[Ready]).await;
    make(&services, 1).await;
}

#[tokio::test]
async fn a_server_that_leaves_does_not_have_to_wait_for_the_watch() {
    let mut server = Server::healthy().await;
    let services = watched(&[server.address]);
    until(&services, &[Ready]).await;
    server.leave();
    let left = || services.states()[0].channel.endpoints[0].last_error.clone();
    // Its listener is gone with it, so what comes after its end is a failed connect.
    while left().is_none_or(|error| !error.contains("cannot connect")) {
        tokio::task::yield_now().await;
    }
    server.has_left().await;
}
