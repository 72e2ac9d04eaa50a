//! What a service on tonic sees of our calls, and what we see of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use engine::failure::Code;
use engine::transport::Attempt;
use prost::Message;
use test_contracts::test::echo::v1::echo_service_server::{EchoService, EchoServiceServer};
use test_contracts::test::echo::v1::{ReadRequest, ReadResponse, WriteRequest, WriteResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use transport::channel::ChannelConfig;

use super::wire::listen;
use super::{LONG, ambiguous_as, attempt, call_over, config, done, reserve, services, services_under, services_with};

struct Echo {
    seen: mpsc::UnboundedSender<MetadataMap>,
    delay: Duration,
    /// Calls that fail before one succeeds.
    failures: AtomicU32,
}

#[tonic::async_trait]
impl EchoService for Echo {
    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<ReadResponse>, Status> {
        Ok(Response::new(ReadResponse { payload: request.into_inner().payload }))
    }

    async fn write(&self, request: Request<WriteRequest>) -> Result<Response<WriteResponse>, Status> {
        self.seen.send(request.metadata().clone()).unwrap();
        tokio::time::sleep(self.delay).await;
        let left = self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if left.is_ok() {
            return Err(Status::unavailable("not yet"));
        }
        Ok(Response::new(WriteResponse { payload: request.into_inner().payload }))
    }
}

async fn echo(delay: Duration) -> (SocketAddr, mpsc::UnboundedReceiver<MetadataMap>) {
    echo_after(0, delay).await
}

pub async fn echo_after(failures: u32, delay: Duration) -> (SocketAddr, mpsc::UnboundedReceiver<MetadataMap>) {
    let (listener, address) = listen().await;
    let (seen, calls) = mpsc::unbounded_channel();
    let service = EchoServiceServer::new(Echo { seen, delay, failures: AtomicU32::new(failures) })
        .max_decoding_message_size(usize::MAX);
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    (address, calls)
}

#[tokio::test]
async fn a_call_says_its_timeout_its_trace_and_its_key() {
    let (address, mut calls) = echo(Duration::ZERO).await;
    let services = services(address);
    let mut spans = Vec::new();
    for _ in 0..2 {
        done(reserve(&services).await.unwrap().send(attempt(LONG)).await);
        let metadata = calls.recv().await.unwrap();
        let text = |name: &str| metadata.get(name).unwrap().to_str().unwrap();
        assert_eq!(text("idempotency-key"), "3b241101-e2bb-4255-8caf-4136c566a962");
        assert_eq!(text("te"), "trailers");
        assert_eq!(text("content-type"), "application/grpc");
        assert!(text("user-agent").starts_with("orchestrator/"));
        assert_eq!(text("grpc-accept-encoding"), "gzip");
        assert!(!metadata.contains_key("grpc-encoding"));
        let micros: u64 = text("grpc-timeout").strip_suffix('u').unwrap().parse().unwrap();
        assert!((9_000_000..=10_000_000).contains(&micros), "{micros}");
        let parent = text("traceparent").to_owned();
        assert!(parent.starts_with("00-018f4c1e00007000800000000000002a-"), "{parent}");
        spans.push(parent);
    }
    assert_ne!(spans[0], spans[1]);
}

#[tokio::test]
async fn a_service_is_told_the_attempt_only_where_it_wants_to_know() {
    let (address, mut calls) = echo(Duration::ZERO).await;
    for wanted in [false, true] {
        let channel = ChannelConfig { attempt_header: wanted, ..config() };
        let services = services_with(address, channel);
        done(reserve(&services).await.unwrap().send(attempt(LONG)).await);
        let metadata = calls.recv().await.unwrap();
        assert_eq!(metadata.contains_key("orchestrator-attempt"), wanted);
    }
}

#[tokio::test]
async fn a_read_carries_no_key() {
    let (address, mut calls) = echo(Duration::ZERO).await;
    let attempt = Attempt { key: None, ..attempt(LONG) };
    done(reserve(&services(address)).await.unwrap().send(attempt).await);
    assert!(!calls.recv().await.unwrap().contains_key("idempotency-key"));
}

#[tokio::test]
async fn big_messages_go_both_ways() {
    let (address, _calls) = echo(Duration::ZERO).await;
    let services = services(address);
    for size in [0, 1, 16_384, 65_535, 1_000_000, 4 * 1024 * 1024 - 16] {
        let request = Bytes::from(WriteRequest { payload: vec![7; size].into() }.encode_to_vec());
        let attempt = Attempt { request: request.clone(), ..attempt(LONG) };
        // The response has the same field.
        assert_eq!(done(reserve(&services).await.unwrap().send(attempt).await), request);
    }
}

#[tokio::test]
async fn a_tonic_service_that_is_too_slow_is_a_deadline_exceeded() {
    let (address, _calls) = echo(LONG).await;
    let services = services(address);
    let outcome = reserve(&services).await.unwrap().send(attempt(Duration::from_millis(40))).await;
    ambiguous_as(outcome, Code::DeadlineExceeded, "deadline");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_calls_at_once_all_get_their_own_answers() {
    let (address, _calls) = echo(Duration::ZERO).await;
    let services = Arc::new(services(address));
    let calls = (0..1000_u32).map(|number| {
        let services = Arc::clone(&services);
        tokio::spawn(async move {
            let request = Bytes::from(WriteRequest { payload: number.to_be_bytes().to_vec().into() }.encode_to_vec());
            let attempt = Attempt { request: request.clone(), ..attempt(LONG) };
            assert_eq!(done(reserve(&services).await.unwrap().send(attempt).await), request);
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    assert_eq!(services.states()[0].channel.in_flight, 0);
}

#[tokio::test]
async fn each_further_attempt_says_how_many_there_were_and_keeps_the_key() {
    let (address, mut calls) = echo_after(2, Duration::ZERO).await;
    let policy = r#"{"methodConfig": [{"name": [{}], "retryPolicy": {
        "maxAttempts": 4, "initialBackoff": "0.001s", "maxBackoff": "0.001s", "backoffMultiplier": 1,
        "retryableStatusCodes": ["UNAVAILABLE"]
    }}]}"#;
    done(call_over(&services_under(address, policy), attempt(LONG)).await);
    for previous in [None, Some("1"), Some("2")] {
        let metadata = calls.recv().await.unwrap();
        let text = |name: &str| metadata.get(name).map(|value| value.to_str().unwrap());
        assert_eq!(text("grpc-previous-rpc-attempts"), previous);
        assert_eq!(text("idempotency-key"), Some("3b241101-e2bb-4255-8caf-4136c566a962"));
    }
    assert!(calls.try_recv().is_err());
}
