//! Runs that start by themselves.

use std::time::Duration;

use engine::schedule::{Overlap, Spec};
use engine::store::{ListRuns, ListSchedules, Requester, Schedule, ScheduleRow};
use engine::testing::{Probe, World};
use engine::{Context, Failure, Limits, Registry, State, Workflow};
use tokio_util::sync::CancellationToken;

use crate::common::{Input, Output, Put, services};

/// Takes as long as the test says.
#[derive(Clone)]
struct Work(Duration);

impl Workflow for Work {
    const NAME: &'static str = "test.work";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, _input: Input) -> Result<Output, Failure> {
        ctx.call(Put::of("work", 1)).await?;
        ctx.sleep("work", self.0).await?;
        Ok(Output::of("", 0))
    }
}

fn world(takes: Duration) -> World {
    World::new(services(), move |registry| registry.register(move || Work(takes)))
}

fn schedule(world: &World) -> CancellationToken {
    let (engine, stop) = (world.engine().clone(), CancellationToken::new());
    let schedule = Schedule::new("each", Work::NAME, Spec::every(Duration::from_secs(60)));
    let stopped = stop.clone();
    tokio::spawn(async move { engine.run_schedules(vec![schedule], stopped).await });
    stop
}

async fn schedules(world: &World) -> Vec<ScheduleRow> {
    world.engine().store().schedules(ListSchedules { limit: 9, ..ListSchedules::default() }).await.unwrap()
}

async fn runs(world: &World) -> Vec<engine::store::RunRow> {
    world.engine().store().list(ListRuns { limit: 100, ..ListRuns::default() }).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_declared_schedule_that_is_out_of_bounds_holds_up_no_other() {
    let world = world(Duration::from_secs(1));
    let every = |name: &str| Schedule::new(name, Work::NAME, Spec::every(Duration::from_secs(60)));
    let mut wrong = every("a-wrong-one");
    wrong.policy.overlap = Overlap::AllowN(0);
    let (engine, stop) = (world.engine().clone(), CancellationToken::new());
    let stopped = stop.clone();
    tokio::spawn(async move { engine.run_schedules(vec![wrong, every("each")], stopped).await });
    tokio::time::sleep(Duration::from_secs(125)).await;
    let runs = runs(&world).await;
    let by: Vec<&str> = runs.iter().map(|run| run.origin.as_ref().unwrap().schedule.as_str()).collect();
    assert_eq!(by, ["each", "each"]);
    stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_declared_schedule_that_is_out_of_bounds_stays_as_it_is_stored() {
    let world = world(Duration::from_secs(1));
    let stop = schedule(&world);
    tokio::time::sleep(Duration::from_secs(65)).await;
    stop.cancel();
    let stored = schedules(&world).await;
    let mut wrong = Schedule::new("each", Work::NAME, Spec::every(Duration::from_secs(9)));
    wrong.policy.overlap = Overlap::AllowN(0);
    let (engine, stop) = (world.engine().clone(), CancellationToken::new());
    let stopped = stop.clone();
    tokio::spawn(async move { engine.run_schedules(vec![wrong], stopped).await });
    tokio::time::sleep(Duration::from_secs(60)).await;
    let kept = schedules(&world).await;
    assert_eq!(kept[0].schedule, stored[0].schedule);
    assert_eq!((kept[0].retired_at, runs(&world).await.len()), (None, 2));
    stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_schedule_that_one_replica_made_is_kept_by_the_others() {
    let work = |registry: &mut Registry| registry.register(|| Work(Duration::from_secs(1)));
    let worlds = World::replicas(2, &services(), work, &Limits::default());
    let Ok([here, there]) = <[World; 2]>::try_from(worlds) else { panic!("two were asked for") };
    let run = |world: &World| {
        let (engine, stop) = (world.engine().clone(), CancellationToken::new());
        let stopped = stop.clone();
        tokio::spawn(async move { engine.run_schedules(Vec::new(), stopped).await });
        stop
    };
    let stops = [run(&here), run(&there)];
    tokio::time::sleep(Duration::from_secs(1)).await;
    let each = Schedule::new("each", Work::NAME, Spec::every(Duration::from_secs(60)));
    here.engine().create_schedule(each, Requester::new("ann", "")).await.unwrap();
    // The one that made it is lost.
    stops[0].cancel();
    tokio::time::sleep(Duration::from_secs(130)).await;
    let of_both = runs(&there).await.len();
    assert_eq!(of_both, 2);
    there.engine().delete_schedule("each".to_owned(), None, Requester::new("ann", "")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(130)).await;
    assert_eq!(runs(&there).await.len(), of_both);
    stops[1].cancel();
}

#[tokio::test(start_paused = true)]
async fn a_run_starts_at_every_nominal_time() {
    let world = world(Duration::from_secs(1));
    schedule(&world);
    tokio::time::sleep(Duration::from_secs(605)).await;
    let runs = runs(&world).await;
    assert_eq!(runs.len(), 10);
    assert!(runs.iter().all(|run| run.status.state == State::Succeeded));
    for run in &runs {
        let nominal = run.origin.as_ref().unwrap().nominal;
        assert_eq!(nominal.as_micros() % 60_000_000, 0);
        assert!(run.created_at.since(nominal) < Duration::from_millis(100), "{:?} late", run.created_at.since(nominal));
    }
}

#[tokio::test(start_paused = true)]
async fn a_tick_is_skipped_while_the_run_before_it_goes_on() {
    let world = world(Duration::from_secs(150));
    schedule(&world);
    tokio::time::sleep(Duration::from_secs(605)).await;
    assert_eq!(runs(&world).await.len(), 4, "at 1, 4, 7 and 10 minutes");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_was_away_makes_up_for_the_latest_time_only() {
    let world = world(Duration::from_secs(1));
    let stop = schedule(&world);
    tokio::time::sleep(Duration::from_secs(125)).await;
    assert_eq!(runs(&world).await.len(), 2);
    stop.cancel();
    tokio::time::sleep(Duration::from_secs(1_000)).await;
    let world = world.crash(Probe::counting());
    schedule(&world);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(runs(&world).await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn two_loops_over_one_schedule_start_each_tick_once() {
    let world = world(Duration::from_secs(1));
    schedule(&world);
    schedule(&world);
    tokio::time::sleep(Duration::from_secs(605)).await;
    assert_eq!(runs(&world).await.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_tick_whose_answer_is_lost_starts_its_run_in_time() {
    for draws in 0..6 {
        let register = |registry: &mut Registry| registry.register(|| Work(Duration::from_secs(1)));
        let limits = Limits { claim_interval: Duration::from_secs(3_600), ..Limits::default() };
        let world = World::with(services(), register, limits, Probe::counting());
        schedule(&world);
        tokio::time::sleep(Duration::from_secs(59)).await;
        world.time_out(100, true);
        // So that the tick times out before it took effect in some worlds, and after it in others.
        for _ in 0..draws {
            assert!(world.engine().store().workflows().await.is_err());
        }
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        world.time_out(0, false);
        tokio::time::sleep(Duration::from_secs(3)).await;
        let runs = runs(&world).await;
        assert!(runs.iter().map(|run| run.status.state).eq([State::Succeeded]), "{draws}: {runs:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tick_starts_its_run_without_a_claim_if_there_is_room() {
    let world = world(Duration::from_secs(1));
    world.hold_claims();
    schedule(&world);
    tokio::time::sleep(Duration::from_secs(125)).await;
    let runs = runs(&world).await;
    assert_eq!(runs.iter().map(|run| run.status.state).collect::<Vec<_>>(), [State::Succeeded; 2]);
    assert_eq!((runs[0].epoch, world.services().effects_of::<Put>()), (1, 2));
    assert_eq!(world.engine().in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_tick_without_room_for_its_run_has_it_wait_for_room() {
    let limits = Limits { runs_in_flight: 1, ..Limits::default() };
    let register = |registry: &mut Registry| registry.register(|| Work(Duration::from_secs(2)));
    let world = World::with(services(), register, limits, Probe::counting());
    schedule(&world);
    tokio::time::sleep(Duration::from_secs(59)).await;
    world.start::<Work>(Input::default()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(world.engine().in_flight(), 1);
    let waits = runs(&world).await.into_iter().find(|run| run.origin.is_some()).unwrap();
    assert_eq!((waits.status.state, waits.owned), (State::Pending, false));
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(runs(&world).await.iter().all(|run| run.status.state == State::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn a_tick_that_starts_nothing_leaves_no_run_in_memory() {
    let world = world(Duration::from_secs(150));
    schedule(&world);
    tokio::time::sleep(Duration::from_secs(125)).await;
    assert_eq!(
        (runs(&world).await.len(), world.engine().in_flight()),
        (1, 0),
        "the first is asleep, the second is skipped"
    );
}
