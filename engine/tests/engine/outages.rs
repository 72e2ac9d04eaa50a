//! What a run does while a service is down: it waits, visibly, without attempts, and after a while without memory.

use std::time::Duration;

use engine::store::Requester;
use engine::testing::{Probe, Reply, World, crash_everywhere};
use engine::view::StepState;
use engine::{Code, Context, Failure, Limits, State, Workflow};
use tokio::time::Instant;

use crate::common::{Input, Look, Output, Put, services, until};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// A read and an effect.
#[derive(Clone)]
struct Both;

impl Workflow for Both {
    const NAME: &'static str = "test.both";
    const DEADLINE: Duration = Duration::from_secs(24 * 3_600);
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, input: Input) -> Result<Output, Failure> {
        let seen = ctx.call(Look::of(input.text.clone(), input.number)).await?;
        let put = ctx.call(Put::of(input.text, seen.number)).await?;
        Ok(Output::of("done", put.number))
    }
}

fn world() -> World {
    World::new(services(), |registry| registry.register(|| Both))
}

fn done() -> Result<Output, Failure> {
    Ok(Output::of("done", 3))
}

fn input() -> Input {
    Input::of("x", 1)
}

#[tokio::test(start_paused = true)]
async fn a_run_waits_for_a_service_that_is_down_without_attempts_and_says_so() {
    let world = world();
    world.services().take_down("connection refused");
    let run = world.start::<Both>(input()).await.unwrap();
    let detail = until(&world, run, &[State::BackingOff]).await;
    let reason = &detail.row.status.reason;
    assert_eq!(reason, "SERVICE_DOWN: test is not called since 2026-01-01T00:00:00Z: connection refused");
    assert_eq!((detail.row.sequence, detail.steps.len()), (1, 0), "nothing but the creation is in the journal");

    tokio::time::sleep(HOUR).await;
    world.services().bring_back();
    assert_eq!(world.result_of::<Both>(run).await, done());
    let detail = world.detail(run).await;
    assert!(detail.steps.iter().all(|step| step.attempts == 1), "{:?}", detail.steps);
    assert_eq!(world.services().arrivals().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_long_leaves_memory_and_is_counted() {
    let world = world();
    world.services().take_down("gone");
    let run = world.start::<Both>(input()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!((world.engine().in_flight(), world.services().waiting()), (1, 1));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((world.engine().in_flight(), world.services().waiting()), (0, 0));
    assert_eq!(world.engine().away().into_iter().collect::<Vec<_>>(), [("test".into(), 1)]);
    assert!(world.detail(run).await.row.status.wake_at.is_some());

    world.services().bring_back();
    let begun = Instant::now();
    assert_eq!(world.result_of::<Both>(run).await, done());
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(world.engine().away().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_longer_a_service_was_down_the_later_a_run_asks_again_and_never_later_than_three_minutes() {
    let world = world();
    world.services().take_down("gone");
    let run = world.start::<Both>(input()).await.unwrap();
    tokio::time::sleep(6 * HOUR).await;
    let epochs = world.detail(run).await.row.epoch;
    assert!((6 * 20..6 * 70).contains(&epochs), "claimed {epochs} times in six hours");
    world.services().bring_back();
    let begun = Instant::now();
    assert_eq!(world.result_of::<Both>(run).await, done());
    assert!(begun.elapsed() <= 3 * MINUTE, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_thousand_runs_wait_without_an_attempt_and_all_end() {
    let world = world();
    world.services().take_down("gone");
    let mut runs = Vec::new();
    for number in 0..1_000 {
        runs.push(world.start::<Both>(Input::of(format!("run {number}"), 1)).await.unwrap());
    }
    tokio::time::sleep(2 * MINUTE).await;
    assert_eq!(world.services().arrivals().len(), 0);
    assert!(world.engine().in_flight() < 400, "{} runs in memory", world.engine().in_flight());
    world.services().bring_back();
    for run in runs {
        assert_eq!(world.result_of::<Both>(run).await, done());
    }
    assert_eq!((world.services().arrivals_of::<Look>(), world.services().arrivals_of::<Put>()), (1_000, 1_000));
}

#[tokio::test(start_paused = true)]
async fn an_outage_between_two_attempts_uses_up_none() {
    let world = world();
    world.services().script::<Look>([Reply::NotSent]);
    let run = world.start::<Both>(input()).await.unwrap();
    until(&world, run, &[State::BackingOff]).await;
    world.services().take_down("gone");
    tokio::time::sleep(MINUTE).await;
    let detail = world.detail(run).await;
    assert!(detail.row.status.reason.starts_with("SERVICE_DOWN"), "{}", detail.row.status.reason);
    tokio::time::sleep(HOUR).await;
    world.services().bring_back();
    assert_eq!(world.result_of::<Both>(run).await, done());
    assert_eq!(world.detail(run).await.steps[0].attempts, 2);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_ends_a_run_that_waits_for_a_service_at_once() {
    for waited in [Duration::from_secs(1), HOUR] {
        let world = world();
        world.services().take_down("gone");
        let run = world.start::<Both>(input()).await.unwrap();
        tokio::time::sleep(waited).await;
        world.engine().cancel(run, Requester::new("test", "enough")).await.unwrap();
        let begun = Instant::now();
        assert_eq!(world.end_of(run).await.row.status.state, State::Cancelled);
        assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
        assert!(world.engine().away().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_for_a_service_ends_at_its_deadline() {
    let world = world();
    world.services().take_down("gone");
    let begun = Instant::now();
    let failure = world.run::<Both>(input()).await.unwrap_err();
    assert_eq!(failure.code(), Code::DeadlineExceeded);
    let late = begun.elapsed().saturating_sub(Both::DEADLINE);
    assert!(begun.elapsed() >= Both::DEADLINE && late < Duration::from_secs(5), "{late:?} late");
}

#[tokio::test(start_paused = true)]
async fn an_effect_in_doubt_waits_for_its_service_before_a_cancelled_run_ends() {
    let world = world();
    world.services().script::<Put>([Reply::ActAndBreak(Code::Unavailable)]);
    let run = world.start::<Both>(input()).await.unwrap();
    until(&world, run, &[State::BackingOff]).await;
    world.services().take_down("gone");
    world.engine().cancel(run, Requester::new("test", "enough")).await.unwrap();
    tokio::time::sleep(HOUR).await;
    let detail = world.detail(run).await;
    assert_eq!(detail.row.status.state, State::Ending);
    assert!(detail.row.status.reason.starts_with("SERVICE_DOWN"), "{}", detail.row.status.reason);
    world.services().bring_back();
    assert_eq!(world.end_of(run).await.row.status.state, State::Cancelled);
    let steps = world.detail(run).await.steps;
    assert_eq!((steps[1].state, world.services().effects_of::<Put>()), (StepState::Succeeded, 1));
}

#[tokio::test(start_paused = true)]
async fn a_drain_gives_back_a_run_that_waits_for_a_service() {
    let world = world();
    world.services().take_down("gone");
    world.start::<Both>(input()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = Instant::now();
    let drained = world.engine().drain(MINUTE).await;
    assert_eq!((drained.settled, drained.given_up), (1, 0));
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waited_for_a_service_comes_to_the_same_end_wherever_its_replica_is_killed() {
    let make = |probe: Probe| {
        let services = services();
        services.take_down("gone");
        let back = services.clone();
        tokio::spawn(async move {
            tokio::time::sleep(MINUTE).await;
            back.bring_back();
        });
        World::with(services, |registry| registry.register(|| Both), Limits::default(), probe)
    };
    let sweep = crash_everywhere::<Both>(make, input()).await;
    assert_eq!(sweep.holds(), &done());
}
