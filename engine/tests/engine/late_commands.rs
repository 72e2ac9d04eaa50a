//! Commands that meet what the replica or the store no longer knows rightly of a run (semantics.md S8).

use std::time::Duration;

use engine::store::{ClaimRuns, Requester, RunRow, Store as _};
use engine::testing::{Probe, Reply, World};
use engine::{Code, Context, Failure, Limits, Registry, Retry, SignalType, State, Workflow};
use uuid::Uuid;

use crate::common::{Answer, Charge, Input, Output, Put, services};

const SECOND: Duration = Duration::from_secs(1);

fn asked() -> Requester {
    Requester::new("ann", "because")
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

async fn row(world: &World, run: Uuid) -> RunRow {
    world.store().run(run).await.unwrap().unwrap()
}

/// Waits for a note for an hour, and puts.
#[derive(Clone)]
struct Noted;

impl Workflow for Noted {
    const NAME: &'static str = "test.noted";
    const SIGNALS: &'static [SignalType] = &[SignalType::of::<Answer>("note")];
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, _: Input) -> Result<Output, Failure> {
        let note: Option<Answer> = ctx.signal("note").within(3_600 * SECOND).await?;
        ctx.call(Put::of("put", 1)).await?;
        Ok(Output::of(note.map(|note| note.text).unwrap_or_default(), 0))
    }
}

/// A run in memory that the store has given back and claimed again, as after an answer that did not come; the claim is on its
/// way.
async fn outdated() -> (World, Uuid) {
    let limits = Limits { linger: 7_200 * SECOND, ..Limits::default() };
    let register = |registry: &mut Registry| registry.register(|| Noted);
    let world = World::with(services(), register, limits, Probe::counting());
    let run = world.start::<Noted>(Input::of("", 0)).await.unwrap();
    pass(10).await;
    let epoch = row(&world, run).await.epoch;
    let workflows = vec![(Noted::NAME.to_owned(), 1)];
    let now = world.clock().now();
    world.store().claim(ClaimRuns { workflows, now, limit: 0, held: Some(Vec::new()) }).await.unwrap();
    world.hold_claims();
    pass(61).await;
    assert_eq!((world.engine().in_flight(), row(&world, run).await.epoch), (1, epoch + 1), "it is there twice");
    (world, run)
}

#[tokio::test(start_paused = true)]
async fn a_command_to_a_run_whose_copy_in_memory_is_outdated_is_heard_by_the_one_that_replaces_it() {
    for command in ["none", "cancel", "pause", "signal", "terminate"] {
        let (world, run) = outdated().await;
        let engine = world.engine().clone();
        let giving = tokio::spawn(async move {
            match command {
                "cancel" => drop(engine.cancel(run, asked()).await.unwrap()),
                "pause" => drop(engine.pause(run, false, asked()).await.unwrap()),
                "terminate" => drop(engine.terminate(run, asked()).await.unwrap()),
                _ => {}
            }
        });
        if command == "signal" {
            world.signal(run, "note", &Answer::of("hello", 0), None).await.unwrap();
        }
        pass(0).await;
        world.let_claims_come();
        giving.await.unwrap();
        pass(10).await;
        let state = row(&world, run).await.status.state;
        let expected = match command {
            "cancel" => State::Cancelled,
            "pause" => State::Paused,
            "signal" => State::Succeeded,
            "terminate" => State::Terminated,
            _ => State::Waiting,
        };
        assert_eq!(state, expected, "{command}\n{}", world.journal(run).await);
        assert_eq!(world.services().arrivals_of::<Put>(), usize::from(command == "signal"), "{command}");
        if command == "none" {
            world.signal(run, "note", &Answer::of("late", 0), None).await.unwrap();
            assert_eq!(world.result_of::<Noted>(run).await, Ok(Output::of("late", 0)));
        }
    }
}

/// A step in doubt, one in flight, and in a branch a wait for a signal that begins while the run is in memory.
#[derive(Clone)]
struct Branched;

impl Workflow for Branched {
    const NAME: &'static str = "test.branched-waits";
    const SIGNALS: &'static [SignalType] = &[SignalType::of::<Answer>("right")];
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, _: Input) -> Result<Output, Failure> {
        let wait = ctx.branch("wait", |ctx| async move {
            ctx.sleep("three", 3 * SECOND).await?;
            let answer = ctx.signal::<Answer>("right").await?;
            ctx.call(Put::of("received", answer.number)).await
        });
        ctx.all((ctx.call(Charge::of("charge", 1)), wait, ctx.sleep("seven", 7 * SECOND))).await?;
        Ok(Output::of("", 0))
    }
}

#[tokio::test(start_paused = true)]
async fn a_signal_is_received_soon_although_the_stored_list_of_waits_is_older_than_the_wait() {
    let world = World::new(services(), |registry: &mut Registry| registry.register(|| Branched));
    world.services().script::<Charge>([Reply::ActAndBreak(Code::Unavailable)]);
    let run = world.start::<Branched>(Input::of("", 0)).await.unwrap();
    pass(4).await;
    assert_eq!(row(&world, run).await.status.state, State::NeedsDecision);
    world.probe().kill();
    let world = world.crash(Probe::counting());
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.signal(run, "right", &Answer::of("right", 1), None).await.unwrap();
    pass(6).await;
    assert_eq!(world.services().arrivals_of::<Put>(), 1);
}

/// Puts one thing that backs off for an hour, and another one whose answer does not come.
#[derive(Clone)]
struct Stuck;

impl Workflow for Stuck {
    const NAME: &'static str = "test.stuck";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, _: Input) -> Result<Output, Failure> {
        let hourly = Retry::try_new(9, 3_600 * SECOND, 1.0, 3_600 * SECOND, 0.0).unwrap_or_default();
        ctx.all((ctx.call(Put::of("one", 1)).retry(hourly), ctx.call(Put::of("two", 2)))).await?;
        Ok(Output::of("done", 0))
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_whose_run_was_lost_before_it_stopped_is_not_ended_by_one_who_hurries_it() {
    let register = |registry: &mut Registry| registry.register(|| Stuck);
    let world = World::new(services(), register);
    world.services().script::<Put>([Reply::ActAndBreak(Code::Unavailable), Reply::Hang]);
    let run = world.start::<Stuck>(Input::of("", 0)).await.unwrap();
    pass(1).await;
    world.engine().pause(run, false, asked()).await.unwrap();
    world.probe().kill();
    // The next replica does not know the workflow, so it does not take the run up.
    let world = world.crash_and_change(|_: &mut Registry| Ok(()));
    let lost = row(&world, run).await;
    assert!(lost.paused.is_some() && !lost.owned && lost.status.state != State::Paused, "{lost:?}");

    let hurried = world.engine().skip_back_off(run, Some(String::from("Put#0")), asked()).await.unwrap_err();
    assert!(hurried.to_string().contains("it is paused; resume it"), "{hurried}");
    world.probe().kill();
    let world = world.crash_and_change(register);
    pass(10_000).await;
    let paused = row(&world, run).await;
    assert_eq!((paused.status.state, paused.paused.is_some()), (State::Paused, true));
    let arrivals = world.services().arrivals();
    assert!(arrivals.iter().all(|arrival| arrival.attempt == 1), "{arrivals:?}");
}
