//! Child runs: created with their parent's facts, over for it with their own end, never outliving it.

use std::time::Duration;

use crate::common::{Charge, Input, Output, Put, services, until, workflow};
use engine::store::{ListRuns, Requester, Store as _};
use engine::testing::{Probe, Reply, World, crash_everywhere};
use engine::view::{StepKind, StepState};
use engine::workflow::NameTaken;
use engine::{Code, Limits, Registry, State};
use prost::Message;
use uuid::Uuid;

const SECOND: Duration = Duration::from_secs(1);

// Puts, sleeps as long as its number says, and puts again.
workflow!(Leaf, "test.leaf", |ctx, input| {
    let put = ctx.call(Put::of(format!("{} begins", input.text), 0)).await?;
    ctx.sleep("nap", input.number * SECOND).await?;
    ctx.call(Charge::of(format!("{} charges", input.text), 0)).await?;
    Ok(Output::of(input.text, put.number + input.number))
});

// Waits for one child, starts one beside its own work, and awaits that one in the end.
workflow!(Family, "test.family", |ctx, input| {
    let first = ctx.child::<Leaf>("first", Input::of("first", 1)).await?;
    let beside = ctx.child::<Leaf>("beside", Input::of("beside", input.number)).start();
    let put = ctx.call(Put::of("own", first.number)).await?;
    let last = beside.await?;
    ctx.call(Put::of("after", last.number)).await?;
    Ok(Output::of(first.text + &last.text, put.number + last.number))
});

// As many children as its number says, at the same time.
workflow!(Crowd, "test.crowd", |ctx, input| {
    let children = (0..input.number).map(|n| ctx.child::<Leaf>("leaf", Input::of(n.to_string(), n % 3)));
    let ended = ctx.all(children.collect::<Vec<_>>()).await?;
    Ok(Output::of("", ended.iter().map(|output| output.number).sum()))
});

// Starts a child and does not wait for it.
workflow!(Careless, "test.careless", |ctx, input| {
    let _going = ctx.child::<Leaf>("going", Input::of("going", input.number)).start();
    Ok(Output::of("done", 0))
});

// Has a child of its own kind, as often as its number says.
workflow!(Nested, "test.nested", |ctx, input| {
    if input.number == 0 {
        return Ok(Output::of("bottom", 0));
    }
    let below = ctx.child::<Nested>("below", Input::of("", input.number - 1)).await?;
    Ok(Output::of(below.text, below.number + 1))
});

workflow!(Stranger, "test.stranger", |ctx, _input| {
    ctx.child::<Unregistered>("stranger", Input::default()).await?;
    Ok(Output::default())
});

workflow!(Unregistered, "test.unregistered", |_ctx, _input| Ok(Output::default()));

fn register(registry: &mut Registry) -> Result<(), NameTaken> {
    registry.register(|| Leaf)?;
    registry.register(|| Family)?;
    registry.register(|| Crowd)?;
    registry.register(|| Careless)?;
    registry.register(|| Nested)?;
    registry.register(|| Stranger)
}

fn world() -> World {
    World::new(services(), register)
}

async fn children(world: &World, parent: Uuid) -> Vec<(Uuid, State)> {
    let rows = world.store().list(ListRuns { limit: 1_000, ..ListRuns::default() }).await.unwrap();
    rows.into_iter().filter(|row| row.parent == Some(parent)).map(|row| (row.id, row.status.state)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_child_is_a_run_of_its_own_and_brings_its_output() {
    let world = world();
    let run = world.start::<Family>(Input::of("", 4)).await.unwrap();
    assert_eq!(world.result_of::<Family>(run).await, Ok(Output::of("firstbeside", 3 + 5)));
    let detail = world.detail(run).await;
    let first = detail.steps.iter().find(|step| step.path() == "first#0").unwrap();
    assert_eq!((first.kind, first.state), (StepKind::Child, StepState::Succeeded));
    assert_eq!(first.message_type.as_deref(), Some("test.Output"));
    assert_eq!(first.response, Some(Output::of("first", 2).encode_to_vec().into()));
    let child = world.detail(first.child.unwrap()).await;
    assert_eq!((child.row.parent, child.row.workflow.as_str()), (Some(run), "test.leaf"));
    assert_eq!(child.row.status.state, State::Succeeded);
    assert_eq!(children(&world, run).await.len(), 2);
    // It took what was in its inbox.
    assert_eq!((detail.row.messages, detail.inbox), (2, Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn children_survive_a_crash_at_every_point() {
    // Without a charge, whose level is not stated: a child that was killed in one asks for a decision.
    let world = |probe| {
        let register = |registry: &mut Registry| {
            registry.register(|| Quiet)?;
            registry.register(|| Quieter)
        };
        World::with(services(), register, Limits { linger: SECOND, ..Limits::default() }, probe)
    };
    let sweep = crash_everywhere::<Quiet>(world, Input::of("", 3)).await;
    assert_eq!(sweep.holds(), &Ok(Output::of("after", 7)));
}

workflow!(Quieter, "test.quieter", |ctx, input| {
    let put = ctx.call(Put::of(input.text, input.number)).await?;
    ctx.sleep("nap", 3 * SECOND).await?;
    let put = ctx.call(Put::of(put.text + " again", put.number)).await?;
    Ok(Output::of("", put.number))
});

workflow!(Quiet, "test.quiet", |ctx, input| {
    let beside = ctx.child::<Quieter>("beside", Input::of("beside", 0)).start();
    let waited = ctx.child::<Quieter>("waited", Input::of("waited", input.number)).await?;
    ctx.call(Put::of("between", waited.number)).await?;
    let beside = beside.await?;
    let _going = ctx.child::<Quieter>("going", Input::of("going", 0)).start();
    Ok(Output::of("after", waited.number + beside.number))
});

#[tokio::test(start_paused = true)]
async fn many_children_go_on_at_once() {
    let world = world();
    let run = world.start::<Crowd>(Input::of("", 40)).await.unwrap();
    let expected = (0..40).map(|n| n % 3 + 1).sum();
    assert_eq!(world.result_of::<Crowd>(run).await, Ok(Output::of("", expected)));
    assert_eq!(children(&world, run).await.len(), 40);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_long_for_a_child_needs_no_memory() {
    let world = world();
    let run = world.start::<Family>(Input::of("", 600)).await.unwrap();
    tokio::time::sleep(60 * SECOND).await;
    let detail = until(&world, run, &[State::Waiting]).await;
    assert_eq!((detail.row.owned, world.engine().in_flight()), (false, 0));
    assert_eq!(world.result_of::<Family>(run).await, Ok(Output::of("firstbeside", 3 + 601)));
}

#[tokio::test(start_paused = true)]
async fn a_child_that_fails_is_a_failed_step_and_a_retry_starts_another() {
    for crash in [false, true] {
        let world = world();
        world.services().script::<Charge>([Reply::Refuse(Code::NotFound)]);
        let run = world.start::<Family>(Input::of("", 1)).await.unwrap();
        let failed = until(&world, run, &[State::Failed]).await;
        let failure = failed.failure.unwrap();
        let step = failure.step().unwrap();
        assert_eq!((failure.code(), step.name.as_str(), step.branch.as_str()), (Code::NotFound, "first", ""));
        assert!(failure.message().starts_with("child run "), "{}", failure.message());
        world.engine().retry(run, Requester::new("test", "mended")).await.unwrap();
        let world = if crash {
            world.probe().kill();
            world.crash(Probe::counting())
        } else {
            world
        };
        until(&world, run, &[State::Succeeded]).await;
        assert_eq!(children(&world, run).await.len(), 3);
        assert_eq!(world.services().arrivals_of::<Charge>(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn children_end_with_a_run_that_is_cancelled_and_before_it() {
    for crash in [false, true] {
        let world = world();
        world.services().always::<Put>(Some(Reply::Slow(20 * SECOND)));
        let run = world.start::<Crowd>(Input::of("", 3)).await.unwrap();
        tokio::time::sleep(SECOND).await;
        world.engine().cancel(run, Requester::new("test", "enough")).await.unwrap();
        let ending = until(&world, run, &[State::Ending]).await;
        assert_eq!(ending.row.status.ending_as, Some(State::Cancelled));
        let world = if crash {
            world.probe().kill();
            world.crash(Probe::counting())
        } else {
            world
        };
        until(&world, run, &[State::Cancelled]).await;
        let children = children(&world, run).await;
        assert_eq!(children.len(), 3);
        for (child, state) in children {
            let row = world.detail(child).await.row;
            assert_eq!((state, row.cancel_requested.as_deref()), (State::Cancelled, Some("its parent run ended")));
        }
        // What had been sent was not taken back, and nothing was begun after it.
        assert_eq!((world.services().effects_of::<Put>(), world.services().arrivals_of::<Charge>()), (3, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_returns_waits_for_the_children_that_it_did_not_await() {
    let world = world();
    let run = world.start::<Careless>(Input::of("", 60)).await.unwrap();
    tokio::time::sleep(20 * SECOND).await;
    let ending = world.detail(run).await.row;
    assert_eq!((ending.status.state, ending.owned), (State::Ending, false));
    assert_eq!(ending.status.reason, "CHILDREN: 1 of its child runs continues");
    assert_eq!(world.result_of::<Careless>(run).await, Ok(Output::of("done", 0)));
    assert_eq!(children(&world, run).await[0].1, State::Succeeded);
    assert_eq!(world.services().effects_of::<Charge>(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_child_of_a_workflow_that_is_not_registered_stops_the_run_visibly() {
    let world = world();
    let run = world.start::<Stranger>(Input::default()).await.unwrap();
    let reason = until(&world, run, &[State::Blocked]).await.row.status.reason;
    let expected = "UNKNOWN_WORKFLOW: stranger#0 is a run of test.unregistered, which is not registered here";
    assert_eq!(reason, expected);
}

#[tokio::test(start_paused = true)]
async fn children_have_limits() {
    let world = world();
    assert_eq!(world.run::<Nested>(Input::of("", 8)).await, Ok(Output::of("bottom", 8)));
    let deep = world.run::<Nested>(Input::of("", 9)).await.unwrap_err();
    assert_eq!(deep.code(), Code::ResourceExhausted);
    assert!(deep.message().contains("child_depth"), "{deep}");
    let limits = Limits { children_per_run: 5, ..Limits::default() };
    let world = World::with(services(), register, limits, Probe::counting());
    let many = world.run::<Crowd>(Input::of("", 6)).await.unwrap_err();
    assert!(many.message().contains("children_per_run"), "{many}");
}

#[tokio::test(start_paused = true)]
async fn a_child_has_no_longer_than_its_parent() {
    let world = world();
    let start = engine::engine::Start {
        workflow: "test.family".to_owned(),
        input: Input::of("", 600).encode_to_vec().into(),
        asked: None,
        deadline: Some(30 * SECOND),
    };
    let run = world.engine().start(start).await.unwrap().id;
    let failed = until(&world, run, &[State::Failed]).await;
    assert_eq!(failed.failure.unwrap().code(), Code::DeadlineExceeded);
    for (child, _) in children(&world, run).await {
        let row = world.detail(child).await.row;
        assert!(row.status.state.is_end() && row.deadline <= failed.row.deadline);
    }
}
