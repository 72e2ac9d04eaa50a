//! Branches: several steps in a row as one, beside others (F3, F4).

use std::time::Duration;

use crate::common::{Charge, Input, Look, Output, Put, services, until, workflow};
use engine::store::Requester;
use engine::testing::{Probe, Reply, World, crash_everywhere};
use engine::{Code, Limits, State};

const SECOND: Duration = Duration::from_secs(1);

workflow!(TwoArms, "test.two-arms", |ctx, input| {
    let left = ctx.branch("left", |ctx| async move {
        let look = ctx.call(Look::of("left look", 1)).await?;
        ctx.sleep("nap", 3 * SECOND).await?;
        Ok(ctx.call(Put::of("left put", look.number)).await?.number)
    });
    let right = ctx.branch("right", |ctx| async move {
        let put = ctx.call(Put::of("right put", 10)).await?;
        let inner = ctx.branch("inner", |ctx| async move { ctx.call(Put::of("inner put", put.number)).await });
        Ok(ctx.all((inner, ctx.call(Look::of("right look", 5)))).await?.0.number)
    });
    let (left, right, look) = ctx.all((left, right, ctx.call(Look::of("beside", 0)))).await?;
    let after = ctx.call(Put::of("after", look.number)).await?;
    Ok(Output::of(input.text, left + right + after.number))
});

#[tokio::test(start_paused = true)]
async fn branches_go_on_beside_each_other_and_their_paths_say_which() {
    let world = World::new(services(), |registry| registry.register(|| TwoArms));
    let run = world.start::<TwoArms>(Input::of("x", 0)).await.unwrap();
    assert_eq!(world.result_of::<TwoArms>(run).await, Ok(Output::of("x", 3 + 12 + 2)));
    let paths: Vec<String> = world.detail(run).await.steps.iter().map(engine::view::StepView::path).collect();
    for path in [
        "left#0",
        "right#1",
        "Look#2",
        "Put#3",
        "left/Look#0",
        "left/nap#1",
        "left/Put#2",
        "right/Put#0",
        "right/inner#1",
        "right/Look#2",
        "right/inner/Put#0",
    ] {
        assert!(paths.iter().any(|known| known == path), "{path} is not among {paths:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn branches_survive_a_crash_at_every_point() {
    let world = |probe| World::with(services(), |registry| registry.register(|| TwoArms), Limits::default(), probe);
    let sweep = crash_everywhere::<TwoArms>(world, Input::of("x", 0)).await;
    assert_eq!(sweep.holds(), &Ok(Output::of("x", 3 + 12 + 2)));
}

workflow!(Outer, "test.outer", |ctx, _input| {
    let arm = ctx.branch("arm", |ctx| async move { ctx.call(Put::of("arm", 0)).await });
    let beside = async { ctx.call(Put::of("beside", 0)).await };
    let (arm, beside) = futures_util::join!(arm, beside);
    Ok(Output::of("", arm?.number + beside?.number))
});

#[tokio::test(start_paused = true)]
async fn a_step_built_while_a_branch_goes_on_is_refused() {
    let world = World::new(services(), |registry| registry.register(|| Outer));
    let run = world.start::<Outer>(Input::default()).await.unwrap();
    let detail = until(&world, run, &[State::Blocked]).await;
    assert!(detail.row.status.reason.starts_with("USE_A_BRANCH"), "{}", detail.row.status.reason);
}

workflow!(Twice, "test.twice", |ctx, input| {
    let arm = |n: u32| ctx.branch("arm/[x]", move |ctx| async move { ctx.call(Put::of("arm", n)).await });
    let arms: Vec<_> = (0..input.number).map(arm).collect();
    Ok(Output::of("", ctx.all(arms).await?.iter().map(|answer| answer.number).sum()))
});

#[tokio::test(start_paused = true)]
async fn branches_of_one_name_are_told_apart_and_names_are_escaped() {
    let world = World::new(services(), |registry| registry.register(|| Twice));
    let run = world.start::<Twice>(Input::of("", 3)).await.unwrap();
    assert_eq!(world.result_of::<Twice>(run).await, Ok(Output::of("", 6)));
    let branches: Vec<String> = world.detail(run).await.steps.into_iter().map(|step| step.branch).collect();
    for branch in ["arm%2F%5Bx%5D", "arm%2F%5Bx%5D~2", "arm%2F%5Bx%5D~3"] {
        assert!(branches.iter().any(|known| known == branch), "{branch} is not among {branches:?}");
    }
}

workflow!(OneFails, "test.one-fails", |ctx, _input| {
    let first = ctx.branch("first", |ctx| async move {
        ctx.call(Charge::of("first", 0)).await?;
        ctx.call(Charge::of("first after", 0)).await
    });
    let second = ctx.branch("second", |ctx| async move {
        ctx.sleep("nap", 2 * SECOND).await?;
        let inner = ctx.branch("inner", |ctx| async move { ctx.call(Charge::of("second", 0)).await });
        inner.await
    });
    ctx.all((first, second)).await?;
    ctx.call(Put::of("after", 0)).await?;
    Ok(Output::default())
});

#[tokio::test(start_paused = true)]
async fn a_retry_makes_the_failed_branch_again_and_leaves_the_one_beside_it_alone() {
    for crash in [false, true] {
        let world = World::new(services(), |registry| registry.register(|| OneFails));
        world.services().script::<Charge>([Reply::Refuse(Code::FailedPrecondition)]);
        let run = world.start::<OneFails>(Input::default()).await.unwrap();
        until(&world, run, &[State::Failed]).await;
        assert_eq!(world.services().arrivals_of::<Charge>(), 1);
        world.engine().retry(run, Requester::new("someone", "mended")).await.unwrap();
        let world = if crash {
            world.probe().kill();
            world.crash(Probe::counting())
        } else {
            world
        };
        until(&world, run, &[State::Succeeded]).await;
        assert_eq!(world.services().arrivals_of::<Charge>(), 3);
    }
}

workflow!(Changed, "test.twice", |ctx, _input| {
    ctx.call(Put::of("arm", 0)).await?;
    Ok(Output::default())
});

#[tokio::test(start_paused = true)]
async fn code_without_the_branch_that_the_journal_has_is_blocked() {
    let world = World::new(services(), |registry| registry.register(|| Twice));
    world.services().always::<Put>(Some(Reply::Hang));
    let run = world.start::<Twice>(Input::of("", 1)).await.unwrap();
    tokio::time::sleep(SECOND).await;
    world.probe().kill();
    let world = world.crash_and_change(|registry| registry.register(|| Changed));
    let detail = until(&world, run, &[State::Blocked]).await;
    assert!(detail.row.status.reason.starts_with("JOURNAL_MISMATCH"), "{}", detail.row.status.reason);
}
