//! Runs of a store that is a copy: what its original may have done since is not done again.

use std::time::Duration;

use engine::State;
use engine::decision::{Decision, Verdict};
use engine::store::Requester;
use engine::testing::{Probe, World};
use uuid::Uuid;

use crate::common::{Charge, Input, Look, Output, Put, services, workflow};

workflow!(Order, "test.order", |ctx, _input| {
    ctx.call(Put::of("reserve", 1)).await?;
    ctx.sleep("before", Duration::from_secs(100)).await?;
    ctx.call(Look::of("look", 1)).await?;
    ctx.call(Put::of("keyed", 1)).await?;
    ctx.call(Charge::of("first", 1)).await?;
    ctx.call(Charge::of("second", 1)).await?;
    Ok(Output::of("done", 0))
});

workflow!(Parent, "test.parent", |ctx, _input| {
    ctx.sleep("before", Duration::from_secs(100)).await?;
    ctx.child::<Order>("order", Input::default()).await?;
    Ok(Output::of("done", 0))
});

async fn decide(world: &World, run: Uuid, verdict: Verdict) {
    let detail = world.until(run, State::NeedsDecision).await;
    let reason = detail.row.status.reason;
    let step = reason.trim_start_matches("AMBIGUOUS_EFFECT: ").split(' ').next().unwrap().to_owned();
    let decision = Decision { step, incarnation: 1, attempt: 1, verdict };
    // An attempt that may be on its way is waited for.
    tokio::time::sleep(Duration::from_secs(600)).await;
    world.engine().resolve(run, decision, Requester::new("test", "the account says so")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn every_call_of_unstated_level_of_an_adopted_run_waits_for_a_decision() {
    let world = World::new(services(), |registry| registry.register(|| Order));
    let run = world.start::<Order>(Input::default()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    world.probe().kill();
    let world = world.crash_and_adopt(Probe::counting());
    world.until(run, State::NeedsDecision).await;
    assert_eq!((world.services().arrivals_of::<Put>(), world.services().arrivals_of::<Charge>()), (2, 0));
    decide(&world, run, Verdict::Happened(Default::default())).await;
    // It stays in doubt over a restart.
    world.until(run, State::NeedsDecision).await;
    let world = world.crash(Probe::counting());
    decide(&world, run, Verdict::AskAgain).await;
    assert_eq!(world.end_of(run).await.row.status.state, State::Succeeded);
    assert_eq!(world.services().arrivals_of::<Charge>(), 1);

    let new = world.start::<Order>(Input::default()).await.unwrap();
    assert_eq!(world.end_of(new).await.row.status.state, State::Succeeded, "what began since then is the store's own");
}

#[tokio::test(start_paused = true)]
async fn children_of_an_adopted_run_may_have_been_there_too() {
    let world = World::new(services(), |registry| {
        registry.register(|| Order)?;
        registry.register(|| Parent)
    });
    let run = world.start::<Parent>(Input::default()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    world.probe().kill();
    let world = world.crash_and_adopt(Probe::counting());
    tokio::time::sleep(Duration::from_secs(1_000)).await;
    assert!(!world.detail(run).await.row.status.state.is_end());
    assert_eq!(world.services().arrivals_of::<Charge>(), 0);
}
