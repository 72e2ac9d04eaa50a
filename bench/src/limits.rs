//! What the machine allows: calls without an orchestrator, commits without an engine.

use std::future::Future;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::proto::bench::echo::v1::WriteRequest;
use crate::proto::bench::echo::v1::echo_service_client::EchoServiceClient;
use tonic::transport::{Channel, Endpoint};
use transport::channel::{Direct, connect};

use crate::load::BYTES;
use crate::process::{Usage, temporary};
use crate::sample::{Sample, count};
use crate::workflows::payload;

/// Time before anything is counted.
const WARM_UP: Duration = Duration::from_millis(300);

/// About what one append of a chain writes.
pub(crate) const ENTRY: [u8; 250] = [7; 250];

/// A client that makes one call.
pub(crate) trait Caller: Send + 'static {
    fn call(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;
}

impl Caller for EchoServiceClient<Channel> {
    async fn call(&mut self) -> anyhow::Result<()> {
        Ok(self.write(write()).await.map(drop)?)
    }
}

impl Caller for EchoServiceClient<Direct> {
    async fn call(&mut self) -> anyhow::Result<()> {
        Ok(self.write(write()).await.map(drop)?)
    }
}

/// Unary calls of tonic's own client and server.
pub(crate) async fn raw_calls(address: &str, in_flight: usize, window: Duration) -> anyhow::Result<Sample> {
    let channel = raw_channel(address).await?;
    calls(in_flight, window, || EchoServiceClient::new(channel.clone())).await
}

/// The same calls over our own channel.
pub(crate) async fn own_calls(address: &str, in_flight: usize, window: Duration) -> anyhow::Result<Sample> {
    let channel = connect(address)?;
    calls(in_flight, window, || EchoServiceClient::new(channel.clone())).await
}

/// A channel of tonic's own.
pub(crate) async fn raw_channel(address: &str) -> anyhow::Result<Channel> {
    Ok(Endpoint::from_shared(address.to_owned())?.tcp_nodelay(true).connect().await?)
}

pub(crate) fn write() -> WriteRequest {
    WriteRequest { payload: payload(BYTES) }
}

/// Keeps this many calls in flight. The sample has the CPU that this process took for one.
pub(crate) async fn calls<C: Caller>(
    in_flight: usize,
    window: Duration,
    client: impl Fn() -> C,
) -> anyhow::Result<Sample> {
    let begin = Instant::now() + WARM_UP;
    let end = begin + window;
    let tasks: Vec<_> = (0..in_flight)
        .map(|_| {
            let mut client = client();
            tokio::spawn(async move {
                let mut times = Vec::new();
                loop {
                    let started = Instant::now();
                    if started >= end {
                        return anyhow::Ok(times);
                    }
                    client.call().await?;
                    let ended = Instant::now();
                    if ended >= begin && ended < end {
                        times.push(u32::try_from((ended - started).as_micros()).unwrap_or(u32::MAX));
                    }
                }
            })
        })
        .collect();
    tokio::time::sleep_until(begin.into()).await;
    let before = Usage::own()?;
    tokio::time::sleep_until(end.into()).await;
    let after = Usage::own()?;
    let mut times = Vec::new();
    for task in tasks {
        times.append(&mut task.await??);
    }
    let made = count(times.len());
    let mut sample = Sample::of(times, window);
    sample.cpu = (after.cpu - before.cpu).as_secs_f64() / made;
    Ok(sample)
}

/// Durable commits of a plain SQLite, each with this many rows. The sample counts commits.
pub(crate) async fn raw_commits(folder: Option<&Path>, rows: usize, window: Duration) -> anyhow::Result<Sample> {
    let folder = temporary(folder)?;
    tokio::task::spawn_blocking(move || {
        let mut connection = rusqlite::Connection::open(folder.path().join("raw.db"))?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 3000;
             CREATE TABLE entries (entry BLOB NOT NULL);",
        )?;
        let mut times = Vec::new();
        let start = Instant::now();
        while start.elapsed() < window {
            let begun = Instant::now();
            let transaction = connection.transaction()?;
            for _ in 0..rows {
                transaction.prepare_cached("INSERT INTO entries VALUES (?1)")?.execute([&ENTRY[..]])?;
            }
            transaction.commit()?;
            times.push(u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX));
        }
        Ok(Sample::of(times, start.elapsed()))
    })
    .await?
}
