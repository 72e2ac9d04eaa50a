//! The transport against peers that break off at every stage, and what it then says of the call.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]
#![expect(unreachable_pub, reason = "modules of a test have no outside")]

mod answers;
mod balancing;
mod certificates;
mod connections;
mod deadlines;
mod direct;
mod health;
mod identity;
mod metadata;
mod names;
mod observed;
mod outcomes;
mod policies;
mod retries;
mod runs;
mod servers;
mod streams;
mod tls_peer;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::claim::Always;
use engine::failure::{Code, Failure};
use engine::rpc::Level;
use engine::transport::{Attempt, Outcome, Reservation, StepPlace, Transport, Unsent};
use prost::Message;
use test_contracts::test::echo::v1::WriteRequest;
use tokio::time::Instant;
use transport::channel::{ChannelConfig, Connectivity, KeepAlive};
use transport::policy::ServicePolicy;
use transport::{BreakerConfig, ServiceConfig, Services};
use uuid::Uuid;

const WRITE: &str = "/test.echo.v1.EchoService/Write";

/// The response message `{payload: "hi"}`.
const HI: &[u8] = b"\x0a\x02hi";

/// The run that makes all calls.
const RUN: Uuid = Uuid::from_u128(0x018f_4c1e_0000_7000_8000_0000_0000_002a);

/// Long enough never to be reached by a test that passes.
const LONG: Duration = Duration::from_secs(10);

fn services(address: SocketAddr) -> Services {
    services_with(address, config())
}

fn services_with(address: SocketAddr, channel: ChannelConfig) -> Services {
    services_at(&format!("http://{address}"), "{}", channel)
}

/// For tests of what is below it, which see each failure.
fn without_breaker() -> BreakerConfig {
    BreakerConfig { enabled: false, ..BreakerConfig::default() }
}

/// The same with a service config.
fn services_under(address: SocketAddr, policy: &str) -> Services {
    let channel = ChannelConfig { back_off: Duration::from_millis(5), ..config() };
    services_at(&format!("http://{address}"), policy, channel)
}

/// At any target.
fn services_at(target: &str, policy: &str, channel: ChannelConfig) -> Services {
    let (name, prefixes) = ("echo".to_owned(), vec!["test.echo.v1".to_owned()]);
    let (address, policy) = (target.to_owned(), ServicePolicy::parse(policy).unwrap());
    let breaker = without_breaker();
    Services::new(
        &test_contracts::CONTRACTS,
        [ServiceConfig { name, prefixes, address, channel, policy, breaker, ..ServiceConfig::default() }],
    )
    .unwrap()
}

fn config() -> ChannelConfig {
    ChannelConfig { keep_alive: KeepAlive { interval: LONG, ..KeepAlive::default() }, ..ChannelConfig::default() }
}

/// Reserves and sends.
async fn call_over(services: &Services, attempt: Attempt) -> Outcome {
    reserve(services).await.unwrap().send(attempt).await
}

fn attempt(within: Duration) -> Attempt {
    Attempt {
        request: Bytes::from(WriteRequest { payload: Bytes::from_static(b"hello") }.encode_to_vec()),
        level: Level::Idempotent,
        key: Some("3b241101-e2bb-4255-8caf-4136c566a962".parse().unwrap()),
        deadline: Instant::now() + within,
        run: RUN,
        step: StepPlace::default(),
        number: 1,
        epoch: 1,
        claim: Arc::new(Always),
    }
}

async fn reserve(services: &Services) -> Result<Box<dyn Reservation>, Unsent> {
    reserve_for(services, WRITE, LONG).await
}

/// Reserves for a method, and waits so long for a connection.
async fn reserve_for(services: &Services, path: &str, within: Duration) -> Result<Box<dyn Reservation>, Unsent> {
    services.reserve(path, RUN, within).await?.ready().await
}

fn is_ready(services: &Services) -> bool {
    services.states()[0].channel.connectivity == Connectivity::Ready
}

/// One call to the peer.
async fn call(address: SocketAddr) -> Outcome {
    call_within(address, LONG).await
}

async fn call_within(address: SocketAddr, within: Duration) -> Outcome {
    let services = services(address);
    reserve(&services).await.unwrap().send(attempt(within)).await
}

#[track_caller]
fn not_sent(outcome: Outcome) -> Unsent {
    match outcome {
        Outcome::NotSent(unsent) => unsent,
        other => panic!("expected not sent, got {other:?}"),
    }
}

#[track_caller]
fn refused(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Refused(failure) => failure,
        other => panic!("expected refused, got {other:?}"),
    }
}

#[track_caller]
fn ambiguous(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Ambiguous { failure, .. } => failure,
        other => panic!("expected ambiguous, got {other:?}"),
    }
}

#[track_caller]
fn done(outcome: Outcome) -> Bytes {
    match outcome {
        Outcome::Done(message) => message,
        other => panic!("expected done, got {other:?}"),
    }
}

#[track_caller]
fn ambiguous_as(outcome: Outcome, code: Code, part: &str) {
    let failure = ambiguous(outcome);
    assert_eq!(failure.code(), code, "{failure}");
    assert!(failure.message().contains(part), "{failure}");
}
