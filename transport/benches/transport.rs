//! Calls per second of our transport beside tonic's own channel, against an echo service in a process of its own.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot run has nothing to say")]

use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine::claim::Always;
use engine::rpc::Level;
use engine::transport::{Attempt, Outcome, StepPlace, Transport};
use prost::Message;
use test_contracts::test::echo::v1::echo_service_client::EchoServiceClient;
use test_contracts::test::echo::v1::echo_service_server::{EchoService, EchoServiceServer};
use test_contracts::test::echo::v1::{ReadRequest, ReadResponse, WriteRequest, WriteResponse};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use transport::channel::connect;
use transport::{ServiceConfig, Services};

const WRITE: &str = "/test.echo.v1.EchoService/Write";
const PAYLOAD: [u8; 100] = [7; 100];
const ROUND: Duration = Duration::from_secs(2);
const SERVE: &str = "--serve";

struct Echo;

#[tonic::async_trait]
impl EchoService for Echo {
    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<ReadResponse>, Status> {
        Ok(Response::new(ReadResponse { payload: request.into_inner().payload }))
    }

    async fn write(&self, request: Request<WriteRequest>) -> Result<Response<WriteResponse>, Status> {
        Ok(Response::new(WriteResponse { payload: request.into_inner().payload }))
    }
}

#[tokio::main]
async fn main() {
    if env::args().any(|argument| argument == SERVE) {
        return serve().await;
    }
    let mut server = Command::new(env::current_exe().unwrap()).arg(SERVE).stdout(Stdio::piped()).spawn().unwrap();
    let mut address = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut address).unwrap();
    let address = format!("http://{}", address.trim());

    println!("{:<28}{:>10}{:>12}{:>14}{:>10}", "channel", "in flight", "calls/s", "client us/call", "p50 us");
    for in_flight in [1, 64, 256] {
        for kind in ["tonic", "tonic, same metadata", "ours, direct", "ours, engine port"] {
            let (rate, cpu, p50) = measure(kind, &address, in_flight).await;
            println!("{kind:<28}{in_flight:>10}{rate:>12.0}{cpu:>14.1}{p50:>10.0}");
        }
    }
    server.kill().unwrap();
    server.wait().unwrap();
}

async fn serve() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    let incoming = futures_util::StreamExt::inspect(TcpListenerStream::new(listener), |stream| {
        stream.as_ref().unwrap().set_nodelay(true).unwrap();
    });
    tonic::transport::Server::builder()
        .add_service(EchoServiceServer::new(Echo))
        .serve_with_incoming(incoming)
        .await
        .unwrap();
}

/// Calls per second, CPU of this process per call and the median time of a call, both in microseconds.
async fn measure(kind: &'static str, address: &str, in_flight: usize) -> (f64, f64, f64) {
    let tonic = tonic::transport::Endpoint::from_shared(address.to_owned()).unwrap().connect().await.unwrap();
    let direct = connect(address).unwrap();
    let services = Arc::new(
        Services::new(
            &test_contracts::CONTRACTS,
            [ServiceConfig {
                name: "echo".to_owned(),
                prefixes: vec!["test.echo.v1".to_owned()],
                address: address.to_owned(),
                ..ServiceConfig::default()
            }],
        )
        .unwrap(),
    );
    let end = Instant::now() + ROUND;
    let (started, cpu) = (Instant::now(), cpu());
    let workers: Vec<_> = (0..in_flight)
        .map(|_| {
            let mut tonic = EchoServiceClient::new(tonic.clone());
            let mut direct = EchoServiceClient::new(direct.clone());
            let services = Arc::clone(&services);
            tokio::spawn(async move {
                let mut times = Vec::new();
                while Instant::now() < end {
                    let begun = Instant::now();
                    match kind {
                        "tonic" => drop(tonic.write(write()).await.unwrap()),
                        "tonic, same metadata" => drop(tonic.write(with_metadata()).await.unwrap()),
                        "ours, direct" => drop(direct.write(write()).await.unwrap()),
                        _ => through_the_port(&services).await,
                    }
                    times.push(begun.elapsed());
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for worker in workers {
        times.append(&mut worker.await.unwrap());
    }
    let (elapsed, cpu) = (started.elapsed(), self::cpu() - cpu);
    times.sort_unstable();
    let calls = times.len() as f64;
    (calls / elapsed.as_secs_f64(), cpu.as_secs_f64() * 1e6 / calls, times[times.len() / 2].as_secs_f64() * 1e6)
}

fn write() -> WriteRequest {
    WriteRequest { payload: Bytes::from_static(&PAYLOAD) }
}

fn with_metadata() -> Request<WriteRequest> {
    let mut request = Request::new(write());
    request.set_timeout(Duration::from_secs(5));
    let (trace, span): (u128, u64) = (rand::random(), rand::random());
    let metadata = request.metadata_mut();
    metadata.insert("traceparent", format!("00-{trace:032x}-{span:016x}-01").parse().unwrap());
    metadata.insert("idempotency-key", format!("{trace:032x}").parse().unwrap());
    request
}

async fn through_the_port(services: &Services) {
    let within = Duration::from_secs(5);
    let id = "3b241101-e2bb-4255-8caf-4136c566a962".parse().unwrap();
    let reservation = match services.try_reserve(WRITE) {
        Some(reservation) => reservation,
        None => services.reserve(WRITE, id, within).await.unwrap().ready().await.unwrap(),
    };
    let attempt = Attempt {
        request: Bytes::from(write().encode_to_vec()),
        level: Level::Idempotent,
        key: Some(id),
        deadline: tokio::time::Instant::now() + within,
        run: id,
        step: StepPlace::default(),
        number: 1,
        epoch: 1,
        claim: Arc::new(Always),
    };
    match reservation.send(attempt).await {
        Outcome::Done(_) => {}
        other => panic!("{other:?}"),
    }
}

/// User and system time of this process.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}
