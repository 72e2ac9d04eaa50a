//! Clients of the admin API that start a run and wait for its end, again and again.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::proto::bench::v1::{ChainRequest, ChainResponse};
use anyhow::{Context as _, bail, ensure};
use prost::{Message, Name};
use server::proto::orchestrator::admin::v1::run_service_client::RunServiceClient;
use server::proto::orchestrator::admin::v1::start_run_request::InputForm;
use server::proto::orchestrator::admin::v1::{ListRunsRequest, Run, RunState, StartRunRequest};
use transport::channel::Direct;

use crate::process::{Orchestrator, Usage};
use crate::sample::{Sample, count};

/// Steps of a run, and bytes of each call.
pub(crate) const STEPS: i32 = 5;
pub(crate) const BYTES: i32 = 100;

/// Time before anything is counted.
const WARM_UP: Duration = Duration::from_millis(700);

/// The longest that a client waits for a run.
const WAIT: Duration = Duration::from_secs(120);

/// How often runs that continue are looked for.
const LOOK: Duration = Duration::from_millis(10);

/// Calls in flight on one connection.
const PER_CONNECTION: usize = 1_000;

/// Keeps this many runs in flight for a while and measures those that end within the window.
pub(crate) async fn keep_in_flight(
    orchestrator: &Orchestrator,
    workflow: &'static str,
    in_flight: usize,
    window: Duration,
) -> anyhow::Result<Sample> {
    keep_in_flight_on(&[orchestrator], workflow, in_flight, window).await
}

/// The same over several replicas, which get the same number of clients each.
pub(crate) async fn keep_in_flight_on(
    replicas: &[&Orchestrator],
    workflow: &'static str,
    in_flight: usize,
    window: Duration,
) -> anyhow::Result<Sample> {
    let each = in_flight.div_ceil(replicas.len()).div_ceil(PER_CONNECTION);
    let connections = (0..each).map(|_| replicas.iter().map(|replica| replica.connection()).collect::<Vec<_>>());
    let connections = connections.flatten().collect::<anyhow::Result<Vec<_>>>()?;
    let begin = Instant::now() + WARM_UP;
    let end = begin + window;
    let clients: Vec<_> = (0..in_flight)
        .map(|number| {
            let connection = connections[number % connections.len()].clone();
            tokio::spawn(client(connection, workflow, begin, end))
        })
        .collect();

    tokio::time::sleep_until(begin.into()).await;
    let before = usage(replicas)?;
    tokio::time::sleep_until(end.into()).await;
    let after = usage(replicas)?;
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

/// What all of them have used so far.
fn usage(replicas: &[&Orchestrator]) -> anyhow::Result<Usage> {
    let mut sum = Usage::default();
    for replica in replicas {
        let one = replica.usage()?;
        sum.cpu += one.cpu;
        sum.resident_bytes += one.resident_bytes;
        sum.peak_bytes += one.peak_bytes;
    }
    Ok(sum)
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
    let run = succeed(client, workflow, &ChainRequest { steps: STEPS, bytes: BYTES }).await?;
    let output = run.output.with_context(|| format!("run {} has no output", run.run_id))?;
    let output = ChainResponse::decode(output.value.as_slice())?;
    ensure!(output.steps == STEPS, "run {} made {} steps", run.run_id, output.steps);
    Ok(())
}

/// Starts one run and returns its id.
pub(crate) async fn start_chain(client: &mut RunServiceClient<Direct>, workflow: &str) -> anyhow::Result<String> {
    let input = ChainRequest { steps: STEPS, bytes: BYTES };
    Ok(client.start_run(start(workflow, &input)).await?.into_inner().run_id)
}

/// Starts one run and waits until it has succeeded.
async fn succeed<I: Message + Name>(
    client: &mut RunServiceClient<Direct>,
    workflow: &str,
    input: &I,
) -> anyhow::Result<Run> {
    let wait = Some(prost_types::Duration { seconds: i64::try_from(WAIT.as_secs())?, nanos: 0 });
    let run = client.start_run(StartRunRequest { wait, ..start(workflow, input) }).await?.into_inner();
    ensure!(run.state() == RunState::Succeeded, "run {} is {:?}: {:?}", run.run_id, run.state(), run.error);
    Ok(run)
}

fn start<I: Message + Name>(workflow: &str, input: &I) -> StartRunRequest {
    let input = prost_types::Any { type_url: I::type_url(), value: input.encode_to_vec() };
    StartRunRequest {
        workflow: workflow.to_owned(),
        input_form: Some(InputForm::Input(input)),
        ..StartRunRequest::default()
    }
}

/// Whether a start is answered when it is durable, or when its run has succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    Accepted,
    Succeeded,
}

/// Starts one run for each number, this many at the same time. Returns how long it took until all were answered.
pub(crate) async fn start_each<I, F>(
    orchestrator: &Orchestrator,
    workflow: &'static str,
    at_once: usize,
    numbers: Range<usize>,
    until: Until,
    input: F,
) -> anyhow::Result<Duration>
where
    I: Message + Name,
    F: Fn(usize) -> I + Send + Sync + 'static,
{
    let connections = orchestrator.connections(at_once.div_ceil(PER_CONNECTION))?;
    let begun = Instant::now();
    let (next, input) = (Arc::new(AtomicUsize::new(numbers.start)), Arc::new(input));
    let clients = (0..at_once).map(|client| {
        let mut client = RunServiceClient::new(connections[client % connections.len()].clone());
        let (next, input, end) = (Arc::clone(&next), Arc::clone(&input), numbers.end);
        tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= end {
                    return anyhow::Ok(());
                }
                match until {
                    Until::Accepted => drop(client.start_run(start(workflow, &input(number))).await?),
                    Until::Succeeded => drop(succeed(&mut client, workflow, &input(number)).await?),
                }
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await??;
    }
    Ok(begun.elapsed())
}

/// Waits until all runs of the workflow have ended; all must have succeeded. Returns the moment.
pub(crate) async fn until_over(
    orchestrator: &Orchestrator,
    workflow: &'static str,
    patience: Duration,
) -> anyhow::Result<Instant> {
    const GOING_ON: [RunState; 8] = [
        RunState::Pending,
        RunState::Running,
        RunState::Waiting,
        RunState::BackingOff,
        RunState::Paused,
        RunState::Blocked,
        RunState::NeedsDecision,
        RunState::Ending,
    ];
    const FAILED: [RunState; 3] = [RunState::Failed, RunState::Cancelled, RunState::Terminated];
    let mut client = RunServiceClient::new(orchestrator.connections(1)?.remove(0));
    let mut one = async |states: &[RunState]| {
        let states = states.iter().map(|state| i32::from(*state)).collect();
        let request = ListRunsRequest { workflow: workflow.to_owned(), states, page_size: 1, ..Default::default() };
        anyhow::Ok(client.list_runs(request).await?.into_inner().runs.pop())
    };
    let until = Instant::now() + patience;
    while let Some(run) = one(&GOING_ON).await? {
        if Instant::now() > until {
            bail!("run {} is still {:?} after {patience:?}", run.run_id, run.state());
        }
        tokio::time::sleep(LOOK).await;
    }
    let over = Instant::now();
    if let Some(run) = one(&FAILED).await? {
        bail!("run {} is {:?}: {:?}", run.run_id, run.state(), run.error);
    }
    Ok(over)
}
