//! Clients of the admin API that start a run and wait for its end, again and again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clients::bench::v1::{ChainRequest, ChainResponse};
use clients::channel::Direct;
use clients::orchestrator::admin::v1::run_service_client::RunServiceClient;
use clients::orchestrator::admin::v1::start_run_request::InputForm;
use clients::orchestrator::admin::v1::{Run, RunState, StartRunRequest};
use prost::{Message, Name};

use crate::process::Orchestrator;
use crate::sample::{Sample, count};

/// Steps of a run, and bytes of each call.
pub(crate) const STEPS: i32 = 5;
pub(crate) const BYTES: i32 = 100;

/// Time before anything is counted.
const WARM_UP: Duration = Duration::from_millis(700);

/// The longest that a client waits for a run.
const WAIT: Duration = Duration::from_secs(120);

/// Calls in flight on one connection.
const PER_CONNECTION: usize = 1_000;

/// Keeps this many runs in flight for a while and measures those that end within the window.
pub(crate) async fn keep_in_flight(
    orchestrator: &Orchestrator,
    workflow: &'static str,
    in_flight: usize,
    window: Duration,
) -> anyhow::Result<Sample> {
    let connections = orchestrator.connections(in_flight.div_ceil(PER_CONNECTION))?;
    let begin = Instant::now() + WARM_UP;
    let end = begin + window;
    let clients: Vec<_> = (0..in_flight)
        .map(|number| {
            let connection = connections[number % connections.len()].clone();
            tokio::spawn(client(connection, workflow, begin, end))
        })
        .collect();

    tokio::time::sleep_until(begin.into()).await;
    let before = orchestrator.usage()?;
    tokio::time::sleep_until(end.into()).await;
    let after = orchestrator.usage()?;
    let mut times = Vec::new();
    for client in clients {
        times.append(&mut client.await??);
    }
    let runs = count(times.len());
    let mut sample = Sample::of(times, window);
    sample.cpu = (after.cpu - before.cpu).as_secs_f64() / runs;
    sample.resident_bytes = crate::sample::bytes(after.resident_bytes);
    Ok(sample)
}

/// Keeps this many runs in flight until each client has made its own.
pub(crate) async fn make(
    orchestrator: &Orchestrator,
    workflow: &'static str,
    in_flight: usize,
    each: usize,
) -> anyhow::Result<()> {
    let connections = orchestrator.connections(in_flight.div_ceil(PER_CONNECTION))?;
    let clients = (0..in_flight).map(|number| {
        let mut client = RunServiceClient::new(connections[number % connections.len()].clone());
        async move {
            for _ in 0..each {
                run(&mut client, workflow).await?;
            }
            anyhow::Ok(())
        }
    });
    futures_util::future::try_join_all(clients).await?;
    Ok(())
}

/// The times, in microseconds, of runs that ended between `begin` and `end`.
async fn client(connection: Direct, workflow: &'static str, begin: Instant, end: Instant) -> anyhow::Result<Vec<u32>> {
    let mut client = RunServiceClient::new(connection);
    let mut times = Vec::new();
    loop {
        let started = Instant::now();
        if started >= end {
            return Ok(times);
        }
        run(&mut client, workflow).await?;
        let ended = Instant::now();
        if ended >= begin && ended < end {
            times.push(u32::try_from((ended - started).as_micros()).unwrap_or(u32::MAX));
        }
    }
}

/// Starts one run, waits for its end and looks at what came out.
pub(crate) async fn run(client: &mut RunServiceClient<Direct>, workflow: &'static str) -> anyhow::Result<()> {
    let input = ChainRequest { steps: STEPS, bytes: BYTES };
    let request = StartRunRequest {
        workflow: workflow.to_owned(),
        input_form: Some(InputForm::Input(prost_types::Any {
            type_url: ChainRequest::type_url(),
            value: input.encode_to_vec(),
        })),
        wait: Some(prost_types::Duration { seconds: i64::try_from(WAIT.as_secs())?, nanos: 0 }),
        ..StartRunRequest::default()
    };
    let run: Run = client.start_run(request).await?.into_inner();
    ensure!(run.state() == RunState::Succeeded, "run {} is {:?}: {:?}", run.run_id, run.state(), run.error);
    let output = run.output.with_context(|| format!("run {} has no output", run.run_id))?;
    let output = ChainResponse::decode(output.value.as_slice())?;
    ensure!(output.steps == STEPS, "run {} made {} steps", run.run_id, output.steps);
    Ok(())
}
