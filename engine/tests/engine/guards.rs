//! What stops a run that must not continue: journals that no longer fit, steps built at the wrong time, limits, panics.

use std::time::Duration;

use engine::store::Requester;
use engine::testing::World;
use engine::workflow::NameTaken;
use engine::{Code, Context, Failure, Limits, Registry, State, Workflow};

use crate::common::{Charge, Input, Look, Output, Put, services, until};
use crate::told::Told;

macro_rules! workflow {
    ($name:ident, |$ctx:ident, $input:ident| $body:expr) => {
        #[derive(Clone)]
        struct $name;

        impl Workflow for $name {
            const NAME: &'static str = "test.changing";
            type Input = Input;
            type Output = Output;

            async fn run(&self, $ctx: &Context, $input: Input) -> Result<Output, Failure> {
                $body
            }
        }
    };
}

workflow!(Original, |ctx, input| {
    let put = ctx.call(Put::of("a", input.number)).await?;
    ctx.sleep("night", Duration::from_secs(3_600)).await?;
    Ok(Output::of("original", put.number))
});

fn register_original(registry: &mut Registry) -> Result<(), NameTaken> {
    registry.register(|| Original)
}

/// Starts the original code, and continues with other code while it sleeps.
async fn changed(register: fn(&mut Registry) -> Result<(), NameTaken>) -> (World, uuid::Uuid) {
    let world = World::new(services(), register_original);
    let run = world.start::<Original>(Input::of("x", 1)).await.unwrap();
    until(&world, run, &[State::Waiting]).await;
    let world = world.crash_and_change(register);
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    (world, run)
}

#[tokio::test(start_paused = true)]
async fn code_that_no_longer_fits_its_journal_blocks_the_run_and_shows_both_sides() {
    workflow!(OtherMethod, |ctx, input| {
        ctx.call(Charge::of("a", input.number)).await?;
        ctx.sleep("night", Duration::from_secs(3_600)).await?;
        Ok(Output::of("", 0))
    });
    workflow!(OtherRequest, |ctx, input| {
        ctx.call(Put::of("b", input.number)).await?;
        ctx.sleep("night", Duration::from_secs(3_600)).await?;
        Ok(Output::of("", 0))
    });
    workflow!(StepLess, |ctx, input| {
        ctx.call(Put::of("a", input.number)).await?;
        Ok(Output::of("", 0))
    });
    workflow!(StepMore, |ctx, input| {
        ctx.call(Look::of("new", 1)).await?;
        ctx.call(Put::of("a", input.number)).await?;
        ctx.sleep("night", Duration::from_secs(3_600)).await?;
        Ok(Output::of("", 0))
    });
    type Change = (fn(&mut Registry) -> Result<(), NameTaken>, &'static str, &'static str);
    let changes: [Change; 4] = [
        (|r| r.register(|| OtherMethod), "the journal has Put#0", "the code has Charge#0"),
        (|r| r.register(|| OtherRequest), "Put#0 with another request", "SHA-256"),
        (|r| r.register(|| StepLess), "the journal has night#1", "ended before it"),
        (|r| r.register(|| StepMore), "the journal has Put#0", "the code has Look#0"),
    ];
    for (register, journal, code) in changes {
        let (world, run) = changed(register).await;
        let detail = until(&world, run, &[State::Blocked]).await;
        let reason = &detail.row.status.reason;
        assert!(reason.contains(journal) && reason.contains(code), "{reason}");
        assert_eq!(world.services().arrivals().len(), 1, "a blocked run sends nothing");
    }
}

#[tokio::test(start_paused = true)]
async fn a_blocked_run_goes_on_when_its_code_is_back_and_an_operator_says_so() {
    workflow!(StepLess, |ctx, input| {
        ctx.call(Put::of("a", input.number)).await?;
        Ok(Output::of("", 0))
    });
    let (world, run) = changed(|r| r.register(|| StepLess)).await;
    until(&world, run, &[State::Blocked]).await;
    let world = world.crash_and_change(register_original);
    world.engine().retry(run, Requester::new("test", "code is back")).await.unwrap();
    assert_eq!(world.result_of::<Original>(run).await, Ok(Output::of("original", 2)));
    assert_eq!(world.services().arrivals().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_step_built_while_another_of_its_branch_is_in_flight_is_refused() {
    workflow!(TwoArms, |ctx, input| {
        let arm = |name: &'static str| async move {
            ctx.call(Look::of(name, 1)).await?;
            ctx.call(Look::of(name, 2)).await
        };
        let (left, right) = futures_util::join!(arm("left"), arm("right"));
        Ok(Output::of(input.text, left?.number + right?.number))
    });
    let world = World::new(services(), |r| r.register(|| TwoArms));
    let run = world.start::<TwoArms>(Input::of("x", 1)).await.unwrap();
    let detail = until(&world, run, &[State::Blocked]).await;
    assert!(detail.row.status.reason.starts_with("USE_A_BRANCH: Look#1"), "{}", detail.row.status.reason);
}

#[tokio::test(start_paused = true)]
async fn what_is_new_before_a_result_that_code_has_seen_blocks_the_run() {
    macro_rules! beside {
        ($name:ident, |$left:ident| $($early:tt)*) => {
            workflow!($name, |ctx, input| {
                let left = ctx.branch("left", |$left| async move {
                    $left.call(Put::of("left", 1)).await?;
                    $($early)*
                    Ok(())
                });
                let right = ctx.branch("right", |ctx| async move {
                    ctx.sleep("short", Duration::from_secs(1)).await?;
                    ctx.call(Put::of("right", 1)).await?;
                    ctx.sleep("night", Duration::from_secs(3_600)).await
                });
                ctx.all((left, right)).await?;
                Ok(Output::of("done", input.number))
            });
        };
    }
    beside!(Before, |left|);
    beside!(EarlyNow, |left| left.now(););
    beside!(EarlyRecord, |left| left.record("dice", || 4_u32).await;);
    beside!(EarlyFanOut, |left| left.fan_out("no", [0_u32; 0], |_, _| async { Ok(()) }).key(u32::to_string).await;);
    type Change = (fn(&mut Registry) -> Result<(), NameTaken>, &'static str);
    let changes: [Change; 3] = [
        (|r| r.register(|| EarlyNow), "left/now#1"),
        (|r| r.register(|| EarlyRecord), "left/dice#1"),
        (|r| r.register(|| EarlyFanOut), "left/no#1"),
    ];
    for (change, step) in changes {
        let world = World::new(services(), |r| r.register(|| Before));
        let run = world.start::<Before>(Input::of("x", 1)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
        until(&world, run, &[State::Waiting]).await;
        let world = world.crash_and_change(change);
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        let reason = until(&world, run, &[State::Blocked]).await.row.status.reason;
        assert_eq!(reason, format!("JOURNAL_MISMATCH: the journal has no such step there, the code has {step}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_blocks_its_run_and_no_other() {
    workflow!(Panics, |ctx, input| {
        ctx.call(Put::of("a", input.number)).await?;
        assert!(input.text != "bad", "a bad input");
        Ok(Output::of("fine", 0))
    });
    let world = World::new(services(), |r| r.register(|| Panics));
    let bad = world.start::<Panics>(Input::of("bad", 1)).await.unwrap();
    let detail = until(&world, bad, &[State::Blocked]).await;
    let reason = detail.row.status.reason;
    assert!(reason.contains("it panicked: a bad input (at engine/tests/engine/guards.rs:"), "{reason}");
    assert_eq!(world.run::<Panics>(Input::of("good", 2)).await, Ok(Output::of("fine", 0)));
}

#[tokio::test(start_paused = true)]
async fn every_limit_is_refused_by_name() {
    workflow!(Greedy, |ctx, input| {
        match input.text.as_str() {
            "steps" => {
                for step in 0..input.number {
                    ctx.call(Look::of("step", step)).await?;
                }
            }
            "width" => {
                ctx.fan_out("item", 0..input.number, |ctx, item| async move { ctx.call(Look::of("", item)).await })
                    .key(u32::to_string)
                    .await;
            }
            "key" => {
                ctx.fan_out("item", 0..1, |ctx, item: u32| async move { ctx.call(Look::of("", item)).await })
                    .key(|_| "k".repeat(600))
                    .await;
            }
            "request" => drop(ctx.call(Put::of("x".repeat(input.number as usize), 1)).await?),
            _ => return Ok(Output::of("x".repeat(input.number as usize), 0)),
        }
        Ok(Output::of("", 0))
    });
    let limits = Limits { steps_per_run: 20, fan_out_width: 10, payload_bytes: 1_000, ..Limits::default() };
    let make =
        || World::with(services(), |r| r.register(|| Greedy), limits.clone(), engine::testing::Probe::counting());
    let cases = [
        ("steps", 21, "steps_per_run"),
        ("width", 11, "fan_out_width"),
        ("key", 1, "name_bytes"),
        ("request", 1_001, "payload_bytes"),
        ("output", 1_001, "payload_bytes"),
    ];
    for (what, number, limit) in cases {
        let failure = make().run::<Greedy>(Input::of(what, number)).await.unwrap_err();
        assert_eq!(failure.code(), Code::ResourceExhausted, "{what}");
        assert!(failure.message().contains(limit), "{what}: {}", failure.message());
    }
    let too_large = make().start::<Greedy>(Input::of("x".repeat(2_000), 1)).await.unwrap_err();
    assert!(too_large.to_string().contains("payload_bytes"), "{too_large}");
    for (what, number) in [("steps", 20), ("width", 10)] {
        assert!(make().run::<Greedy>(Input::of(what, number)).await.is_ok(), "{what} at its limit");
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_is_warned_of_once_before_it_bites() {
    workflow!(Frugal, |ctx, input| {
        match input.text.as_str() {
            "steps" => {
                for step in 0..input.number {
                    ctx.call(Look::of("step", step)).await?;
                }
            }
            "width" => {
                let width = 0..input.number;
                ctx.fan_out("item", width, |_, _| async { Ok(()) }).key(u32::to_string).await;
            }
            "request" => drop(ctx.call(Put::of("x".repeat(input.number as usize), 1)).await?),
            "output" => return Ok(Output::of("x".repeat(input.number as usize), 0)),
            "children" => {
                for child in 0..input.number {
                    ctx.child::<Frugal>("child", Input::of("", child)).await?;
                }
            }
            _ => {}
        }
        Ok(Output::of("", 0))
    });
    let limits = Limits {
        steps_per_run: 20,
        fan_out_width: 10,
        children_per_run: 10,
        payload_bytes: 1_000,
        ..Limits::default()
    };
    let cases = [
        ("steps", 15, 0),
        ("steps", 20, 1),
        ("width", 7, 0),
        ("width", 10, 1),
        ("children", 7, 0),
        ("children", 10, 1),
        ("output", 700, 0),
        ("output", 900, 1),
        // The service answers with as much, which is the same limit.
        ("request", 700, 0),
        ("request", 900, 1),
    ];
    for (what, number, warnings) in cases {
        let told = Told::by_this_thread();
        let probe = engine::testing::Probe::counting();
        let world = World::with(services(), |r| r.register(|| Frugal), limits.clone(), probe);
        assert!(world.run::<Frugal>(Input::of(what, number)).await.is_ok(), "{what}");
        assert_eq!(told.of("run comes near a limit"), warnings, "{what} of {number}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_inbox_is_warned_of_once_before_it_is_refused() {
    workflow!(Sleeps, |ctx, input| {
        ctx.sleep("long", Duration::from_secs(3_600)).await?;
        Ok(Output::of("", input.number))
    });
    struct Hears;
    impl Workflow for Hears {
        const NAME: &'static str = "test.hears";
        const SIGNALS: &'static [engine::SignalType] = &[engine::SignalType::of::<Input>("word")];
        type Input = Input;
        type Output = Output;

        async fn run(&self, ctx: &Context, input: Input) -> Result<Output, Failure> {
            Sleeps.run(ctx, input).await
        }
    }
    let told = Told::by_this_thread();
    let limits = Limits { inbox_messages: 10, ..Limits::default() };
    let world = World::with(services(), |r| r.register(|| Hears), limits, engine::testing::Probe::counting());
    let run = world.start::<Hears>(Input::of("", 1)).await.unwrap();
    for number in 0..10 {
        assert_eq!(told.of("run comes near a limit"), usize::from(number >= 8), "{number}");
        world.signal(run, "word", &Input::of("", number), None).await.unwrap();
    }
    let refused = world.signal(run, "word", &Input::of("", 10), None).await.unwrap_err();
    assert_eq!(refused.to_string(), "inbox_messages is 10, this has 11");
    assert_eq!(told.of("run comes near a limit"), 1);
}

#[tokio::test(start_paused = true)]
async fn runs_beyond_the_limit_wait_for_their_turn() {
    workflow!(Slow, |ctx, input| {
        ctx.sleep("short", Duration::from_secs(2)).await?;
        Ok(Output::of("done", input.number))
    });
    let limits = Limits { runs_in_flight: 3, ..Limits::default() };
    let world = World::with(services(), |r| r.register(|| Slow), limits, engine::testing::Probe::counting());
    let mut runs = Vec::new();
    for number in 0..10 {
        runs.push(world.start::<Slow>(Input::of("", number)).await.unwrap());
        assert!(world.engine().in_flight() <= 3);
    }
    for run in runs {
        assert!(world.result_of::<Slow>(run).await.is_ok());
    }
}
