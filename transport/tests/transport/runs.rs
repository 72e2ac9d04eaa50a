//! Runs of the engine over the transport: what a cancel and a deadline do on the wire, and what an address where nothing
//! answers sees of a thousand runs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use engine::failure::Code;
use engine::store::Requester;
use engine::testing::World;
use engine::{Context, Failure, Retry, State, Workflow};
use test_contracts::test::echo::v1::echo_service_server::{EchoService, EchoServiceServer};
use test_contracts::test::echo::v1::{ReadRequest, ReadResponse, WriteRequest, WriteResponse};
use test_contracts::test::v1::{ChainRequest, ChainResponse};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use transport::channel::ChannelConfig;
use transport::{BreakerConfig, ServiceConfig, Services};

use super::wire::{RST_STREAM, Wire, framed, listen, peer};
use super::{config, services};

const CANCEL: [u8; 4] = 8_u32.to_be_bytes();

/// One attempt of a read, or of an effect where it has steps, with so many milliseconds as it has bytes.
#[derive(Clone)]
struct One;

impl Workflow for One {
    const NAME: &'static str = "test.one";
    type Input = ChainRequest;
    type Output = ChainResponse;

    async fn run(&self, ctx: &Context, input: ChainRequest) -> Result<ChainResponse, Failure> {
        let within = Duration::from_millis(u64::try_from(input.bytes).unwrap());
        let payload = Bytes::from_static(b"hello");
        if input.steps == 0 {
            ctx.call(ReadRequest { payload }).timeout(within).retry(Retry::never()).await?;
        } else {
            ctx.call(WriteRequest { payload }).timeout(within).retry(Retry::never()).await?;
        }
        Ok(ChainResponse { steps: 1 })
    }
}

fn read_within(millis: i32) -> ChainRequest {
    ChainRequest { steps: 0, bytes: millis }
}

fn write_within(millis: i32) -> ChainRequest {
    ChainRequest { steps: 1, bytes: millis }
}

fn world_over(services: Services) -> World {
    let services = Arc::new(services);
    let fake = engine::testing::Services::new().behind(move |_| services.clone());
    World::new(fake, |registry| registry.register(|| One))
}

fn asked() -> Requester {
    Requester::new("test", "enough")
}

#[tokio::test]
async fn a_cancel_resets_the_stream_of_a_read_at_once() {
    let (has, got) = oneshot::channel();
    let (saw, seen) = oneshot::channel();
    let address = peer(async |mut wire| {
        wire.request().await;
        has.send(()).unwrap();
        saw.send(wire.frame().await.unwrap()).unwrap();
    });
    let world = world_over(services(address.await));
    let run = world.start::<One>(read_within(10_000)).await.unwrap();
    got.await.unwrap();
    world.engine().cancel(run, asked()).await.unwrap();
    let frame = seen.await.unwrap();
    assert_eq!((frame.kind, frame.payload.as_slice()), (RST_STREAM, CANCEL.as_slice()));
    assert_eq!(world.end_of(run).await.row.status.state, State::Cancelled);
}

#[tokio::test]
async fn an_effect_in_flight_has_its_time_after_a_cancel_and_no_more() {
    let (has, got) = oneshot::channel();
    let (saw, seen) = oneshot::channel();
    let address = peer(async |mut wire| {
        wire.request().await;
        has.send(()).unwrap();
        let begun = Instant::now();
        saw.send((wire.frame().await.unwrap(), begun.elapsed())).unwrap();
    });
    let world = world_over(services(address.await));
    let run = world.start::<One>(write_within(300)).await.unwrap();
    got.await.unwrap();
    world.engine().cancel(run, asked()).await.unwrap();
    let (frame, after) = seen.await.unwrap();
    assert_eq!((frame.kind, frame.payload.as_slice()), (RST_STREAM, CANCEL.as_slice()));
    assert!(after >= Duration::from_millis(200), "reset after {after:?}");
    assert_eq!(world.end_of(run).await.row.status.state, State::Cancelled);
}

/// Runs one read that has 150 ms, and says how it failed.
async fn fails_in_time(address: SocketAddr) -> Code {
    let world = world_over(services(address));
    let begun = Instant::now();
    let failure = world.run::<One>(read_within(150)).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(2), "held for {:?}", begun.elapsed());
    failure.code()
}

#[tokio::test]
async fn a_peer_that_accepts_and_says_nothing_holds_a_step_no_longer_than_its_deadline() {
    let (listener, address) = listen().await;
    assert_eq!(fails_in_time(address).await, Code::DeadlineExceeded);
    drop(listener);
}

#[tokio::test]
async fn a_peer_that_never_answers_holds_a_step_no_longer_than_its_deadline() {
    let address = peer(async |mut wire| wire.linger().await);
    assert_eq!(fails_in_time(address.await).await, Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_peer_that_trickles_holds_a_step_no_longer_than_its_deadline() {
    let address = peer(async |mut wire: Wire| {
        let stream = wire.request().await;
        wire.begin(stream).await;
        for byte in framed(&[0; 1_000]) {
            wire.data(stream, &[byte]).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert_eq!(fails_in_time(address.await).await, Code::DeadlineExceeded);
}

/// Answers after a moment, and counts how many calls it has at the same time.
#[derive(Clone, Default)]
struct Echo {
    in_flight: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl EchoService for Echo {
    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<ReadResponse>, Status> {
        let now = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        Ok(Response::new(ReadResponse { payload: request.into_inner().payload }))
    }

    async fn write(&self, _: Request<WriteRequest>) -> Result<Response<WriteResponse>, Status> {
        Err(Status::unimplemented("only reads"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_runs_knock_at_a_dead_service_now_and_then_and_all_end_when_it_is_back() {
    const RUNS: usize = 1_000;
    let (listener, address) = listen().await;
    let knocks = Arc::new(AtomicUsize::new(0));
    let (revive, mut revived) = oneshot::channel();
    let echo = Echo::default();
    tokio::spawn({
        let (knocks, echo) = (Arc::clone(&knocks), echo.clone());
        async move {
            loop {
                tokio::select! {
                    _ = &mut revived => break,
                    accepted = listener.accept() => {
                        drop(accepted);
                        knocks.fetch_add(1, Ordering::SeqCst);
                    }
                }
            }
            let incoming = TcpListenerStream::new(listener);
            let server = tonic::transport::Server::builder().add_service(EchoServiceServer::new(echo));
            server.serve_with_incoming(incoming).await.unwrap();
        }
    });
    let services = Services::new(
        &test_contracts::CONTRACTS,
        [ServiceConfig {
            name: "echo".to_owned(),
            prefixes: vec!["test.echo.v1".to_owned()],
            address: format!("http://{address}"),
            channel: ChannelConfig { max_in_flight: 50, back_off: Duration::from_millis(20), ..config() },
            breaker: BreakerConfig {
                pause: Duration::from_millis(100),
                max_pause: Duration::from_millis(400),
                slow_start: Duration::from_secs(1),
                ..BreakerConfig::default()
            },
            ..ServiceConfig::default()
        }],
    );
    let world = world_over(services.unwrap());
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        runs.push(world.start::<One>(read_within(5_000)).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    // One connect a look, and a look after each pause: 80, 160, then 320 ms at the shortest.
    let before = knocks.load(Ordering::SeqCst);
    assert!((2..=12).contains(&before), "{before} connects");
    let detail = world.detail(runs[RUNS - 1]).await;
    assert!(detail.steps.is_empty() && detail.row.status.reason.starts_with("SERVICE_DOWN: echo"), "{detail:?}");

    revive.send(()).unwrap();
    for run in runs {
        assert_eq!(world.end_of(run).await.row.status.state, State::Succeeded);
        assert_eq!(world.detail(run).await.steps[0].attempts, 1);
    }
    let most = echo.most.load(Ordering::SeqCst);
    assert!(most <= 50, "{most} calls at once");
}

#[tokio::test(start_paused = true)]
async fn a_run_waits_for_a_service_without_an_address_without_attempts_and_says_so() {
    let nowhere = Services::new(&test_contracts::CONTRACTS, []).unwrap();
    let world = world_over(nowhere);
    let run = world.start::<One>(write_within(1_000)).await.unwrap();
    let detail = world.until(run, State::BackingOff).await;
    let reason = &detail.row.status.reason;
    assert!(
        reason.starts_with("SERVICE_DOWN: test.echo.v1.EchoService is not called since ")
            && reason.ends_with(": no address is configured"),
        "{reason}"
    );
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let detail = world.detail(run).await;
    assert_eq!((detail.row.status.state, detail.row.sequence), (State::BackingOff, 1), "an attempt was made");
}
