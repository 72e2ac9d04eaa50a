//! What a retry forgets, and what it never forgets: effects that may have happened, and runs that continue (semantics.md S7).

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use engine::decision::{Decision, Verdict};
use engine::engine::EngineError;
use engine::store::{ListRuns, Requester, Store as _};
use engine::testing::{Probe, Reply, World};
use engine::view::StepState;
use engine::{Code, Context, Failure, Registry, Retry, SignalType, State, Workflow};
use uuid::Uuid;

use crate::common::{Answer, Cancel, Charge, Input, Look, Output, Pay, Put, services, until, workflow};

const SECOND: Duration = Duration::from_secs(1);

fn tries(n: u32) -> Retry {
    Retry::try_new(n, SECOND, 1.0, SECOND, 0.0).unwrap_or_default()
}

fn asked() -> Requester {
    Requester::new("ann", "because")
}

fn killed(world: World) -> World {
    world.probe().kill();
    world.crash(Probe::counting())
}

fn reason(error: EngineError) -> String {
    match error {
        EngineError::Precondition { reason, .. } => reason,
        other => panic!("{other}"),
    }
}

// One version of it waits for a signal that it does not declare, beside a charge or a child that may continue.
macro_rules! beside {
    ($name:ident, $undeclared:expr) => {
        #[derive(Clone)]
        struct $name;

        impl Workflow for $name {
            const NAME: &'static str = "test.beside";
            type Input = Input;
            type Output = Output;

            async fn run(&self, ctx: &Context, input: Input) -> Result<Output, Failure> {
                ctx.call(Put::of("one", 1)).await?;
                let beside = ctx.branch("beside", |ctx| async move {
                    ctx.sleep("moment", SECOND).await?;
                    if $undeclared {
                        ctx.signal::<Answer>("undeclared").await?;
                    }
                    Ok(())
                });
                match input.text.as_str() {
                    "child" => drop(ctx.all((ctx.child::<Leaf>("leaf", Input::of("leaf", 100)), beside)).await?),
                    "put" => drop(ctx.all((ctx.call(Put::of("two", 2)).retry(tries(1)), beside)).await?),
                    "pay" => drop(ctx.all((ctx.call(Pay::of("two", 2)).retry(tries(1)), beside)).await?),
                    _ => drop(ctx.all((ctx.call(Charge::of("two", 2)), beside)).await?),
                }
                Ok(Output::of("done", 0))
            }
        }
    };
}
beside!(Mended, false);
beside!(Broken, true);

workflow!(Leaf, "test.leaf", |ctx, input| {
    ctx.sleep("nap", input.number * SECOND).await?;
    ctx.call(Charge::of("leaf charges", 0)).await?;
    Ok(Output::of("leaf", 0))
});

/// A run that is blocked beside something that may continue, and whose code is mended.
async fn blocked(input: &str) -> (World, Uuid) {
    let world = World::new(services(), |registry: &mut Registry| {
        registry.register(|| Broken)?;
        registry.register(|| Leaf)
    });
    let late = || Reply::ActLater(Code::Unavailable, 3 * SECOND);
    // The child charges as well, and later.
    if input != "child" {
        world.services().script::<Charge>([late()]);
    }
    world.services().script::<Pay>([late()]);
    // The first put is the one before.
    world.services().script::<Put>([Reply::Slow(Duration::ZERO), late()]);
    let run = world.start::<Broken>(Input::of(input, 0)).await.unwrap();
    until(&world, run, &[State::Blocked]).await;
    world.probe().kill();
    let world = world.crash_and_change(|registry: &mut Registry| {
        registry.register(|| Mended)?;
        registry.register(|| Leaf)
    });
    (world, run)
}

#[tokio::test(start_paused = true)]
async fn a_retry_from_a_step_is_refused_where_it_would_forget_an_effect_in_doubt_of_any_level() {
    for (input, path) in [("", "Charge#2"), ("put", "Put#2"), ("pay", "Pay#2")] {
        let (world, run) = blocked(input).await;
        let before = world.detail(run).await.row.sequence;
        let refused = world.engine().retry_from(run, "Put#0", asked()).await.unwrap_err();
        assert!(reason(refused).starts_with(&format!("{path} comes after Put#0 and may have happened")), "{path}");
        let refused = world.engine().preview_retry(run, Some("Put#0")).await.unwrap_err();
        assert!(reason(refused).contains(path));
        assert_eq!(world.detail(run).await.row.sequence, before);
        // What the refusal says to do first.
        world.engine().retry(run, asked()).await.unwrap();
        if input.is_empty() {
            until(&world, run, &[State::NeedsDecision]).await;
            let verdict = Verdict::Failed(Failure::new(Code::Aborted, "no"));
            let decision = Decision { step: path.to_owned(), incarnation: 1, attempt: 1, verdict };
            world.engine().resolve(run, decision, asked()).await.unwrap();
        }
        world.end_of(run).await;
        let identities = world.services().identities();
        assert!(
            identities.values().all(|identity| identity.keys.len() == 1 && identity.applied == 1),
            "{identities:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_from_a_step_in_doubt_keeps_its_key() {
    for (input, path) in [("put", "Put#2"), ("pay", "Pay#2")] {
        let (world, run) = blocked(input).await;
        world.engine().retry_from(run, path, asked()).await.unwrap();
        assert_eq!(world.end_of(run).await.row.status.state, State::Succeeded);
        let identities = world.services().identities();
        assert!(
            identities.values().all(|identity| identity.keys.len() == 1 && identity.applied == 1),
            "{identities:?}"
        );
    }
    let (world, run) = blocked("").await;
    world.engine().retry_from(run, "Charge#2", asked()).await.unwrap();
    until(&world, run, &[State::NeedsDecision]).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(world.services().arrivals_of::<Charge>(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_retry_from_a_step_is_refused_where_it_would_forget_a_child_that_goes_on() {
    let (world, run) = blocked("child").await;
    for from in ["Put#0", "leaf#2"] {
        let refused = world.engine().retry_from(run, from, asked()).await.unwrap_err();
        assert!(reason(refused).starts_with("leaf#2 is child run "), "{from}");
    }
    tokio::time::sleep(Duration::from_secs(200)).await;
    // It has ended, and its parent has not heard of it.
    world.engine().retry_from(run, "Put#0", asked()).await.unwrap();
    assert_eq!(world.end_of(run).await.row.status.state, State::Succeeded);
    let rows = world.store().list(ListRuns { limit: 100, ..ListRuns::default() }).await.unwrap();
    assert!(rows.iter().all(|row| row.status.state == State::Succeeded) && rows.len() == 3, "{rows:?}");
}

// Takes a room that is undone, then puts, which may fail.
static ROOM: AtomicU32 = AtomicU32::new(1);

workflow!(RoomAndPut, "test.room-and-put", |ctx, input| {
    let room = ctx.call(Pay::of("room", 1)).undo(|_| Cancel::of("room", 0)).await?;
    let rooms = if input.text == "another" { room.number } else { 0 };
    ctx.call(Put::of("put", rooms)).retry(tries(2)).await?;
    Ok(Output::of("done", 0))
});

#[tokio::test(start_paused = true)]
async fn a_step_in_doubt_keeps_its_key_although_the_steps_before_it_were_undone_and_are_made_again() {
    let lost = || Reply::ActAndBreak(Code::Unavailable);
    for second in [lost(), Reply::Refuse(Code::PermissionDenied)] {
        for crash in [false, true] {
            let world = World::new(services(), |registry: &mut Registry| registry.register(|| RoomAndPut));
            world.services().script::<Put>([lost(), second.clone()]);
            let run = world.start::<RoomAndPut>(Input::of("", 0)).await.unwrap();
            assert_eq!(world.end_of(run).await.row.status.state, State::Failed);
            let again = world.engine().preview_retry(run, None).await.unwrap();
            let again: Vec<_> = again.iter().map(|step| (step.path.as_str(), step.new_key)).collect();
            assert_eq!(again, [("Pay#0", true), ("Put#1", false)]);
            world.engine().retry(run, asked()).await.unwrap();
            let world = if crash { killed(world) } else { world };
            assert_eq!(world.end_of(run).await.row.status.state, State::Succeeded);
            let identities = world.services().identities();
            let keys = identities.iter().map(|((method, _), found)| (*method, found.keys.len(), found.applied));
            let keys: Vec<_> = keys.collect();
            let expected = [("/test.Service/Cancel", 1, 1), ("/test.Service/Pay", 2, 2), ("/test.Service/Put", 1, 1)];
            assert_eq!(keys, expected, "{second:?} {crash}");
        }
    }
}

workflow!(RoomPutCharge, "test.room-put-charge", |ctx, _input| {
    let room = ctx.call(Pay::of("room", 1)).undo(|key| Cancel::of(key, 0)).await;
    if room.as_ref().is_err_and(|refused| refused.code() == Code::FailedPrecondition) {
        return Ok(Output::of("no room", 0));
    }
    ctx.call(Put::of("two", 2)).retry(tries(1)).await?;
    ctx.call(Charge::of("three", 3)).await?;
    Ok(Output::of("room", 0))
});

/// A run that failed twice: with a put in doubt, and then after that put was done under its key. Its room was given back
/// both times.
async fn failed_twice() -> (World, Uuid) {
    let world = World::new(services(), |registry: &mut Registry| registry.register(|| RoomPutCharge));
    world.services().script::<Put>([Reply::ActAndBreak(Code::Unavailable)]);
    world.services().script::<Charge>([Reply::Refuse(Code::PermissionDenied)]);
    let run = world.start::<RoomPutCharge>(Input::of("", 0)).await.unwrap();
    assert_eq!(world.end_of(run).await.row.status.state, State::Failed);
    world.engine().retry(run, asked()).await.unwrap();
    assert_eq!(world.end_of(run).await.row.status.state, State::Failed);
    assert_eq!((world.services().effects_of::<Pay>(), world.services().effects_of::<Cancel>()), (2, 2));
    (world, run)
}

#[tokio::test(start_paused = true)]
async fn what_a_retry_kept_in_doubt_is_made_again_by_the_next_one_if_what_came_before_it_was_undone() {
    for crash in [false, true] {
        let (world, run) = failed_twice().await;
        world.engine().retry(run, asked()).await.unwrap();
        let world = if crash { killed(world) } else { world };
        assert_eq!(world.end_of(run).await.row.status.state, State::Succeeded);
        let identities = world.services().identities();
        let keys =
            identities.iter().find(|((method, _), _)| *method == "/test.Service/Put").map(|(_, put)| put.keys.len());
        assert_eq!(keys, Some(2), "the put belongs to another room {crash}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_retry_kept_in_doubt_is_no_mismatch_if_code_does_not_come_to_it_after_the_next_one() {
    for crash in [false, true] {
        let (world, run) = failed_twice().await;
        world.services().script::<Pay>([Reply::Refuse(Code::FailedPrecondition)]);
        world.engine().retry(run, asked()).await.unwrap();
        let world = if crash { killed(world) } else { world };
        assert_eq!(world.end_of(run).await.row.status.state, State::Succeeded, "{crash}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_retry_kept_in_doubt_settles_if_code_takes_another_way_and_ends_well() {
    for crash in [false, true] {
        let world = World::new(services(), |registry: &mut Registry| registry.register(|| RoomPutCharge));
        world.services().script::<Put>([Reply::ActAndBreak(Code::Unavailable)]);
        let run = world.start::<RoomPutCharge>(Input::of("", 0)).await.unwrap();
        assert_eq!(world.end_of(run).await.row.status.state, State::Failed);
        world.services().script::<Pay>([Reply::Refuse(Code::FailedPrecondition)]);
        world.engine().retry(run, asked()).await.unwrap();
        let world = if crash { killed(world) } else { world };
        let ended = world.end_of(run).await;
        assert_eq!(ended.row.status.state, State::Succeeded, "{}", ended.row.status.reason);
        let detail = world.detail(run).await;
        let put = detail.steps.iter().find(|step| step.name.ends_with("Put")).unwrap();
        assert_eq!((put.state, put.in_doubt), (StepState::Succeeded, false), "{crash}");
        assert_eq!((world.services().arrivals_of::<Put>(), world.services().effects_of::<Put>()), (2, 1));
    }
}

workflow!(RoomBeside, "test.room-beside", |ctx, _input| {
    let items = ctx.fan_out("item", [1_u32, 2], |ctx, item| async move {
        if item == 2 {
            return ctx.call(Look::of("two", 2)).await.map(drop);
        }
        ctx.call(Pay::of("room", 1)).undo(|_| Cancel::of("room", 0)).await?;
        ctx.call(Put::of("one", 1)).retry(tries(1)).await.map(drop)
    });
    items.key(u32::to_string).await.values()?;
    Ok(Output::of("done", 0))
});

#[tokio::test(start_paused = true)]
async fn what_a_retry_kept_in_doubt_is_no_mismatch_if_code_fails_before_it_comes_to_it() {
    for crash in [false, true] {
        let world = World::new(services(), |registry: &mut Registry| registry.register(|| RoomBeside));
        world.services().script::<Put>([Reply::ActAndBreak(Code::Unavailable), Reply::Refuse(Code::Aborted)]);
        let run = world.start::<RoomBeside>(Input::of("", 0)).await.unwrap();
        assert_eq!(world.end_of(run).await.row.status.state, State::Failed);
        // The room is refused, and the put settles at the end: code never sees its result.
        world.services().script::<Pay>([Reply::Refuse(Code::PermissionDenied)]);
        world.engine().retry(run, asked()).await.unwrap();
        assert_eq!(world.end_of(run).await.row.status.state, State::Failed);
        // A retry from beside keeps both.
        world.engine().retry_from(run, "item[2]/Look#0", asked()).await.unwrap();
        let world = if crash { killed(world) } else { world };
        tokio::time::sleep(60 * SECOND).await;
        let status = world.detail(run).await.row.status;
        assert_eq!(status.state, State::Failed, "{}", status.reason);
        assert_eq!(world.services().effects_of::<Put>(), 1);
    }
}

// Items that begin together; one of them races two sleeps. In one version, the last stops the code; in the other, each
// item begins when the one before it is over.
macro_rules! racing_items {
    ($name:ident, $mended:expr) => {
        #[derive(Clone)]
        struct $name;

        impl Workflow for $name {
            const NAME: &'static str = "test.racing-items";
            type Input = Input;
            type Output = Output;

            async fn run(&self, ctx: &Context, _: Input) -> Result<Output, Failure> {
                let items = ctx.fan_out("item", [1_u32, 2, 3], |ctx, item| async move {
                    match (item, $mended) {
                        (1, _) => drop(ctx.call(Look::of("one", 1)).await?),
                        (2, _) => drop(ctx.race((ctx.sleep("two", SECOND), ctx.sleep("three", 2 * SECOND))).await?),
                        (_, mended) => {
                            ctx.sleep("moment", SECOND / 2).await?;
                            if !mended {
                                ctx.signal::<Answer>("undeclared").await?;
                            }
                        }
                    }
                    Ok::<_, Failure>(())
                });
                items.key(u32::to_string).limit(if $mended { 1 } else { 3 }).await.values()?;
                Ok(Output::of("done", 0))
            }
        }
    };
}
racing_items!(RacingItems, false);
racing_items!(RacingItemsMended, true);

#[tokio::test(start_paused = true)]
async fn a_race_of_which_several_arms_have_settled_when_code_comes_to_it_after_a_retry_is_decided() {
    for crash in [false, true] {
        let world = World::new(services(), |registry: &mut Registry| registry.register(|| RacingItems));
        let run = world.start::<RacingItems>(Input::of("", 0)).await.unwrap();
        until(&world, run, &[State::Blocked]).await;
        // It is stopped again, when both sleeps are due.
        tokio::time::sleep(10 * SECOND).await;
        world.engine().retry_from(run, "item[1]/Look#0", asked()).await.unwrap();
        tokio::time::sleep(10 * SECOND).await;
        assert_eq!(until(&world, run, &[State::Blocked]).await.row.status.state, State::Blocked);

        world.probe().kill();
        let world = world.crash_and_change(|registry: &mut Registry| registry.register(|| RacingItemsMended));
        world.engine().retry(run, asked()).await.unwrap();
        let world = if crash { killed(world) } else { world };
        tokio::time::sleep(10 * SECOND).await;
        let detail = world.detail(run).await;
        assert_eq!(detail.row.status.state, State::Succeeded, "{}", world.journal(run).await);
    }
}

static ROLL: AtomicU32 = AtomicU32::new(0);

workflow!(RoomAndRoll, "test.room-and-roll", |ctx, _input| {
    ctx.call(Pay::of("room", 1)).undo(|_| Cancel::of("room", 0)).await?;
    let roll: Answer = ctx.record("roll", || Answer::of("roll", ROLL.fetch_add(1, Ordering::SeqCst))).await;
    ctx.call(Put::of("two", roll.number)).retry(tries(1)).await?;
    Ok(Output::of("room", 0))
});

#[tokio::test(start_paused = true)]
async fn values_that_the_request_of_a_step_in_doubt_may_be_made_of_stay_over_a_retry() {
    for crash in [false, true] {
        let world = World::new(services(), |registry: &mut Registry| registry.register(|| RoomAndRoll));
        world.services().script::<Put>([Reply::ActAndBreak(Code::Unavailable)]);
        let run = world.start::<RoomAndRoll>(Input::of("", 0)).await.unwrap();
        assert_eq!(world.end_of(run).await.row.status.state, State::Failed);
        world.engine().retry(run, asked()).await.unwrap();
        let world = if crash { killed(world) } else { world };
        assert_eq!(world.end_of(run).await.row.status.state, State::Succeeded);
        assert_eq!(world.services().effects_of::<Put>(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_in_doubt_is_not_sent_with_another_request_under_its_key() {
    ROOM.store(1, Ordering::SeqCst);
    let rooms = services().on::<Pay>(|pay| Ok(Answer::of(pay.text, ROOM.fetch_add(1, Ordering::SeqCst))));
    let world = World::new(rooms, |registry: &mut Registry| registry.register(|| RoomAndPut));
    world.services().script::<Put>([Reply::ActAndBreak(Code::Unavailable), Reply::Refuse(Code::PermissionDenied)]);
    let run = world.start::<RoomAndPut>(Input::of("another", 0)).await.unwrap();
    assert_eq!(world.end_of(run).await.row.status.state, State::Failed);
    world.engine().retry(run, asked()).await.unwrap();
    let detail = until(&world, run, &[State::Blocked]).await;
    assert!(detail.row.status.reason.starts_with("JOURNAL_MISMATCH"), "{}", detail.row.status.reason);
    assert_eq!(world.services().arrivals_of::<Put>(), 1);
    // It is ended all the same: what is in doubt settles, and the new room is given back.
    world.engine().cancel(run, asked()).await.unwrap();
    assert_eq!(world.end_of(run).await.row.status.state, State::Cancelled);
    assert_eq!((world.services().effects_of::<Put>(), world.services().effects_of::<Cancel>()), (1, 2));
}

// Three items, two at a time: the third begins when the first is over. One version of it stops at the second.
macro_rules! items {
    ($name:ident, $mended:expr) => {
        #[derive(Clone)]
        struct $name;

        impl Workflow for $name {
            const NAME: &'static str = "test.items";
            type Input = Input;
            type Output = Output;

            async fn run(&self, ctx: &Context, _: Input) -> Result<Output, Failure> {
                let items = ctx.fan_out("item", [1_u32, 2, 3], |ctx, item| async move {
                    match item {
                        3 => return ctx.call(Put::of("three", 3)).retry(tries(1_000)).await.map(drop),
                        2 => ctx.sleep("moment", 2 * SECOND).await?,
                        _ => drop(ctx.call(Look::of("one", 1)).await?),
                    }
                    match ($mended, item) {
                        (true, _) => ctx.sleep("long", 50_000 * SECOND).await,
                        (false, 2) => ctx.signal::<Answer>("undeclared").await.map(drop),
                        (false, _) => Ok(()),
                    }
                });
                items.key(u32::to_string).limit(2).await.values()?;
                Ok(Output::of("done", 0))
            }
        }
    };
}
items!(Items, false);
items!(ItemsMended, true);

#[tokio::test(start_paused = true)]
async fn an_effect_that_code_has_not_come_to_again_settles_before_its_run_ends() {
    for crash in [false, true] {
        let world = World::new(services(), |registry: &mut Registry| registry.register(|| Items));
        world.services().always::<Put>(Some(Reply::ActAndBreak(Code::Unavailable)));
        let run = world.start::<Items>(Input::of("", 0)).await.unwrap();
        until(&world, run, &[State::Blocked]).await;
        world.services().calm();
        world.probe().kill();
        let world = world.crash_and_change(|registry: &mut Registry| registry.register(|| ItemsMended));
        world.engine().retry_from(run, "item[1]/Look#0", asked()).await.unwrap();
        until(&world, run, &[State::Waiting]).await;
        let put =
            |detail: engine::view::Detail| detail.steps.into_iter().find(|step| step.name.ends_with("Put")).unwrap();
        // Its turn comes in a day.
        assert!(put(world.detail(run).await).in_doubt);
        let world = if crash { killed(world) } else { world };
        world.engine().cancel(run, asked()).await.unwrap();
        assert_eq!(world.end_of(run).await.row.status.state, State::Cancelled);
        assert_eq!(put(world.detail(run).await).state, StepState::Succeeded, "{crash}");
        assert_eq!(world.services().effects_of::<Put>(), 1);
    }
}

#[derive(Clone)]
struct Patient;

impl Workflow for Patient {
    const NAME: &'static str = "test.patient";
    const SIGNALS: &'static [SignalType] = &[SignalType::of::<Answer>("paid")];
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, _: Input) -> Result<Output, Failure> {
        let paid = ctx.signal::<Answer>("paid").within(60 * SECOND).await?;
        let paid = paid.ok_or_else(|| Failure::new(Code::Aborted, "nobody paid"))?;
        Ok(Output::of("paid", paid.number))
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_failed_by_its_own_decision_is_told_so_and_waits_again_from_a_step() {
    let world = World::new(services(), |registry: &mut Registry| registry.register(|| Patient));
    let run = world.start::<Patient>(Input::of("", 0)).await.unwrap();
    assert!(world.result_of::<Patient>(run).await.is_err());
    let refused = world.engine().retry(run, asked()).await.unwrap_err();
    assert!(reason(refused).starts_with("it failed by its workflow's own decision"));
    world.engine().retry_from(run, "paid#0", asked()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    world.signal(run, "paid", &Answer::of("paid", 7), None).await.unwrap();
    assert_eq!(world.result_of::<Patient>(run).await, Ok(Output::of("paid", 7)));
    let refused = world.engine().retry(run, asked()).await.unwrap_err();
    assert!(reason(refused).contains("only a FAILED run is retried"));
}

/// Has its work cut off at 3,000 s.
#[derive(Clone)]
struct Budgeted;

impl Workflow for Budgeted {
    const NAME: &'static str = "test.budgeted";
    const DEADLINE: Duration = Duration::from_secs(3_600);
    const UNDO_BUDGET: Duration = Duration::from_secs(600);
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, input: Input) -> Result<Output, Failure> {
        if input.text == "undo" {
            ctx.call(Pay::of("room", 1)).undo(|_| Cancel::of("room", 0)).await?;
        }
        ctx.sleep("long", 2_990 * SECOND).await?;
        let put = ctx.call(Put::of("put", 1)).retry(Retry::patient()).await?;
        ctx.call(Look::of("after", 1)).await?;
        Ok(Output::of("done", put.number))
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_failed_at_its_deadline_goes_on_from_where_it_stood() {
    let cut = [Reply::NotSent, Reply::Slow(25 * SECOND), Reply::ActAndBreak(Code::Unavailable), Reply::Hang];
    for (reply, crash) in cut.iter().flat_map(|reply| [(reply, false), (reply, true)]) {
        let world = World::new(services(), |registry: &mut Registry| registry.register(|| Budgeted));
        world.services().always::<Put>(Some(reply.clone()));
        let run = world.start::<Budgeted>(Input::of("", 0)).await.unwrap();
        let failure = world.result_of::<Budgeted>(run).await.unwrap_err();
        assert_eq!((failure.code(), failure.step()), (Code::DeadlineExceeded, None), "{reply:?}");
        world.services().calm();
        let again = world.engine().preview_retry(run, None).await.unwrap();
        assert!(again.iter().all(|step| step.path == "Put#1" && !step.new_key), "{reply:?} {again:?}");
        let begun = tokio::time::Instant::now();
        world.engine().retry(run, asked()).await.unwrap();
        let world = if crash { killed(world) } else { world };
        assert_eq!(world.result_of::<Budgeted>(run).await, Ok(Output::of("done", 2)), "{reply:?}");
        assert!(begun.elapsed() < Duration::from_secs(2_000), "it sleeps no more");
        let identities = world.services().identities();
        let keys: Vec<_> = identities.values().map(|identity| (identity.keys.len(), identity.applied)).collect();
        assert_eq!(keys, [(1, 1)], "{reply:?} {crash}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_failed_at_its_deadline_makes_again_what_was_undone() {
    let world = World::new(services(), |registry: &mut Registry| registry.register(|| Budgeted));
    world.services().always::<Put>(Some(Reply::NotSent));
    let run = world.start::<Budgeted>(Input::of("undo", 0)).await.unwrap();
    assert!(world.result_of::<Budgeted>(run).await.is_err());
    assert_eq!(world.services().effects_of::<Cancel>(), 1);
    world.services().calm();
    world.engine().retry(run, asked()).await.unwrap();
    // It sleeps once more, and has all its time before it.
    let world = killed(world);
    assert_eq!(world.result_of::<Budgeted>(run).await, Ok(Output::of("done", 2)));
    assert_eq!((world.services().effects_of::<Pay>(), world.services().effects_of::<Put>()), (2, 1));
}

workflow!(Shared, "test.shared", |ctx, _input| {
    ctx.call(Put::of("seat", 1)).idempotency_key("seat", ["12A"]).await?;
    ctx.call(Charge::of("charge", 1)).await?;
    Ok(Output::of("done", 0))
});

#[tokio::test(start_paused = true)]
async fn a_business_key_is_the_same_after_every_retry_and_the_preview_says_so() {
    let world = World::new(services(), |registry: &mut Registry| registry.register(|| Shared));
    world.services().script::<Charge>([Reply::Refuse(Code::FailedPrecondition)]);
    let run = world.start::<Shared>(Input::of("", 0)).await.unwrap();
    assert!(world.result_of::<Shared>(run).await.is_err());
    let again = world.engine().preview_retry(run, Some("Put#0")).await.unwrap();
    let again: Vec<_> = again.iter().map(|step| (step.path.as_str(), step.new_key)).collect();
    assert_eq!(again, [("Put#0", false), ("Charge#1", true)]);
    world.engine().retry_from(run, "Put#0", asked()).await.unwrap();
    assert!(world.result_of::<Shared>(run).await.is_ok());
    assert_eq!((world.services().arrivals_of::<Put>(), world.services().effects_of::<Put>()), (2, 1));
    assert!(world.detail(run).await.steps.iter().all(|step| step.state == StepState::Succeeded));
}

/// A run that takes a room, and then waits for a signal that its first version does not declare.
macro_rules! guest {
    ($name:ident, $undeclared:expr) => {
        #[derive(Clone)]
        struct $name;

        impl Workflow for $name {
            const NAME: &'static str = "test.guest";
            type Input = Input;
            type Output = Output;

            async fn run(&self, ctx: &Context, _: Input) -> Result<Output, Failure> {
                ctx.sleep("moment", SECOND).await?;
                ctx.call(Pay::of("room", 1)).undo(|_| Cancel::of("room", 0)).await?;
                if $undeclared {
                    ctx.signal::<Answer>("undeclared").await?;
                }
                ctx.sleep("stay", 1_000 * SECOND).await?;
                Ok(Output::of("done", 0))
            }
        }
    };
}
guest!(Guest, false);
guest!(LostGuest, true);

/// A guest that an operator retried from this step of the blocked run, once blocked again and once mended.
async fn guest(from: &str) -> (World, Uuid) {
    let world = World::new(services(), |registry: &mut Registry| registry.register(|| LostGuest));
    let run = world.start::<LostGuest>(Input::of("", 0)).await.unwrap();
    until(&world, run, &[State::Blocked]).await;
    world.engine().retry_from(run, from, asked()).await.unwrap();
    until(&world, run, &[State::Blocked]).await;
    world.probe().kill();
    let world = world.crash_and_change(|registry: &mut Registry| registry.register(|| Guest));
    world.engine().retry_from(run, from, asked()).await.unwrap();
    (world, run)
}

#[tokio::test(start_paused = true)]
async fn what_a_retry_made_again_is_taken_back_with_what_it_was_before() {
    for from in ["moment#0", "Pay#1"] {
        // Cancelled before it makes the step again, and after; with a crash while it undoes.
        for (made, crash) in [(2, false), (3, false), (3, true)] {
            let (world, run) = guest(from).await;
            if made == 3 {
                tokio::time::sleep(10 * SECOND).await;
            }
            world.services().script::<Cancel>([Reply::Slow(SECOND), Reply::Slow(5 * SECOND)]);
            world.engine().cancel(run, asked()).await.unwrap();
            let world = if crash {
                tokio::time::sleep(3 * SECOND).await;
                killed(world)
            } else {
                world
            };
            let detail = world.end_of(run).await;
            assert_eq!(detail.row.status.state, State::Cancelled);
            let paid = world.services().effects_of::<Pay>();
            assert!(paid >= made, "{from} {paid}");
            assert_eq!(world.services().effects_of::<Cancel>(), paid, "{from} {crash}");
            let steps = world.detail(run).await.steps;
            let undos = steps.iter().filter(|step| step.name.ends_with("Cancel"));
            assert!(undos.into_iter().all(|step| step.undoes.as_deref() == Some("Pay#1")), "{steps:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_terminated_run_lists_what_it_made_before_a_retry_as_not_undone() {
    let (world, run) = guest("Pay#1").await;
    tokio::time::sleep(10 * SECOND).await;
    world.engine().terminate(run, asked()).await.unwrap();
    let detail = until(&world, run, &[State::Terminated]).await;
    assert_eq!(detail.to_undo, ["Pay#1"; 3]);
}

// Sleeps beside a child. One version of it starts a workflow that no replica has; the other takes the time instead.
macro_rules! missing {
    ($name:ident, $mended:expr) => {
        #[derive(Clone)]
        struct $name;

        impl Workflow for $name {
            const NAME: &'static str = "test.missing-child";
            type Input = Input;
            type Output = Output;

            async fn run(&self, ctx: &Context, _: Input) -> Result<Output, Failure> {
                let naps = ctx.branch("naps", |ctx| async move {
                    ctx.sleep("short", SECOND).await?;
                    ctx.sleep("long", 10 * SECOND).await
                });
                let child = ctx.branch("child", |ctx| async move {
                    if $mended {
                        ctx.now();
                    } else {
                        ctx.child::<Leaf>("leaf", Input::of("leaf", 1)).await?;
                    }
                    Ok(())
                });
                ctx.all((naps, child)).await?;
                Ok(Output::of("done", 0))
            }
        }
    };
}
missing!(NoChild, true);
missing!(MissingChild, false);

#[tokio::test(start_paused = true)]
async fn code_that_cannot_go_on_sees_nothing_of_what_settles_later_so_that_mended_code_can() {
    let world = World::new(services(), |registry: &mut Registry| registry.register(|| MissingChild));
    let run = world.start::<MissingChild>(Input::of("", 0)).await.unwrap();
    until(&world, run, &[State::Blocked]).await;
    tokio::time::sleep(5 * SECOND).await;
    world.engine().retry(run, asked()).await.unwrap();
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!(world.detail(run).await.row.status.state, State::Blocked);
    world.probe().kill();
    let world = world.crash_and_change(|registry: &mut Registry| registry.register(|| NoChild));
    world.engine().retry(run, asked()).await.unwrap();
    tokio::time::sleep(20 * SECOND).await;
    let row = world.detail(run).await.row;
    assert_eq!(row.status.state, State::Succeeded, "{}", row.status.reason);
}
