//! `engine`: runs started in process over a transport that answers from memory, on a store on disk.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::proto::bench::v1::ChainRequest;
use bytes::Bytes;
use engine::engine::{Engine, Parts, Start};
use engine::store::sqlite::{Sqlite, SqliteOptions};
use engine::time::Clock;
use engine::transport::{Attempt, Outcome, Reservation, Reserved, Reserving, Transport};
use engine::{Limits, RandomSource, Retention, State};
use futures_util::future::{BoxFuture, FutureExt, ready};
use prost::Message;
use uuid::Uuid;

use crate::How;
use crate::load::{BYTES, STEPS};
use crate::process::temporary;
use crate::report::{Figure, Report};
use crate::sample::Sample;
use crate::workflows;

const WARM_UP: Duration = Duration::from_millis(500);
const WAIT: Duration = Duration::from_secs(60);

pub(crate) async fn measure(how: &How, report: &mut Report) -> anyhow::Result<()> {
    for &in_flight in how.in_flight() {
        let mut samples = Vec::new();
        for _ in 0..how.rounds {
            samples.push(sample(in_flight, how).await?);
        }
        let run = Sample::median(&samples);
        let case = format!("engine/{in_flight}");
        report.add(Figure::new(&case, "runs", run.per_second, "runs/s"));
        let steps = Figure::new(&case, "steps", run.per_second * f64::from(STEPS), "steps/s");
        report.add(if in_flight >= 256 { steps.at_least(100_000.0) } else { steps });
        report.add(Figure::new(&case, "run p50", run.p50, "us"));
        report.add(Figure::new(&case, "run p99", run.p99, "us"));
    }
    Ok(())
}

async fn sample(in_flight: usize, how: &How) -> anyhow::Result<Sample> {
    let folder = temporary(how.folder.as_deref())?;
    let clock = Clock::system();
    let store = Arc::new(Sqlite::open(folder.path().join("store.db"), SqliteOptions::default(), clock.clone())?);
    let engine = Engine::new(Parts {
        store: store.clone(),
        transport: Arc::new(Memory),
        workflows: workflows::registry()?,
        clock,
        random: RandomSource::system(),
        limits: Limits::default(),
        retention: Retention::default(),
    });
    let begin = Instant::now() + WARM_UP;
    let end = begin + how.window();
    let clients: Vec<_> = (0..in_flight).map(|_| tokio::spawn(client(engine.clone(), begin, end))).collect();
    let mut times = Vec::new();
    for client in clients {
        times.append(&mut client.await??);
    }
    engine.drain(Duration::from_secs(5)).await;
    engine.close_store().await?;
    Ok(Sample::of(times, how.window()))
}

async fn client(engine: Engine, begin: Instant, end: Instant) -> anyhow::Result<Vec<u32>> {
    let input = Bytes::from(ChainRequest { steps: STEPS, bytes: BYTES }.encode_to_vec());
    let mut times = Vec::new();
    loop {
        let started = Instant::now();
        if started >= end {
            return Ok(times);
        }
        let start = Start { workflow: String::from("bench.chain"), input: input.clone(), asked: None, deadline: None };
        let (_, run) = engine.start_and_wait(start, WAIT).await?;
        anyhow::ensure!(run.is_some_and(|run| run.row.status.state == State::Succeeded), "a run did not succeed");
        let ended = Instant::now();
        if ended >= begin && ended < end {
            times.push(u32::try_from((ended - started).as_micros()).unwrap_or(u32::MAX));
        }
    }
}

/// Answers every call immediately with its own request.
struct Memory;

impl Transport for Memory {
    fn reserve(&self, _path: &str, _run: Uuid, _connect_within: Duration) -> Reserving {
        ready(Ok(Reserved::Ready(Box::new(Self)))).boxed()
    }

    fn try_reserve(&self, _path: &str) -> Option<Box<dyn Reservation>> {
        Some(Box::new(Self))
    }
}

impl Reservation for Memory {
    fn send(self: Box<Self>, attempt: Attempt) -> BoxFuture<'static, Outcome> {
        // Request and response of the echo service have the same form.
        ready(Outcome::Done(attempt.request)).boxed()
    }
}
