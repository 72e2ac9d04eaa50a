//! What the model and a critical reading found, each as a test of its own.

use std::time::Duration;

use engine::decision::{Decision, Verdict};
use engine::engine::Start;
use engine::journal_v1::fact::Kind;
use engine::store::{AuditedChange, Command, CommandKind, Requester, Store as _};
use engine::testing::{Probe, Reply, World};
use engine::{Code, Context, Failure, Limits, Registry, Retry, State, Workflow};
use futures_util::future::{Either, select};
use prost::Message;
use uuid::Uuid;

use crate::check::journals;
use crate::ledger::Ledger;
use crate::messages::{Answer, Charge, HORIZON, Input, Output, Pay, Put, Refund, services};

fn input(text: &str) -> Input {
    Input { text: text.to_owned(), number: 0 }
}

/// Declares a workflow of these tests.
macro_rules! workflow {
    ($name:ident, |$ctx:ident, $input:ident| $body:expr) => {
        struct $name;

        impl Workflow for $name {
            const NAME: &'static str = concat!("model.", stringify!($name));
            const DEADLINE: Duration = Duration::from_secs(3_600);
            type Input = Input;
            type Output = Output;

            async fn run(&self, $ctx: &Context, $input: Input) -> Result<Output, Failure> {
                $body
            }
        }
    };
}

async fn rested(world: &World, run: Uuid) -> State {
    for _ in 0..2_000 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let row = world.detail(run).await.row;
        let state = row.status.state;
        if state.is_end() || (!row.owned && matches!(state, State::NeedsDecision | State::Blocked)) {
            return state;
        }
    }
    world.detail(run).await.row.status.state
}

fn killed(world: World) -> World {
    world.probe().kill();
    world.crash(Probe::counting())
}

workflow!(Items, |ctx, input| {
    let charged = ctx
        .fan_out("item", input.text.chars().collect::<Vec<_>>(), |ctx, item| async move {
            let roll = ctx.record("roll", Answer::default).await;
            let inner = ctx.fan_out("inner", [item], |ctx, item| async move {
                ctx.call(Charge { text: item.to_string(), number: 0 }).await
            });
            let answers = inner.key(char::to_string).await.values()?;
            ctx.call(Put { text: item.to_string(), number: roll.number }).await?;
            Ok(answers.len())
        })
        .key(char::to_string)
        .limit(2)
        .await;
    charged.values().map(|_| Output::default())
});

#[tokio::test(start_paused = true)]
async fn a_retry_makes_the_failed_item_again_and_leaves_the_work_of_the_others_alone() {
    for crash in [false, true] {
        let world =
            World::new(services(&Ledger::default()), |registry: &mut Registry| registry.register::<Items>(|| Items));
        world.services().script::<Charge>([Reply::Refuse(Code::FailedPrecondition)]);
        let run = world.start::<Items>(input("abcdef")).await.unwrap();
        assert_eq!(rested(&world, run).await, State::Failed);
        assert_eq!(world.services().arrivals_of::<Charge>(), 5);
        world.engine().retry(run, Requester::new("test", "")).await.unwrap();
        let world = if crash { killed(world) } else { world };
        assert_eq!(rested(&world, run).await, State::Succeeded, "{:?}", world.detail(run).await.row.status);
        assert_eq!(world.services().arrivals_of::<Charge>(), 6);
        assert_eq!(world.services().arrivals_of::<Put>(), 6);
    }
}

workflow!(Together, |ctx, _input| {
    let charge = |text: &str| ctx.call(Charge { text: text.to_owned(), number: 0 });
    ctx.all((charge("a"), charge("b"))).await?;
    Ok(Output::default())
});

#[tokio::test(start_paused = true)]
async fn a_retry_leaves_a_step_alone_that_went_on_beside_the_failed_one() {
    let world =
        World::new(services(&Ledger::default()), |registry: &mut Registry| registry.register::<Together>(|| Together));
    world.services().script::<Charge>([Reply::Refuse(Code::FailedPrecondition)]);
    let run = world.start::<Together>(input("")).await.unwrap();
    assert_eq!(rested(&world, run).await, State::Failed);
    world.engine().retry(run, Requester::new("test", "")).await.unwrap();
    assert_eq!(rested(&world, run).await, State::Succeeded);
    assert_eq!(world.services().arrivals_of::<Charge>(), 2);
}

workflow!(ChargeOnce, |ctx, _input| {
    ctx.call(Charge::default()).retry(Retry::never()).await?;
    Ok(Output::default())
});

#[tokio::test(start_paused = true)]
async fn a_retry_sends_what_was_surely_never_sent_without_a_decision() {
    let world = World::new(services(&Ledger::default()), |registry: &mut Registry| {
        registry.register::<ChargeOnce>(|| ChargeOnce)
    });
    world.services().script::<Charge>([Reply::NotSent]);
    let run = world.start::<ChargeOnce>(input("")).await.unwrap();
    assert_eq!(rested(&world, run).await, State::Failed);
    world.engine().retry(run, Requester::new("test", "")).await.unwrap();
    assert_eq!(rested(&world, run).await, State::Succeeded);
    assert_eq!(world.services().arrivals_of::<Charge>(), 1);
}

workflow!(PutThrice, |ctx, _input| {
    let second = Duration::from_secs(1);
    let retry = Retry::try_new(3, second, 1.0, second, 0.0).unwrap_or_default();
    ctx.call(Put::default()).retry(retry).await?;
    Ok(Output::default())
});

#[tokio::test(start_paused = true)]
async fn a_retry_has_all_attempts_before_it() {
    let world = World::new(services(&Ledger::default()), |registry: &mut Registry| {
        registry.register::<PutThrice>(|| PutThrice)
    });
    world.services().script::<Put>(vec![Reply::BreakFirst(Code::Unavailable); 5]);
    let run = world.start::<PutThrice>(input("")).await.unwrap();
    assert_eq!(rested(&world, run).await, State::Failed);
    world.engine().retry(run, Requester::new("test", "")).await.unwrap();
    let world = killed(world);
    assert_eq!(rested(&world, run).await, State::Succeeded);
}

workflow!(PaySlowly, |ctx, _input| {
    let pause = HORIZON + Duration::from_secs(10);
    let retry = Retry::try_new(9, pause, 1.0, pause, 0.0).unwrap_or_default();
    ctx.call(Pay::default()).retry(retry).timeout(Duration::from_secs(5)).await?;
    Ok(Output::default())
});

#[tokio::test(start_paused = true)]
async fn an_effect_in_doubt_is_not_repeated_when_its_turn_comes_beyond_the_horizon() {
    let register = |registry: &mut Registry| registry.register::<PaySlowly>(|| PaySlowly);
    let limits = Limits { linger: 2 * HORIZON, ..Limits::default() };
    let world = World::with(services(&Ledger::default()), register, limits, Probe::counting());
    world.services().script::<Pay>([Reply::ActAndBreak(Code::Unavailable)]);
    let run = world.start::<PaySlowly>(input("")).await.unwrap();
    assert_eq!(rested(&world, run).await, State::NeedsDecision);
    assert_eq!(world.services().arrivals_of::<Pay>(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_was_cut_off_stays_in_doubt_after_one_that_was_not_sent() {
    let world = World::new(services(&Ledger::default()), |registry: &mut Registry| {
        registry.register::<PaySlowly>(|| PaySlowly)
    });
    world.services().script::<Pay>([Reply::Hang, Reply::NotSent]);
    let run = world.start::<PaySlowly>(input("")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let world = killed(world);
    tokio::time::sleep(Duration::from_secs(20)).await;
    let world = killed(world);
    assert_eq!(rested(&world, run).await, State::NeedsDecision);
    assert_eq!(world.services().arrivals_of::<Pay>(), 0);
}

workflow!(Race, |ctx, _input| {
    let second = Duration::from_secs(1);
    let (slow, fast) = (ctx.sleep("slow", 8 * second), ctx.sleep("fast", 6 * second));
    let text = match select(slow, fast).await {
        Either::Left(_) => "slow",
        Either::Right(_) => "fast",
    };
    Ok(Output { text: text.to_owned(), number: 0 })
});

#[tokio::test(start_paused = true)]
async fn times_that_come_while_nobody_holds_the_run_reach_code_one_by_one() {
    let world = World::new(services(&Ledger::default()), |registry: &mut Registry| registry.register::<Race>(|| Race));
    let run = world.start::<Race>(input("")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.probe().kill();
    tokio::time::sleep(Duration::from_secs(20)).await;
    let world = world.crash(Probe::counting());
    assert_eq!(world.result_of::<Race>(run).await.unwrap().text, "fast");
}

workflow!(Long, |ctx, _input| {
    ctx.sleep("long", Duration::from_secs(600)).await?;
    Ok(Output::default())
});

#[tokio::test(start_paused = true)]
async fn a_cancel_that_came_before_the_deadline_counts_although_nobody_held_the_run() {
    let world = World::new(services(&Ledger::default()), |registry: &mut Registry| registry.register::<Long>(|| Long));
    let start = Start {
        workflow: Long::NAME.to_owned(),
        input: input("").encode_to_vec().into(),
        asked: None,
        deadline: Some(Duration::from_secs(60)),
    };
    let run = world.engine().start(start).await.unwrap().id;
    tokio::time::sleep(Duration::from_secs(10)).await;
    world.probe().kill();
    let now = world.clock().now();
    let change = AuditedChange {
        action: "CancelRun",
        detail: String::new(),
        asked: Requester::new("test", "enough"),
        schedule: None,
    };
    world.store().command(Command { run, now, change, kind: CommandKind::Cancel }).await.unwrap();
    tokio::time::sleep(Duration::from_secs(100)).await;
    let world = world.crash(Probe::counting());
    assert_eq!(rested(&world, run).await, State::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_sleep_begun_and_ended_during_a_refused_append_keeps_its_own_number() {
    // Which point the cancel falls on is tried out: every millisecond of the run's first second.
    for at in 0..200 {
        let probe = Probe::slow(Duration::from_millis(60), None);
        let register = |registry: &mut Registry| registry.register::<Naps>(|| Naps);
        let limits = Limits { linger: Duration::from_secs(60), ..Limits::default() };
        let world = World::with(services(&Ledger::default()), register, limits, probe);
        let run = world.start::<Naps>(input("")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(at * 5)).await;
        let _ended_before = world.engine().cancel(run, Requester::new("test", "enough")).await;
        let state = rested(&world, run).await;
        assert!(matches!(state, State::Cancelled | State::Succeeded), "cancelled at {at}: {state}");
        let mut problems = Vec::new();
        journals::numbers_are_right(&journals::of(&world, run).await, &mut problems);
        assert!(problems.is_empty(), "cancelled at {at}: {problems:?}");
    }
}

workflow!(Naps, |ctx, _input| {
    let items = ctx.fan_out("item", [0_u64, 1, 2, 3], |ctx, item| async move {
        for nap in 0..6 {
            if (item + nap) % 2 == 0 {
                ctx.sleep("nap", Duration::from_millis(7)).await?;
            } else {
                ctx.call(Put { text: format!("{item}.{nap}"), number: 0 }).await?;
            }
        }
        Ok(())
    });
    items.key(u64::to_string).await.values()?;
    Ok(Output::default())
});

workflow!(Wide, |ctx, input| {
    let items: Vec<char> = input.text.chars().collect();
    let fanned = ctx.fan_out("item", items, |ctx, item| async move {
        ctx.call(Put { text: item.to_string().repeat(100), number: 0 }).await
    });
    fanned.key(char::to_string).await.values()?;
    ctx.sleep("long", Duration::from_secs(60)).await?;
    Ok(Output::default())
});

#[tokio::test(start_paused = true)]
async fn a_limit_that_was_lowered_fails_no_run_for_what_it_has_done_already() {
    let world = World::new(services(&Ledger::default()), |registry: &mut Registry| registry.register::<Wide>(|| Wide));
    let run = world.start::<Wide>(input("abcd")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.probe().kill();
    let limits = Limits { payload_bytes: 50, fan_out_width: 2, steps_per_run: 3, ..Limits::default() };
    let world = world.crash_and_limit(limits);
    assert_eq!(rested(&world, run).await, State::Succeeded, "{:?}", world.detail(run).await.row.status);
}

fn asked() -> Requester {
    Requester::new("test", "")
}

workflow!(PutAfterPut, |ctx, _input| {
    ctx.call(Put { text: "one".to_owned(), number: 0 }).await?;
    ctx.call(Put { text: "two".to_owned(), number: 0 }).await?;
    Ok(Output::default())
});

#[tokio::test(start_paused = true)]
async fn a_step_whose_start_was_refused_because_of_a_pause_is_not_started_after_it() {
    // Which point the pause falls on is tried out: every few milliseconds of the run.
    for at in 0..100 {
        let probe = Probe::slow(Duration::from_millis(60), None);
        let register = |registry: &mut Registry| registry.register::<PutAfterPut>(|| PutAfterPut);
        let world = World::with(services(&Ledger::default()), register, Limits::default(), probe);
        let run = world.start::<PutAfterPut>(input("")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(at * 5)).await;
        let Ok(paused) = world.engine().pause(run, false, asked()).await else { continue };
        tokio::time::sleep(Duration::from_secs(100)).await;
        let later = journals::of(&world, run).await.into_iter().filter(|fact| fact.number > paused.sequence);
        let started = later.filter(|fact| matches!(fact.kind, Kind::StepStarted(_) | Kind::AttemptStarted(_)));
        assert_eq!(started.count(), 0, "paused at {at}");
        // One that had nothing left to start has ended.
        let _paused = world.engine().resume(run, asked()).await;
        assert_eq!(rested(&world, run).await, State::Succeeded);
        assert_eq!(world.services().identities().values().map(|identity| identity.applied).sum::<usize>(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_paused_run_fails_when_its_deadline_passes() {
    let register = |registry: &mut Registry| registry.register::<Long>(|| Long);
    let world = World::new(services(&Ledger::default()), register);
    let start = Start {
        workflow: Long::NAME.to_owned(),
        input: input("").encode_to_vec().into(),
        asked: None,
        deadline: Some(Duration::from_secs(60)),
    };
    let run = world.engine().start(start).await.unwrap().id;
    world.engine().pause(run, false, asked()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(world.detail(run).await.row.status.state, State::Paused);
    // Its first word after the pause may be its last.
    let world = killed(world);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.detail(run).await.row.status.state, State::Failed);
}

#[tokio::test(start_paused = true)]
async fn a_paused_run_that_is_cancelled_with_an_effect_in_doubt_needs_a_decision() {
    let register = |registry: &mut Registry| registry.register::<ChargeOnce>(|| ChargeOnce);
    let world = World::new(services(&Ledger::default()), register);
    world.services().script::<Charge>([Reply::Hang]);
    let run = world.start::<ChargeOnce>(input("")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let world = killed(world);
    // Before the new replica has the run.
    world.engine().pause(run, true, asked()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(world.detail(run).await.row.status.state, State::Paused);
    world.engine().cancel(run, asked()).await.unwrap();
    assert_eq!(rested(&world, run).await, State::NeedsDecision);
}

workflow!(PayAndFail, |ctx, _input| {
    let pay = ctx.call(Pay::default()).retry(Retry::never()).undo(|key| Put { text: key.to_string(), number: 0 });
    let _lost = pay.await;
    ctx.sleep("long", 2 * HORIZON).await?;
    Err(Failure::new(Code::Aborted, "enough"))
});

#[tokio::test(start_paused = true)]
async fn a_step_that_is_asked_again_before_it_is_undone_is_so_after_a_crash_too() {
    for crash in [false, true] {
        let register = |registry: &mut Registry| registry.register::<PayAndFail>(|| PayAndFail);
        let world = World::new(services(&Ledger::default()), register);
        world.services().script::<Pay>([Reply::BreakFirst(Code::Unavailable)]);
        // By the time the run is to undo the step, its service has forgotten the key.
        let run = world.start::<PayAndFail>(input("")).await.unwrap();
        assert_eq!(rested(&world, run).await, State::NeedsDecision);
        let step = "Pay#0".to_owned();
        let decision = Decision { step, incarnation: 1, attempt: 1, verdict: Verdict::AskAgain };
        let world = if crash { killed(world) } else { world };
        world.engine().resolve(run, decision, asked()).await.unwrap();
        assert_eq!(rested(&world, run).await, State::Failed);
        assert_eq!(world.services().arrivals_of::<Pay>(), 1);
        assert_eq!(world.services().arrivals_of::<Put>(), 1, "{crash}");
    }
}

workflow!(PutBesideSlowPut, |ctx, _input| {
    let second = Duration::from_secs(1);
    let put = |text: &str| ctx.call(Put { text: text.to_owned(), number: 0 });
    let again = |text, n| put(text).retry(Retry::try_new(9, n * second, 1.0, n * second, 0.0).unwrap_or_default());
    ctx.all((put("slow"), again("soon", 1), again("later", 2))).await?;
    Ok(Output::default())
});

#[tokio::test(start_paused = true)]
async fn a_back_off_that_is_over_while_a_run_stops_begins_nothing() {
    let register = |registry: &mut Registry| registry.register::<PutBesideSlowPut>(|| PutBesideSlowPut);
    let world = World::new(services(&Ledger::default()), register);
    let lost = Reply::BreakFirst(Code::Unavailable);
    world.services().script::<Put>([Reply::Slow(Duration::from_secs(10)), lost.clone(), lost]);
    let run = world.start::<PutBesideSlowPut>(input("")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let paused = world.engine().pause(run, true, asked()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(world.detail(run).await.row.status.state, State::Paused);
    let later = journals::of(&world, run).await.into_iter().filter(|fact| fact.number > paused.sequence);
    assert_eq!(later.filter(|fact| matches!(fact.kind, Kind::AttemptStarted(_))).count(), 0);
    world.engine().resume(run, asked()).await.unwrap();
    assert_eq!(rested(&world, run).await, State::Succeeded);
}

workflow!(PutAndRefund, |ctx, _input| {
    let put = ctx.call(Put::default()).undo(|key| Refund { text: key.to_string(), number: 0 });
    put.undo_retry(Retry::never()).await?;
    Err(Failure::new(Code::Aborted, "enough"))
});

#[tokio::test(start_paused = true)]
async fn an_undo_that_is_made_again_is_decided_by_the_attempt_that_is_shown() {
    let register = |registry: &mut Registry| registry.register::<PutAndRefund>(|| PutAndRefund);
    let world = World::new(services(&Ledger::default()), register);
    world.services().script::<Refund>([Reply::Refuse(Code::Aborted), Reply::Hang]);
    let run = world.start::<PutAndRefund>(input("")).await.unwrap();
    assert_eq!(rested(&world, run).await, State::Blocked);
    world.engine().retry(run, asked()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let world = killed(world);
    assert_eq!(rested(&world, run).await, State::NeedsDecision);
    let undo = world.detail(run).await.steps.pop().unwrap();
    let verdict = Verdict::Happened(Answer::default().encode_to_vec().into());
    let (step, incarnation, attempt) = (undo.path(), undo.incarnation, undo.attempts);
    let decision = Decision { step, incarnation, attempt, verdict };
    world.engine().resolve(run, decision, asked()).await.unwrap();
    assert_eq!(rested(&world, run).await, State::Failed);
}
