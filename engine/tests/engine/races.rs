//! Races: the first that settles counts, and what lost is let go of or settles.

use std::time::Duration;

use crate::common::{Charge, Input, Look, Output, Put, services, until, workflow};
use engine::steps::race::{First2, First3};
use engine::store::Requester;
use engine::testing::{Probe, Reply, World, crash_everywhere};
use engine::view::StepState;
use engine::{Code, Limits, State};

const SECOND: Duration = Duration::from_secs(1);

// A call against two sleeps, of which one is of several steps.
workflow!(InTime, "test.in-time", |ctx, input| {
    let late = ctx.branch("late", |ctx| async move {
        ctx.sleep("first", Duration::from_secs(u64::from(input.number))).await?;
        ctx.call(Look::of("late", 0)).await
    });
    let said = match ctx.race((ctx.call(Put::of("put", 1)), ctx.sleep("limit", 60 * SECOND), late)).await? {
        First3::First(answer) => format!("put {}", answer.number),
        First3::Second(()) => "limit".to_owned(),
        First3::Third(_) => "late".to_owned(),
    };
    ctx.call(Put::of(format!("after {said}"), 0)).await?;
    Ok(Output::of(said, 0))
});

fn world(slow: u64) -> World {
    probed(slow, Probe::counting())
}

fn probed(slow: u64, probe: Probe) -> World {
    let world = World::with(services(), |registry| registry.register(|| InTime), Limits::default(), probe);
    let slow = Duration::from_secs(slow);
    // The call after the race is quick.
    world.services().script::<Put>([Reply::Slow(slow), Reply::Slow(Duration::ZERO)]);
    world
}

#[tokio::test(start_paused = true)]
async fn the_first_that_settles_wins_and_waits_that_lost_are_withdrawn() {
    let world = world(2);
    let begun = tokio::time::Instant::now();
    let run = world.start::<InTime>(Input::of("", 30)).await.unwrap();
    assert_eq!(world.result_of::<InTime>(run).await, Ok(Output::of("put 2", 0)));
    assert!(begun.elapsed() < 3 * SECOND, "the run waited for a sleep that had lost");
    let detail = world.detail(run).await;
    let states: Vec<(String, StepState)> = detail.steps.iter().map(|step| (step.path(), step.state)).collect();
    assert!(states.contains(&("limit#2".to_owned(), StepState::Withdrawn)), "{states:?}");
    assert!(states.contains(&("late/first#0".to_owned(), StepState::Withdrawn)), "{states:?}");
    assert!(states.contains(&("race#3".to_owned(), StepState::Succeeded)), "{states:?}");
    assert_eq!(world.services().arrivals_of::<Look>(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_effect_that_lost_settles_before_the_run_ends() {
    let world = world(20);
    let run = world.start::<InTime>(Input::of("", 3)).await.unwrap();
    let begun = tokio::time::Instant::now();
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!(world.services().arrivals_of::<Put>(), 1, "the run did not continue after its race");
    let ending = world.detail(run).await.row.status;
    assert_eq!((ending.state, ending.ending_as), (State::Ending, Some(State::Succeeded)));
    assert_eq!(world.result_of::<InTime>(run).await, Ok(Output::of("late", 0)));
    assert!(begun.elapsed() >= 20 * SECOND, "the run ended before its effect had settled");
    let detail = world.detail(run).await;
    let put = detail.steps.iter().find(|step| step.path() == "Put#1").unwrap();
    assert_eq!((put.state, put.attempts), (StepState::Succeeded, 1));
    assert_eq!(world.services().effects_of::<Put>(), 2);
}

#[tokio::test(start_paused = true)]
async fn races_survive_a_crash_at_every_point() {
    // A winning call and a losing one.
    for (slow, late) in [(2_u32, 30_u32), (20, 3)] {
        let world = |probe| {
            let world = World::with(services(), |registry| registry.register(|| InTime), Limits::default(), probe);
            world.services().always::<Put>(Some(Reply::Slow(Duration::from_secs(slow.into()))));
            world
        };
        let sweep = crash_everywhere::<InTime>(world, Input::of("", late)).await;
        let winner = if slow < late { "put 2" } else { "late" };
        assert_eq!(sweep.holds(), &Ok(Output::of(winner, 0)));
    }
}

workflow!(ReadOrNap, "test.read-or-nap", |ctx, _input| {
    let said = match ctx.race((ctx.call(Look::of("look", 0)), ctx.sleep("nap", 2 * SECOND))).await? {
        First2::First(_) => "look",
        First2::Second(()) => "nap",
    };
    ctx.sleep("long", 60 * SECOND).await?;
    Ok(Output::of(said, 0))
});

#[tokio::test(start_paused = true)]
async fn a_read_that_lost_is_not_made_again() {
    let world = World::new(services(), |registry| registry.register(|| ReadOrNap));
    world.services().script::<Look>([Reply::Hang]);
    let run = world.start::<ReadOrNap>(Input::default()).await.unwrap();
    tokio::time::sleep(5 * SECOND).await;
    world.probe().kill();
    let world = world.crash(Probe::counting());
    assert_eq!(world.result_of::<ReadOrNap>(run).await, Ok(Output::of("nap", 0)));
    assert_eq!(world.services().arrivals_of::<Look>(), 0);
}

workflow!(Fastest, "test.fastest", |ctx, input| {
    let naps: Vec<_> = input.text.split(' ').map(|nap| nap.parse().unwrap_or(0)).collect();
    let naps: Vec<_> = naps.into_iter().map(|nap| ctx.sleep("nap", nap * SECOND)).collect();
    let (index, ()) = ctx.race(naps).await?;
    Ok(Output::of("", u32::try_from(index).unwrap_or(u32::MAX)))
});

#[tokio::test(start_paused = true)]
async fn many_equal_steps_race_and_the_winner_has_an_index() {
    let world = World::new(services(), |registry| registry.register(|| Fastest));
    assert_eq!(world.run::<Fastest>(Input::of("9 4 7", 0)).await, Ok(Output::of("", 1)));
}

workflow!(Nobody, "test.nobody", |ctx, _input| {
    ctx.race(Vec::<engine::steps::sleep::Sleep>::new()).await?;
    Ok(Output::default())
});

#[tokio::test(start_paused = true)]
async fn a_race_of_nobody_fails() {
    let world = World::new(services(), |registry| registry.register(|| Nobody));
    assert_eq!(world.run::<Nobody>(Input::default()).await.unwrap_err().code(), Code::InvalidArgument);
}

workflow!(FailsFirst, "test.fails-first", |ctx, _input| {
    ctx.race((ctx.call(Charge::of("charge", 0)), ctx.sleep("nap", 60 * SECOND))).await?;
    Ok(Output::default())
});

#[tokio::test(start_paused = true)]
async fn a_step_that_fails_first_has_won_and_a_retry_races_again() {
    let world = World::new(services(), |registry| registry.register(|| FailsFirst));
    world.services().script::<Charge>([Reply::Refuse(Code::NotFound)]);
    let run = world.start::<FailsFirst>(Input::default()).await.unwrap();
    assert_eq!(until(&world, run, &[State::Failed]).await.failure.unwrap().code(), Code::NotFound);
    world.engine().retry(run, Requester::new("someone", "mended")).await.unwrap();
    until(&world, run, &[State::Succeeded]).await;
    assert_eq!(world.services().effects_of::<Charge>(), 1);
}
