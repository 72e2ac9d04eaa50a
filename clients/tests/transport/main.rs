//! The transport against peers that break off at every stage, and what it then says of the call.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]
#![expect(unreachable_pub, reason = "modules of a test have no outside")]

mod answers;
mod balancing;
mod connections;
mod deadlines;
mod direct;
mod health;
mod metadata;
mod names;
mod outcomes;
mod policies;
mod retries;
mod servers;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clients::bench::echo::v1::WriteRequest;
use clients::channel::{ChannelConfig, Connectivity, KeepAlive};
use clients::policy::ServicePolicy;
use clients::transport::{ServiceConfig, Services};
use engine::claim::Always;
use engine::failure::{Code, Failure};
use engine::transport::{Attempt, Outcome, Reservation, StepPlace, Transport, Unsent};
use prost::Message;
use tokio::time::Instant;

const WRITE: &str = "/bench.echo.v1.EchoService/Write";

/// The response message `{payload: "hi"}`.
const HI: &[u8] = b"\x0a\x02hi";

/// Long enough never to be reached by a test that passes.
const LONG: Duration = Duration::from_secs(10);

fn services(address: SocketAddr) -> Services {
    services_with(address, config())
}

fn services_with(address: SocketAddr, channel: ChannelConfig) -> Services {
    let (name, prefix) = ("echo".to_owned(), "bench.echo.v1".to_owned());
    Services::new([ServiceConfig {
        name,
        prefix,
        address: format!("http://{address}"),
        channel,
        ..ServiceConfig::default()
    }])
    .unwrap()
}

/// The same with a service config.
fn services_under(address: SocketAddr, policy: &str) -> Services {
    let (name, prefix) = ("echo".to_owned(), "bench.echo.v1".to_owned());
    let (address, policy) = (format!("http://{address}"), ServicePolicy::parse(policy).unwrap());
    let channel = ChannelConfig { back_off: Duration::from_millis(5), ..config() };
    Services::new([ServiceConfig { name, prefix, address, channel, policy, ..ServiceConfig::default() }]).unwrap()
}

/// At any target.
fn services_at(target: &str, policy: &str, channel: ChannelConfig) -> Services {
    let (name, prefix) = ("echo".to_owned(), "bench.echo.v1".to_owned());
    let (address, policy) = (target.to_owned(), ServicePolicy::parse(policy).unwrap());
    Services::new([ServiceConfig { name, prefix, address, channel, policy, ..ServiceConfig::default() }]).unwrap()
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
        key: Some("3b241101-e2bb-4255-8caf-4136c566a962".parse().unwrap()),
        deadline: Instant::now() + within,
        run: "018f4c1e-0000-7000-8000-00000000002a".parse().unwrap(),
        step: StepPlace::default(),
        number: 1,
        epoch: 1,
        claim: Arc::new(Always),
    }
}

async fn reserve(services: &Services) -> Result<Box<dyn Reservation>, Unsent> {
    services.reserve(WRITE, Instant::now() + LONG).await
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
