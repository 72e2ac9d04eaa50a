//! Code that panics: tried again after a pause, and stopped before it continues so for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use engine::store::Requester;
use engine::testing::{World, check, expect};
use engine::{Context, Failure, State, Workflow};
use tokio::time::Instant;

use crate::common::{Input, Output, Put, services, until};

/// Panics after its call, as often as it is told to.
struct Panics(Arc<AtomicUsize>);

impl Workflow for Panics {
    const NAME: &'static str = "test.panics";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, input: Input) -> Result<Output, Failure> {
        let put = ctx.call(Put::of("a", input.number)).await?;
        let left = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        assert!(left.is_err(), "no luck");
        Ok(Output::of("done", put.number))
    }
}

/// A world whose code panics so often, and how many panics are left.
fn world(panics: usize) -> (World, Arc<AtomicUsize>) {
    let left = Arc::new(AtomicUsize::new(panics));
    let shared = Arc::clone(&left);
    let world = World::new(services(), move |registry| {
        let shared = Arc::clone(&shared);
        registry.register(move || Panics(Arc::clone(&shared)))
    });
    (world, left)
}

#[tokio::test(start_paused = true)]
async fn a_panic_that_passes_costs_a_pause() {
    let (world, _) = world(2);
    let begun = Instant::now();
    let run = world.start::<Panics>(Input::of("", 1)).await.unwrap();
    let reason = until(&world, run, &[State::BackingOff]).await.row.status.reason;
    assert!(reason.starts_with("PANICKED: no luck (at engine/tests/engine/poison.rs:"), "{reason}");
    assert_eq!(world.result_of::<Panics>(run).await, Ok(Output::of("done", 2)));
    assert!(begun.elapsed() >= Duration::from_secs(11) && begun.elapsed() < Duration::from_secs(20));
    assert_eq!(world.services().arrivals_of::<Put>(), 1);
    check(
        &world.journal(run).await,
        &expect![[r#"
        created test.panics
        Put#0 started IDEMPOTENT
        Put#0 done
        PANICKED: no luck
        PANICKED: no luck
        ended SUCCEEDED
    "#]],
    );
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_a_workflow_is_made_is_one_of_its_code() {
    let left = Arc::new(AtomicUsize::new(2));
    let world = World::new(services(), move |registry| {
        let left = Arc::clone(&left);
        registry.register(move || {
            let luck = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            assert!(luck.is_err(), "nothing to make it of");
            Panics(Arc::default())
        })
    });
    let run = world.start::<Panics>(Input::of("", 1)).await.unwrap();
    let reason = until(&world, run, &[State::BackingOff]).await.row.status.reason;
    assert!(reason.starts_with("PANICKED: nothing to make it of (at engine/tests/engine/poison.rs:"), "{reason}");
    assert_eq!(world.result_of::<Panics>(run).await, Ok(Output::of("done", 2)));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_panics_three_times_is_stopped_until_an_operator_takes_it_up() {
    let (world, left) = world(5);
    let run = world.start::<Panics>(Input::of("", 1)).await.unwrap();
    let reason = until(&world, run, &[State::Blocked]).await.row.status.reason;
    let expected = "POISON: 3 times within a day its code panicked, or its process died while it ran; the last time it \
                    panicked: no luck (at engine/tests/engine/poison.rs:";
    assert!(reason.starts_with(expected), "{reason}");
    assert_eq!(left.load(Ordering::SeqCst), 2);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(left.load(Ordering::SeqCst), 2, "nobody tries it meanwhile");

    // What it did before is forgotten: two more are within what a run may do.
    world.engine().retry(run, Requester::new("test", "mended")).await.unwrap();
    assert_eq!(world.result_of::<Panics>(run).await, Ok(Output::of("done", 2)));
    assert_eq!(world.services().arrivals_of::<Put>(), 1);
}

#[tokio::test(start_paused = true)]
async fn panics_that_are_a_day_apart_stop_nobody() {
    /// Panics once each morning, for a week.
    struct Mornings(Arc<AtomicUsize>);

    impl Workflow for Mornings {
        const NAME: &'static str = "test.mornings";
        const DEADLINE: Duration = Duration::from_secs(30 * 24 * 3_600);
        type Input = Input;
        type Output = Output;

        async fn run(&self, ctx: &Context, _: Input) -> Result<Output, Failure> {
            for day in 1..=7 {
                ctx.sleep("day", Duration::from_secs(13 * 3_600)).await?;
                assert!(self.0.fetch_max(day, Ordering::SeqCst) >= day, "a bad morning");
            }
            Ok(Output::of("rested", 7))
        }
    }
    let world = World::new(services(), |registry| {
        let days = Arc::new(AtomicUsize::new(0));
        registry.register(move || Mornings(Arc::clone(&days)))
    });
    assert_eq!(world.run::<Mornings>(Input::of("", 1)).await, Ok(Output::of("rested", 7)));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_stopped_ends_at_its_deadline_without_its_code() {
    let (world, left) = world(100);
    let run = world.start::<Panics>(Input::of("", 1)).await.unwrap();
    until(&world, run, &[State::Blocked]).await;
    let ended = world.end_of(run).await;
    assert_eq!(ended.failure.as_ref().unwrap().code(), engine::Code::DeadlineExceeded);
    assert_eq!(left.load(Ordering::SeqCst), 97);
}
