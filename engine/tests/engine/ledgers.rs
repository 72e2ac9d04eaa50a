//! The ledger of a schedule, whatever happens around its ticks: one row for each nominal time, and at most one run.

use std::collections::BTreeMap;
use std::time::Duration;

use engine::schedule::{CatchUp, CatchUpMode, Overlap, Spec};
use engine::store::{ListRuns, Schedule, TickOrigin, TickOutcome, TickRow};
use engine::testing::{Probe, World};
use engine::{Context, Failure, Limits, Registry, Workflow};
use tokio_util::sync::CancellationToken;

use crate::common::{Input, Output, Put, services};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const BEGINNING: i64 = 1_767_225_600_000_000;

struct Job;

impl Workflow for Job {
    const NAME: &'static str = "test.job";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, _input: Input) -> Result<Output, Failure> {
        ctx.call(Put::of("work", 1)).await?;
        Ok(Output::default())
    }
}

fn world(probe: Probe) -> World {
    let register = |registry: &mut Registry| registry.register(|| Job);
    World::with(services(), register, Limits::default(), probe)
}

/// Every minute, with nothing left out after an outage.
fn run(world: &World) -> CancellationToken {
    let mut schedule = Schedule::new("each", Job::NAME, Spec::every(MINUTE));
    schedule.policy.overlap = Overlap::AllowAll;
    schedule.policy.catch_up = CatchUp { mode: CatchUpMode::All, window: MINUTE * 600, limit: 1_000 };
    let (engine, stop) = (world.engine().clone(), CancellationToken::new());
    let stopped = stop.clone();
    tokio::spawn(async move { engine.run_schedules(vec![schedule], stopped).await });
    stop
}

/// How many rows say what became of each minute.
async fn rows(world: &World) -> BTreeMap<i64, Vec<TickOutcome>> {
    let ticks: Vec<TickRow> = world.engine().ticks("each", None, 1_000).await.unwrap();
    let mut rows: BTreeMap<i64, Vec<TickOutcome>> = BTreeMap::new();
    for tick in ticks.iter().filter(|tick| tick.origin == TickOrigin::Clock) {
        let minute = |at: engine::time::Timestamp| (at.as_micros() - BEGINNING) / 60_000_000;
        for minute in minute(tick.first)..=minute(tick.last) {
            rows.entry(minute).or_default().push(tick.outcome);
        }
    }
    rows
}

#[tokio::test(start_paused = true)]
async fn wherever_a_replica_dies_a_tick_has_one_row_and_one_run() {
    let whole = world(Probe::counting());
    let stop = run(&whole);
    tokio::time::sleep(MINUTE * 2 + SECOND * 5).await;
    let points = whole.probe().points().len();
    stop.cancel();
    assert!(points > 8, "{points}");
    for point in 0..points {
        let world = world(Probe::killing_at(point));
        let stop = run(&world);
        tokio::time::sleep(MINUTE * 2 + SECOND * 5).await;
        stop.cancel();
        let world = world.crash(Probe::counting());
        let stop = run(&world);
        tokio::time::sleep(SECOND * 10).await;
        let told = rows(&world).await;
        let expected = [1, 2].map(|minute| (minute, vec![TickOutcome::Started]));
        assert_eq!(told, expected.into(), "killed at point {point}");
        let runs = world.engine().store().list(ListRuns { limit: 100, ..ListRuns::default() }).await.unwrap();
        assert_eq!(runs.len(), 2, "killed at point {point}");
        stop.cancel();
    }
}
