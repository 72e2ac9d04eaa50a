//! A thousand runs of the engine over the gate, in virtual time: what a service that is down, and one that comes back,
//! gets to see of them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use engine::failure::Code;
use engine::testing::{Probe, Reply, Services, World};
use engine::transport::{Attempt, Outcome, Reservation, Reserved, Reserving, Transport};
use engine::{Context, Failure, Limits, State, Workflow};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;
use uuid::Uuid;

use super::breaker::{BreakerConfig, BreakerState, Sign};
use super::gate::{Gate, GateConfig, Pass};
use crate::channel::{End, Verdict};
use test_contracts::test::echo::v1::{WriteRequest, WriteResponse};
use test_contracts::test::v1::{ChainRequest, ChainResponse};

const SECOND: Duration = Duration::from_secs(1);
const RUNS: usize = 1_000;
const MAX_IN_FLIGHT: usize = 100;

/// One effect.
#[derive(Clone)]
struct One;

impl Workflow for One {
    const NAME: &'static str = "test.one";
    type Input = ChainRequest;
    type Output = ChainResponse;

    async fn run(&self, ctx: &Context, input: ChainRequest) -> Result<ChainResponse, Failure> {
        ctx.call(WriteRequest { payload: Bytes::from(input.steps.to_string()) }).await?;
        Ok(ChainResponse { steps: 1 })
    }
}

/// What the service sees: when each attempt began, and how many continued at the same time.
#[derive(Default)]
struct Seen {
    begun: Vec<Instant>,
    in_flight: usize,
    most_in_flight: usize,
}

/// The gate as it stands before a channel, here before fake services.
struct Gated {
    gate: Arc<Gate>,
    seen: Arc<Mutex<Seen>>,
    below: Arc<dyn Transport>,
}

impl Transport for Gated {
    fn reserve(&self, path: &str, run: Uuid, connect_within: Duration) -> Reserving {
        let (gate, seen) = (Arc::clone(&self.gate), Arc::clone(&self.seen));
        let below = self.below.reserve(path, run, connect_within);
        let mut queued = gate.queue(run, true);
        async move {
            tokio::select! {
                biased;
                pass = &mut queued => Ok(Reserved::Ready(Counted::boxed(pass, seen, below.await?.ready().await?))),
                outage = gate.outage() => Ok(Reserved::Down(outage, async move {
                    let pass = queued.await;
                    Ok(Counted::boxed(pass, seen, below.await?.ready().await?))
                }.boxed())),
            }
        }
        .boxed()
    }
}

struct Counted {
    pass: Pass,
    seen: Arc<Mutex<Seen>>,
    below: Box<dyn Reservation>,
}

impl Counted {
    fn boxed(pass: Pass, seen: Arc<Mutex<Seen>>, below: Box<dyn Reservation>) -> Box<dyn Reservation> {
        Box::new(Self { pass, seen, below })
    }
}

impl Reservation for Counted {
    fn send(self: Box<Self>, attempt: Attempt) -> BoxFuture<'static, Outcome> {
        let Self { mut pass, seen, below } = *self;
        async move {
            pass.begin();
            {
                let mut seen = seen.lock().unwrap();
                seen.begun.push(Instant::now());
                seen.in_flight += 1;
                seen.most_in_flight = seen.most_in_flight.max(seen.in_flight);
            }
            let verdict = Verdict::new(below.send(attempt).await, End::Answered);
            seen.lock().unwrap().in_flight -= 1;
            pass.ended(Sign::of(&verdict), verdict.failure(), None);
            verdict.outcome
        }
        .boxed()
    }
}

/// A world with a thousand runs of which each wants one effect, over a service that is unavailable.
/// Runs that wait longer than `linger` leave memory.
async fn world(linger: Duration) -> (World, Arc<Gate>, Arc<Mutex<Seen>>, Vec<Uuid>) {
    let config = GateConfig { max_in_flight: MAX_IN_FLIGHT, rate: None, breaker: BreakerConfig::default() };
    let gate = Gate::new("echo", config, || usize::MAX);
    let seen = Arc::new(Mutex::new(Seen::default()));
    let services = Services::new().on::<WriteRequest>(|request| Ok(WriteResponse { payload: request.payload }));
    services.always::<WriteRequest>(Some(Reply::BreakFirst(Code::Unavailable)));
    let services = services.behind({
        let (gate, seen) = (Arc::clone(&gate), Arc::clone(&seen));
        move |below| Arc::new(Gated { gate: Arc::clone(&gate), seen: Arc::clone(&seen), below })
    });
    let limits = Limits { linger, ..Limits::default() };
    let world = World::with(services, |registry| registry.register(|| One), limits, Probe::counting());
    let mut runs = Vec::new();
    for number in 0..RUNS {
        let input = ChainRequest { steps: i32::try_from(number).unwrap(), bytes: 0 };
        runs.push(world.start::<One>(input).await.unwrap());
    }
    (world, gate, seen, runs)
}

#[tokio::test(start_paused = true)]
async fn a_thousand_runs_make_no_more_attempts_at_a_dead_service_than_its_probes() {
    let (world, gate, seen, runs) = world(5 * SECOND).await;
    tokio::time::sleep(600 * SECOND).await;
    // At first at most four at a time, until five failed one after the other; then four after each pause, of which the
    // shortest that there can be are 4, 8, 16, 32 and 48 seconds.
    let (first, pauses) = (5 * 4, 4 + (600 - 60) / 48);
    let attempts = seen.lock().unwrap().begun.len();
    assert!(attempts <= first + pauses * 4, "{attempts} attempts");
    assert!(attempts >= 5 + 4, "{attempts} attempts");

    let mut waiting = 0;
    for run in &runs {
        let detail = world.detail(*run).await;
        assert_eq!(detail.row.status.state, State::BackingOff);
        waiting += usize::from(detail.row.status.reason.starts_with("SERVICE_DOWN: echo is not called since"));
        assert!(detail.steps.iter().all(|step| step.attempts <= 10), "{:?}", detail.steps);
    }
    // A few have just failed and wait for their own next attempt.
    assert!(waiting >= RUNS - attempts, "{waiting} of {RUNS} wait for the service");
    let away = world.engine().away().into_values().sum::<usize>();
    assert!(away + world.engine().in_flight() == RUNS && world.engine().in_flight() < 200, "{away} runs away");
    assert!(gate.state().waiting_calls <= world.engine().in_flight());
}

#[tokio::test(start_paused = true)]
async fn nothing_spikes_when_the_service_is_back_and_all_runs_end() {
    let (world, gate, seen, runs) = world(3_600 * SECOND).await;
    tokio::time::sleep(120 * SECOND).await;
    let before = seen.lock().unwrap().begun.len();
    world.services().always::<WriteRequest>(Some(Reply::Slow(Duration::from_millis(20))));
    for run in &runs {
        assert_eq!(world.end_of(*run).await.row.status.state, State::Succeeded);
    }
    assert_eq!(world.services().effects_of::<WriteRequest>(), RUNS);
    assert!(matches!(gate.state().breaker, BreakerState::Closed | BreakerState::SlowStart));
    assert_eq!((gate.state().in_flight, gate.state().waiting_calls), (0, 0));

    let seen = seen.lock().unwrap();
    let after = &seen.begun[before..];
    assert_eq!(after.len(), RUNS, "each run needed one attempt more");
    assert!(seen.most_in_flight <= MAX_IN_FLIGHT, "{} in flight", seen.most_in_flight);
    // A slow start lets through a tenth of 100 a second at first, and never more than 100 a second in its ten seconds.
    let within = |from: Duration, to: Duration| {
        let since = |at: &&Instant| **at - after[0];
        after.iter().filter(|at| since(at) >= from && since(at) < to).count()
    };
    assert!(within(Duration::ZERO, SECOND) <= 30, "{} in the first second", within(Duration::ZERO, SECOND));
    for second in 1..10 {
        let calls = within(second * SECOND, (second + 1) * SECOND);
        assert!(calls <= 110, "{calls} in second {second}");
    }
}
