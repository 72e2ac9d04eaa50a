//! What `engine::testing` gives to those who test workflows.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use engine::testing::{Probe, Reply, World, check, crash_everywhere, expect, replay_everywhere};
use engine::{Code, Context, Failure, Limits, Registry, SignalType, Workflow};

use crate::common::{Answer, Cancel, Charge, Input, Look, Output, Put, services, workflow};

struct Everything;

impl Workflow for Everything {
    const NAME: &'static str = "test.everything";
    const DEADLINE: Duration = Duration::from_secs(7 * 24 * 3_600);
    const SIGNALS: &'static [SignalType] = &[SignalType::of::<Answer>("paid")];
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, input: Input) -> Result<Output, Failure> {
        let _now = ctx.now();
        let look = ctx.call(Look::of("look", input.number)).await?;
        ctx.call(Put::of("put", look.number)).undo(|_| Cancel::of("put", 0)).await?;
        ctx.fan_out("item", ["a", "b", "a"], |ctx, item| async move { ctx.call(Look::of(item, 0)).await })
            .key(|item| (*item).to_owned())
            .await;
        ctx.sleep("cool-off", Duration::from_secs(3 * 24 * 3_600)).await?;
        let paid: Option<Answer> = ctx.signal("paid").within(Duration::from_secs(90)).await?;
        ctx.call(Charge::of("charge", paid.map_or(0, |paid| paid.number))).await?;
        Ok(Output::default())
    }
}

#[tokio::test(start_paused = true)]
async fn a_journal_reads_as_what_happened() {
    let world = World::new(services(), |registry| registry.register(|| Everything));
    world.services().script::<Look>([Reply::NotSent]);
    world.services().script::<Put>([Reply::BreakFirst(Code::Unavailable)]);
    world.services().script::<Charge>([Reply::Refuse(Code::FailedPrecondition)]);
    let run = world.start::<Everything>(Input::default()).await.unwrap();
    world.end_of(run).await;
    check(
        &world.journal(run).await,
        &expect![[r#"
        created test.everything
        now#0 recorded
        Look#1 attempt 1 NOT_SENT, UNAVAILABLE: scripted: not sent; again
        Look#1 done, attempt 2
        Put#2 started IDEMPOTENT, undone by Cancel
        Put#2 attempt 1 AMBIGUOUS, UNAVAILABLE: scripted: answer lost; again
        Put#2 attempt 2
        Put#2 done, attempt 2
        item#3 fans out over 3, 1 of them duplicates
        item[a]/Look#0 done
        item[b]/Look#0 done
        cool-off#4 sleeps for 72h
        cool-off#4 woke
        paid#5 awaits test.Answer for 1m 30s
        paid#5 expired
        Charge#6 started UNKNOWN
        Charge#6 failed REFUSED, FAILED_PRECONDITION: scripted: refused
        ending as FAILED: FAILED_PRECONDITION: scripted: refused
        ~undo/Cancel#2 started IDEMPOTENT, takes back Put#2
        ~undo/Cancel#2 done
        ended FAILED: FAILED_PRECONDITION: scripted: refused
    "#]],
    );
}

workflow!(Unsure, "test.unsure", |ctx, input| {
    ctx.call(Charge::of("charge", input.number)).await?;
    Ok(Output::default())
});

#[tokio::test(start_paused = true)]
async fn a_call_in_doubt_reads_as_one() {
    let world = World::new(services(), |registry| registry.register(|| Unsure));
    world.services().script::<Charge>([Reply::ActAndBreak(Code::Unavailable)]);
    let run = world.start::<Unsure>(Input::default()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    check(
        &world.journal(run).await,
        &expect![[r#"
        created test.unsure
        Charge#0 started UNKNOWN
        Charge#0 attempt 1 AMBIGUOUS, UNAVAILABLE: scripted: answer lost; needs a decision
    "#]],
    );
}

#[tokio::test(start_paused = true)]
async fn a_sweep_says_in_a_sentence_that_a_call_states_no_level() {
    let world = |probe| World::with(services(), |registry| registry.register(|| Unsure), Limits::default(), probe);
    let sweep = crash_everywhere::<Unsure>(world, Input::default()).await;
    let told = std::panic::catch_unwind(AssertUnwindSafe(|| sweep.holds().is_ok())).unwrap_err();
    let told = told.downcast_ref::<String>().unwrap();
    let first = told.lines().nth(1).unwrap().trim();
    assert_eq!(first, "Charge#0 states no level, so a lost answer asks for a decision", "{told}");
    assert_eq!(told.lines().count(), 3, "it is told once: {told}");
}

fn everything(probe: Probe) -> World {
    World::with(services(), |registry| registry.register(|| Everything), Limits::default(), probe)
}

#[tokio::test(start_paused = true)]
async fn a_run_that_loses_its_memory_after_every_step_comes_to_the_same_end() {
    let sweep = replay_everywhere::<Everything>(everything, Input::default()).await;
    assert_eq!(sweep.holds(), &Ok(Output::default()));
    assert_eq!(sweep.points.len(), 5, "once for each call");
}

/// Does something else whenever it is run again.
struct Fickle(Arc<AtomicU32>);

impl Workflow for Fickle {
    const NAME: &'static str = "test.fickle";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, _: Input) -> Result<Output, Failure> {
        let times = self.0.fetch_add(1, Ordering::Relaxed);
        ctx.call(Look::of("look", 0)).await?;
        ctx.call(Put::of("put", times)).await?;
        ctx.call(Look::of("look", 0)).await?;
        Ok(Output::default())
    }
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "the run stays BLOCKED: JOURNAL_MISMATCH: the journal has Put#1")]
async fn code_that_does_otherwise_on_a_replay_is_told() {
    let fickle = |probe| {
        let times = Arc::new(AtomicU32::new(0));
        let register = move |registry: &mut Registry| {
            let times = Arc::clone(&times);
            registry.register(move || Fickle(Arc::clone(&times)))
        };
        World::with(services(), register, Limits::default(), probe)
    };
    replay_everywhere::<Fickle>(fickle, Input::default()).await.holds();
}

#[tokio::test(start_paused = true)]
async fn a_run_goes_on_as_if_its_replica_had_crashed_after_a_step() {
    let world = everything(Probe::counting());
    let (world, run) = world.start_as_if_crashed_after::<Everything>(Input::default(), "Look#1").await;
    check(
        &world.journal(run).await,
        &expect![[r#"
        created test.everything
        now#0 recorded
        Look#1 done
    "#]],
    );
    assert_eq!(world.services().arrivals_of::<Put>(), 0);
    assert_eq!(world.result_of::<Everything>(run).await, Ok(Output::default()));
    assert_eq!(world.services().arrivals_of::<Put>(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_run_may_crash_after_any_of_its_steps() {
    let whole = everything(Probe::counting());
    let run = whole.start::<Everything>(Input::default()).await.unwrap();
    whole.end_of(run).await;
    let journal = whole.journal(run).await;
    let steps =
        ["now#0", "Look#1", "Put#2", "item#3", "item[a]/Look#0", "item[b]/Look#0", "cool-off#4", "paid#5", "Charge#6"];
    for step in steps {
        let world = everything(Probe::counting());
        let (world, run) = world.start_as_if_crashed_after::<Everything>(Input::default(), step).await;
        assert_eq!(world.result_of::<Everything>(run).await, Ok(Output::default()), "after {step}");
        assert_eq!(world.journal(run).await, journal, "after {step}");
    }
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "no step Put#7")]
async fn a_step_that_a_run_does_not_have_is_told_with_its_journal() {
    let world = everything(Probe::counting());
    let _crashed = world.start_as_if_crashed_after::<Everything>(Input::default(), "Put#7").await;
}

workflow!(Pair, "test.pair", |ctx, _input| {
    ctx.all((ctx.call(Put::of("a", 0)), ctx.call(Put::of("b", 0)))).await?;
    Ok(Output::default())
});

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_after_an_answer_leaves_the_other_calls_in_doubt() {
    let world = World::new(services(), |registry| registry.register(|| Pair));
    world.services().script::<Put>([Reply::Hang, Reply::AnswerAndBreak]);
    let run = world.start::<Pair>(Input::default()).await.unwrap();
    world.end_of(run).await;
    check(
        &world.journal(run).await,
        &expect![[r#"
        created test.pair
        Put#0 started IDEMPOTENT
        Put#1 started IDEMPOTENT
        Put#1 done
        Put#0 attempt 1 AMBIGUOUS, UNAVAILABLE: scripted: answer lost; again
        Put#0 attempt 2
        Put#0 done, attempt 2
        ended SUCCEEDED
    "#]],
    );
}
