//! Cancel, retry and drain.

use std::time::Duration;

use engine::engine::EngineError;
use engine::store::Requester;
use engine::testing::{Probe, Reply, World};
use engine::view::StepState;
use engine::{Code, Context, Failure, Limits, Registry, Retry, State, Workflow};
use uuid::Uuid;

use crate::common::{Charge, Input, Look, Output, Put, services, until, workflow};

#[derive(Clone)]
struct Steps;

impl Workflow for Steps {
    const NAME: &'static str = "test.steps";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, input: Input) -> Result<Output, Failure> {
        let first = ctx.call(Put::of("first", 1)).await?;
        if input.text == "sleep" {
            ctx.sleep("long", Duration::from_secs(86_400)).await?;
        }
        let second = ctx.call(Charge::of("second", first.number)).await?;
        let third = ctx.call(Look::of("third", second.number)).await?;
        Ok(Output::of("done", third.number))
    }
}

fn world() -> World {
    World::new(services(), |registry: &mut Registry| registry.register(|| Steps))
}

async fn cancel(world: &World, run: Uuid) {
    world.engine().cancel(run, Requester::new("test", "enough")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_sleeping_run_is_cancelled_at_once() {
    let world = world();
    let run = world.start::<Steps>(Input::of("sleep", 1)).await.unwrap();
    until(&world, run, &[State::Waiting]).await;
    let begun = tokio::time::Instant::now();
    cancel(&world, run).await;
    let ended = world.end_of(run).await;
    assert_eq!(ended.row.status.state, State::Cancelled);
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(world.services().arrivals_of::<Charge>(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_run_in_back_off_is_cancelled_at_once() {
    let world = world();
    world.services().always::<Charge>(Some(Reply::NotSent));
    let run = world.start::<Steps>(Input::of("", 1)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let begun = tokio::time::Instant::now();
    cancel(&world, run).await;
    assert_eq!(world.end_of(run).await.row.status.state, State::Cancelled);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(world.services().arrivals_of::<Charge>(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_effect_in_flight_settles_before_a_cancelled_run_ends() {
    let world = world();
    world.services().script::<Charge>([Reply::Slow(Duration::from_secs(5))]);
    let run = world.start::<Steps>(Input::of("", 1)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    cancel(&world, run).await;
    let detail = until(&world, run, &[State::Ending]).await;
    assert_eq!(detail.row.status.ending_as, Some(State::Cancelled));
    assert_eq!(world.end_of(run).await.row.status.state, State::Cancelled);
    let steps = world.detail(run).await.steps;
    assert_eq!(steps[1].state, StepState::Succeeded);
    assert_eq!(world.services().arrivals_of::<Look>(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_with_an_undecided_effect_does_not_end_on_a_guess() {
    let world = world();
    world.services().script::<Charge>([Reply::Hang]);
    let run = world.start::<Steps>(Input::of("", 1)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    cancel(&world, run).await;
    let detail = until(&world, run, &[State::NeedsDecision]).await;
    assert_eq!(detail.row.status.ending_as, Some(State::Cancelled));
}

#[tokio::test(start_paused = true)]
async fn a_cancel_is_kept_over_a_kill() {
    let world = world();
    world.services().script::<Charge>([Reply::Slow(Duration::from_secs(20))]);
    let run = world.start::<Steps>(Input::of("", 1)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    cancel(&world, run).await;
    let world = world.crash(Probe::counting());
    let detail = until(&world, run, &[State::NeedsDecision, State::Cancelled]).await;
    assert_eq!(detail.row.status.state, State::NeedsDecision, "the charge was in flight when the replica died");
    assert_eq!(world.services().arrivals_of::<Look>(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_ended_otherwise_cannot_be_cancelled() {
    let world = world();
    let run = world.start::<Steps>(Input::of("", 1)).await.unwrap();
    world.end_of(run).await;
    let refused = world.engine().cancel(run, Requester::new("test", "")).await.unwrap_err();
    assert!(matches!(refused, EngineError::Precondition { state: State::Succeeded, .. }), "{refused:?}");
    let unknown = world.engine().cancel(Uuid::from_u128(9), Requester::new("test", "")).await.unwrap_err();
    assert!(matches!(unknown, EngineError::NotFound(_)), "{unknown:?}");
}

#[tokio::test(start_paused = true)]
async fn a_failed_run_goes_on_from_the_step_that_was_refused_under_a_new_key() {
    let world = world();
    world.services().script::<Charge>([Reply::Refuse(Code::FailedPrecondition)]);
    let run = world.start::<Steps>(Input::of("", 1)).await.unwrap();
    assert!(world.result_of::<Steps>(run).await.is_err());
    world.engine().retry(run, Requester::new("test", "mended")).await.unwrap();
    assert_eq!(world.result_of::<Steps>(run).await, Ok(Output::of("done", 4)));
    assert_eq!(world.services().arrivals_of::<Put>(), 1, "what had succeeded is not made again");
    let detail = world.detail(run).await;
    assert_eq!(detail.steps.len(), 3);
    assert_eq!(detail.failure, None);
}

#[tokio::test(start_paused = true)]
async fn a_failed_run_goes_on_from_a_lost_answer_under_the_same_key() {
    let world = world();
    world.services().always::<Put>(Some(Reply::ActAndBreak(Code::Unavailable)));
    let run = world.start::<Steps>(Input::of("", 1)).await.unwrap();
    assert!(world.result_of::<Steps>(run).await.is_err());
    world.services().always::<Put>(None);
    world.engine().retry(run, Requester::new("test", "back")).await.unwrap();
    assert_eq!(world.result_of::<Steps>(run).await, Ok(Output::of("done", 4)));
    assert_eq!(world.services().effects_of::<Put>(), 1);
}

#[tokio::test(start_paused = true)]
async fn retry_is_refused_where_it_makes_no_sense() {
    let world = world();
    let run = world.start::<Steps>(Input::of("", 1)).await.unwrap();
    world.end_of(run).await;
    let refused = world.engine().retry(run, Requester::new("test", "")).await.unwrap_err();
    assert!(matches!(refused, EngineError::Precondition { .. }), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_lets_steps_in_flight_finish_and_the_next_replica_goes_on() {
    let world = world();
    world.services().script::<Charge>([Reply::Slow(Duration::from_secs(5))]);
    let run = world.start::<Steps>(Input::of("", 1)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let drained = world.engine().drain(Duration::from_secs(30)).await;
    assert_eq!((drained.settled, drained.given_up), (1, 0));
    assert!(matches!(world.start::<Steps>(Input::of("", 1)).await, Err(EngineError::Draining)));
    let world = world.crash(Probe::counting());
    assert_eq!(world.result_of::<Steps>(run).await, Ok(Output::of("done", 4)));
    assert_eq!(world.services().arrivals_of::<Charge>(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_drain_gives_up_what_does_not_finish_in_time() {
    let world = world();
    world.services().script::<Put>([Reply::Slow(Duration::from_secs(20))]);
    let run = world.start::<Steps>(Input::of("", 1)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = tokio::time::Instant::now();
    let drained = world.engine().drain(Duration::from_secs(2)).await;
    assert_eq!((drained.settled, drained.given_up), (0, 1));
    assert!(begun.elapsed() < Duration::from_secs(3));
    let world = world.crash(Probe::counting());
    assert_eq!(world.result_of::<Steps>(run).await, Ok(Output::of("done", 4)));
}

#[tokio::test(start_paused = true)]
async fn a_watcher_sees_durable_progress_and_then_the_end() {
    let world = world();
    world.services().script::<Charge>([Reply::Slow(Duration::from_secs(5))]);
    let run = world.start::<Steps>(Input::of("", 1)).await.unwrap();
    let mut watch = world.engine().watch(run).await.unwrap();
    let mut changes = 0;
    while watch.changed().await {
        changes += 1;
    }
    assert!(changes >= 1);
    assert!(world.detail(run).await.row.status.state.is_end());
    let mut late = world.engine().watch(run).await.unwrap();
    assert!(!late.changed().await || !late.changed().await);
}

#[tokio::test(start_paused = true)]
async fn a_kill_while_a_run_ends_does_not_bring_its_sleeps_back() {
    #[derive(Clone)]
    struct Both;
    impl Workflow for Both {
        const NAME: &'static str = "test.both";
        type Input = Input;
        type Output = Output;

        async fn run(&self, ctx: &Context, _input: Input) -> Result<Output, Failure> {
            let night = Duration::from_secs(86_400);
            ctx.all((ctx.call(Put::of("slow", 1)), ctx.sleep("night", night))).await?;
            Ok(Output::of("", 0))
        }
    }
    let world = World::new(services(), |registry| registry.register(|| Both));
    world.services().script::<Put>([Reply::Slow(Duration::from_secs(20))]);
    let run = world.start::<Both>(Input::of("", 1)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    cancel(&world, run).await;
    until(&world, run, &[State::Ending]).await;
    let world = world.crash(Probe::counting());
    let begun = tokio::time::Instant::now();
    assert_eq!(world.end_of(run).await.row.status.state, State::Cancelled);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    assert_eq!(world.services().effects_of::<Put>(), 1);
}

workflow!(Twice, "test.twice", |ctx, _input| {
    let retry = Retry::try_new(2, Duration::from_millis(1), 1.0, Duration::from_millis(1), 0.0);
    let retry = retry.map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
    ctx.call(Put::of("put", 0)).retry(retry).await?;
    Ok(Output::default())
});

#[tokio::test(start_paused = true)]
async fn a_drain_is_not_a_failed_attempt() {
    let mut given_back = 0;
    for moment in 0..40 {
        // Slow writes, so that a drain comes between the start of a call and its first byte.
        let probe = Probe::slow(Duration::from_millis(100), None);
        let world = World::with(services(), |registry| registry.register(|| Twice), Limits::default(), probe);
        world.services().script::<Put>([Reply::BreakFirst(Code::Unavailable)]);
        let request = Some(Uuid::from_u128(7));
        let starting = world.start_once::<Twice>(Input::default(), request);
        let _started = tokio::time::timeout(Duration::from_millis(10 * moment), starting).await;
        world.engine().drain(Duration::ZERO).await;
        let world = world.crash(Probe::counting());
        let run = world.start_once::<Twice>(Input::default(), request).await.unwrap();
        let result = world.result_of::<Twice>(run).await;
        let journal = world.journal(run).await;
        assert_eq!(result, Ok(Output::default()), "drained after {moment}0 ms:\n{journal}");
        given_back += usize::from(journal.lines().any(|line| line.contains("given back before")));
    }
    assert!(given_back > 0, "no drain came before a call was sent");
}
