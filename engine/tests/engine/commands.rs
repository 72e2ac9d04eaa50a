//! Commands are heard by the replica that holds the run, wherever it is and whatever is on its way (semantics.md S8).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::engine::EngineError;
use engine::store::{ListRuns, Requester, RunRow, Store as _};
use engine::testing::{Probe, Reply, World};
use engine::{Code, Context, Failure, Registry, SignalType, State, Workflow};
use prost::Message as _;
use uuid::Uuid;

use crate::common::{Answer, Cancel, Input, Look, Output, Put, services, until, workflow};

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

async fn state(world: &World, run: Uuid) -> State {
    row(world, run).await.status.state
}

/// Sleeps for a minute, and looks every second from then on; a signal ends it.
#[derive(Clone)]
struct Watchful;

impl Workflow for Watchful {
    const NAME: &'static str = "test.watchful";
    const SIGNALS: &'static [SignalType] = &[SignalType::of::<Answer>("stop")];
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, _: Input) -> Result<Output, Failure> {
        ctx.sleep("first", 60 * SECOND).await?;
        for turn in 0..1_000 {
            match ctx.race((ctx.signal::<Answer>("stop"), ctx.sleep("second", SECOND))).await? {
                engine::steps::race::First2::First(_) => return Ok(Output::of("stopped", turn)),
                engine::steps::race::First2::Second(()) => ctx.call(Look::of("look", turn)).await?,
            };
        }
        Ok(Output::of("never stopped", 1_000))
    }
}

/// A run that the store has claimed, and whose claim is on its way.
async fn claimed() -> (World, Uuid) {
    let world = World::new(services(), |registry: &mut Registry| registry.register(|| Watchful));
    let run = world.start::<Watchful>(Input::of("", 0)).await.unwrap();
    pass(30).await;
    assert_eq!(world.engine().in_flight(), 0);
    world.hold_claims();
    pass(31).await;
    assert!(row(&world, run).await.owned);
    assert_eq!(world.engine().in_flight(), 0, "its claim is on its way");
    (world, run)
}

#[tokio::test(start_paused = true)]
async fn a_cancel_that_is_acknowledged_while_a_claim_is_on_its_way_is_heard() {
    let (world, run) = claimed().await;
    world.engine().cancel(run, asked()).await.unwrap();
    world.let_claims_come();
    pass(1).await;
    assert_eq!(state(&world, run).await, State::Cancelled);
    assert_eq!(world.services().arrivals_of::<Look>(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_signal_that_is_acknowledged_while_a_claim_is_on_its_way_is_received() {
    let (world, run) = claimed().await;
    let stop = Answer::of("stop", 1).encode_to_vec().into();
    world.engine().signal(run, "stop", stop, asked()).await.unwrap();
    world.let_claims_come();
    assert_eq!(world.result_of::<Watchful>(run).await, Ok(Output::of("stopped", 0)));
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_is_acknowledged_while_a_claim_is_on_its_way_is_heard_and_so_is_its_end() {
    for resumed_meanwhile in [false, true] {
        let (world, run) = claimed().await;
        world.engine().pause(run, true, asked()).await.unwrap();
        if resumed_meanwhile {
            world.engine().resume(run, asked()).await.unwrap();
        }
        world.let_claims_come();
        pass(100).await;
        let row = row(&world, run).await;
        if resumed_meanwhile {
            assert!(row.paused.is_none() && row.status.state != State::Paused, "{:?}", row.status);
            assert!(world.services().arrivals_of::<Look>() > 90);
        } else {
            assert_eq!((row.status.state, world.services().arrivals_of::<Look>()), (State::Paused, 0));
            world.engine().resume(run, asked()).await.unwrap();
            pass(100).await;
            assert!(world.services().arrivals_of::<Look>() > 90);
        }
        world.engine().cancel(run, asked()).await.unwrap();
        assert_eq!(world.end_of(run).await.row.status.state, State::Cancelled);
    }
}

/// The same workflow, with another first step.
#[derive(Clone)]
struct Changed;

impl Workflow for Changed {
    const NAME: &'static str = "test.watchful";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, _: Input) -> Result<Output, Failure> {
        ctx.sleep("another", 60 * SECOND).await?;
        Ok(Output::of("changed", 0))
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_goes_before_what_stops_the_code_and_its_clock_stands() {
    let world = World::new(services(), |registry: &mut Registry| registry.register(|| Watchful));
    let run = world.start::<Watchful>(Input::of("", 0)).await.unwrap();
    pass(30).await;
    world.probe().kill();
    let world = world.crash_and_change(|registry: &mut Registry| registry.register(|| Changed));
    world.hold_claims();
    pass(31).await;
    assert!(row(&world, run).await.owned);
    world.engine().pause(run, true, asked()).await.unwrap();
    world.let_claims_come();
    // Longer than its deadline.
    pass(100 * 24 * 3_600).await;
    assert_eq!(state(&world, run).await, State::Paused);
    world.engine().resume(run, asked()).await.unwrap();
    pass(10).await;
    let status = row(&world, run).await.status;
    assert_eq!(status.state, State::Blocked);
    assert!(status.reason.starts_with("JOURNAL_MISMATCH"), "{}", status.reason);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_stopped_before_its_code_ran_for_the_first_time_begins_nothing() {
    for cancel in [true, false] {
        let world = World::new(services(), |registry: &mut Registry| {
            registry.register(|| Careless)?;
            registry.register(|| Leaf)
        });
        world.hold_claims();
        let parent = world.start::<Careless>(Input::of("", 0)).await.unwrap();
        pass(1).await;
        let rows = world.store().list(ListRuns { limit: 100, ..ListRuns::default() }).await.unwrap();
        let child = rows.iter().find(|row| row.parent == Some(parent)).unwrap().id;
        let engine = world.engine();
        let stopped =
            if cancel { engine.cancel(child, asked()).await } else { engine.pause(child, false, asked()).await };
        stopped.unwrap();
        world.let_claims_come();
        pass(10).await;
        let detail = world.detail(child).await;
        assert_eq!(detail.row.status.state, if cancel { State::Cancelled } else { State::Paused });
        assert_eq!(detail.steps, []);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_for_a_run_in_memory_waits_for_its_claim_or_ends_it_later() {
    let (world, run) = claimed().await;
    let engine = world.engine().clone();
    let ending = tokio::spawn(async move { engine.terminate(run, asked()).await });
    pass(0).await;
    world.let_claims_come();
    let ended = ending.await.unwrap().unwrap();
    assert_eq!(ended.status.state, State::Terminated);
    assert_eq!(world.services().arrivals_of::<Look>(), 0);
}

/// A call, and one more.
#[derive(Clone)]
struct Budgeted;

impl Workflow for Budgeted {
    const NAME: &'static str = "test.budgeted-commands";
    const DEADLINE: Duration = Duration::from_secs(3_600);
    const UNDO_BUDGET: Duration = Duration::from_secs(600);
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, _: Input) -> Result<Output, Failure> {
        ctx.sleep("nearly", 2_990 * SECOND).await?;
        ctx.call(Put::of("slow", 1)).await?;
        ctx.call(Put::of("after", 1)).await?;
        Ok(Output::of("done", 0))
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_stops_the_clock_stops_it_from_its_acknowledgement() {
    for stops_clock in [true, false] {
        let world = World::new(services(), |registry: &mut Registry| registry.register(|| Budgeted));
        world.services().script::<Put>([Reply::Slow(25 * SECOND)]);
        let run = world.start::<Budgeted>(Input::of("", 0)).await.unwrap();
        pass(2_995).await;
        world.engine().pause(run, stops_clock, asked()).await.unwrap();
        pass(100).await;
        let row = row(&world, run).await;
        if stops_clock {
            assert_eq!((row.status.state, row.status.error), (State::Paused, None));
            world.engine().resume(run, asked()).await.unwrap();
            assert_eq!(world.result_of::<Budgeted>(run).await, Ok(Output::of("done", 0)));
        } else {
            assert_eq!(row.status.state, State::Failed, "its clock continues, and so its deadline passes");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_pause_that_stops_the_clock_stops_it_from_its_acknowledgement() {
    for slow in [0, 25] {
        let world = World::new(services(), |registry: &mut Registry| registry.register(|| Budgeted));
        world.services().script::<Put>([Reply::Slow(slow * SECOND)]);
        let run = world.start::<Budgeted>(Input::of("", 0)).await.unwrap();
        // Asleep, or in memory with a call in flight.
        pass(if slow == 0 { 100 } else { 2_991 }).await;
        for stops_clock in [false, true, false] {
            world.engine().pause(run, stops_clock, asked()).await.unwrap();
            pass(1).await;
        }
        pass(10_000).await;
        assert_eq!(state(&world, run).await, State::Paused, "{slow}");
        world.engine().resume(run, asked()).await.unwrap();
        assert_eq!(world.result_of::<Budgeted>(run).await, Ok(Output::of("done", 0)), "{slow}");
    }
}

workflow!(Leaf, "test.commands-leaf", |ctx, input| {
    ctx.sleep("wait", Duration::from_secs(input.number.into())).await?;
    Ok(Output::of("leaf", 1))
});

workflow!(Careless, "test.commands-careless", |ctx, _input| {
    let _going = ctx.child::<Leaf>("going", Input::of("going", 50_000)).start();
    Ok(Output::of("done", 0))
});

#[tokio::test(start_paused = true)]
async fn a_cancel_of_a_run_that_waits_for_its_children_reaches_them() {
    for (waited, crash) in [(0, false), (0, true), (1_000, false), (1_000, true)] {
        let world = World::new(services(), |registry: &mut Registry| {
            registry.register(|| Careless)?;
            registry.register(|| Leaf)
        });
        let run = world.start::<Careless>(Input::of("", 0)).await.unwrap();
        until(&world, run, &[State::Ending]).await;
        pass(waited).await;
        let row = world.engine().cancel(run, asked()).await.unwrap();
        assert!(row.cancel_requested.is_some());
        let world = if crash {
            world.probe().kill();
            world.crash(Probe::counting())
        } else {
            world
        };
        pass(600).await;
        let rows = world.store().list(ListRuns { limit: 100, ..ListRuns::default() }).await.unwrap();
        assert_eq!(rows.len(), 2);
        for row in rows {
            // What the run itself had decided stands.
            let expected = if row.id == run { State::Succeeded } else { State::Cancelled };
            assert_eq!(row.status.state, expected, "{} after {waited} s, crash: {crash}", row.workflow);
        }
    }
}

workflow!(Poisoned, "test.poisoned", |ctx, input| {
    // What an answer makes known is in the journal, and needs no code any more.
    if input.text == "code" {
        ctx.call(Put::of("put", 1)).undo_with(|_, _| Cancel::of("put", 0)).await?;
    } else {
        ctx.call(Put::of("put", 1)).undo(|_| Cancel::of("put", 0)).await?;
    }
    panic!("no luck")
});

#[tokio::test(start_paused = true)]
async fn a_cancel_of_a_run_whose_code_did_harm_is_carried_out_with_its_undos() {
    for (text, crash) in [("data", false), ("data", true), ("code", false), ("code", true)] {
        let world = World::new(services(), |registry: &mut Registry| registry.register(|| Poisoned));
        let run = world.start::<Poisoned>(Input::of(text, 1)).await.unwrap();
        until(&world, run, &[State::Blocked]).await;
        world.engine().cancel(run, asked()).await.unwrap();
        let world = if crash {
            world.probe().kill();
            world.crash(Probe::counting())
        } else {
            world
        };
        let ended = world.end_of(run).await;
        assert_eq!(ended.row.status.state, State::Cancelled);
        assert_eq!(world.services().arrivals_of::<Cancel>(), 1, "{text}, crash: {crash}");
    }
}

workflow!(PoisonedUndo, "test.poisoned-undo", |ctx, input| {
    let undo = move |_, answer: Answer| -> Cancel {
        assert!(answer.number > 100 + input.number, "a mistake of its author");
        Cancel::of("put", 0)
    };
    ctx.call(Put::of("put", 1)).undo_with(undo).await?;
    Ok(Output::of("done", 0))
});

#[tokio::test(start_paused = true)]
async fn a_cancel_of_a_run_whose_undos_need_the_code_that_did_harm_says_so() {
    let world = World::new(services(), |registry: &mut Registry| registry.register(|| PoisonedUndo));
    let run = world.start::<PoisonedUndo>(Input::of("", 1)).await.unwrap();
    let reason = until(&world, run, &[State::Blocked]).await.row.status.reason;
    assert!(!reason.ends_with("its code is needed to undo its steps"), "{reason}");
    world.engine().cancel(run, asked()).await.unwrap();
    pass(600).await;
    let status = row(&world, run).await.status;
    assert_eq!((status.state, status.ending_as), (State::Blocked, Some(State::Cancelled)));
    assert!(status.reason.ends_with("its code is needed to undo its steps"), "{status:?}");
    assert_eq!(world.services().arrivals_of::<Cancel>(), 0);
}

workflow!(Single, "test.commands-single", |ctx, _input| {
    ctx.call(Put::of("put", 1)).await?;
    Ok(Output::of("done", 0))
});

#[tokio::test(start_paused = true)]
async fn a_run_that_waited_for_a_service_is_counted_until_it_is_stopped_or_ended_by_force() {
    for pauses in [false, true] {
        let world = World::new(services(), |registry: &mut Registry| registry.register(|| Single));
        world.services().take_down("gone");
        let run = world.start::<Single>(Input::of("", 0)).await.unwrap();
        pass(6).await;
        assert_eq!((world.engine().in_flight(), world.engine().away().len()), (0, 1));
        if pauses {
            world.engine().pause(run, false, asked()).await.unwrap();
        } else {
            world.engine().terminate(run, asked()).await.unwrap();
        }
        assert!(world.engine().away().is_empty(), "pauses: {pauses}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_run_hears_of_an_end_by_force_wherever_the_run_is() {
    for in_memory in [true, false] {
        let world = World::new(services(), |registry: &mut Registry| registry.register(|| Leaf));
        let run = world.start::<Leaf>(Input::of("", if in_memory { 4 } else { 10_000 })).await.unwrap();
        pass(1).await;
        assert_eq!(world.engine().in_flight(), usize::from(in_memory));
        let engine = world.engine().clone();
        let waiting = tokio::spawn(async move { engine.ended(run, 500 * SECOND).await });
        let mut watch = world.engine().watch(run).await.unwrap();
        pass(1).await;
        world.engine().terminate(run, asked()).await.unwrap();
        let ended = waiting.await.unwrap().unwrap().expect("it ended");
        assert_eq!(
            (ended.row.status.state, ended.failure.as_ref().unwrap().code()),
            (State::Terminated, Code::Aborted)
        );
        watch.changed().await;
        assert!(!watch.changed().await, "nothing more comes");
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_that_is_refused_changes_nothing() {
    let world = World::new(services(), |registry: &mut Registry| registry.register(|| Leaf));
    let run = world.start::<Leaf>(Input::of("", 1)).await.unwrap();
    world.end_of(run).await;
    let before = row(&world, run).await;
    let engine = world.engine();
    let answers = [
        engine.cancel(run, asked()).await,
        engine.pause(run, true, asked()).await,
        engine.resume(run, asked()).await,
        engine.terminate(run, asked()).await,
        engine.retry(run, asked()).await,
        engine.skip_back_off(run, None, asked()).await,
    ];
    for answer in answers {
        assert!(matches!(answer, Err(EngineError::Precondition { .. })), "{answer:?}");
    }
    assert_eq!(row(&world, run).await, before);
}

/// Has a child in one item and panics in another; once it is mended, it makes one item after the other.
#[derive(Clone)]
struct Mended(Arc<AtomicBool>);

impl Workflow for Mended {
    const NAME: &'static str = "test.commands-mended";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, _: Input) -> Result<Output, Failure> {
        let mended = self.0.load(Ordering::SeqCst);
        let items = ctx.fan_out("item", ["put", "child"], move |ctx, item| async move {
            if item == "child" {
                return ctx.child::<Leaf>("child", Input::of("", 50_000)).await;
            }
            ctx.call(Put::of("put", 1)).await?;
            assert!(mended, "no luck");
            ctx.call(Look::of("look", 1)).await?;
            Ok(Output::of("put", 1))
        });
        items.key(|item| (*item).to_owned()).limit(if mended { 1 } else { 2 }).await;
        Ok(Output::of("done", 0))
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_by_force_reaches_children_that_code_has_not_come_to_again_since_a_retry() {
    for crash in [false, true] {
        let mended = Arc::new(AtomicBool::new(false));
        let shared = Arc::clone(&mended);
        let world = World::new(services(), move |registry: &mut Registry| {
            let shared = Arc::clone(&shared);
            registry.register(move || Mended(Arc::clone(&shared)))?;
            registry.register(|| Leaf)
        });
        let run = world.start::<Mended>(Input::of("", 0)).await.unwrap();
        until(&world, run, &[State::Blocked]).await;
        mended.store(true, Ordering::SeqCst);
        world.services().script::<Look>([Reply::Slow(20 * SECOND)]);
        world.engine().retry_from(run, "item[put]/Put#0", asked()).await.unwrap();
        pass(5).await;
        let state = state(&world, run).await;
        assert_eq!((state, world.engine().in_flight()), (State::Running, 1), "\n{}", world.journal(run).await);
        let world = if crash {
            world.probe().kill();
            world.crash(Probe::counting())
        } else {
            world
        };
        world.engine().terminate(run, asked()).await.unwrap();
        pass(600).await;
        let rows = world.store().list(ListRuns { limit: 100, ..ListRuns::default() }).await.unwrap();
        let states: Vec<_> = rows.iter().map(|row| row.status.state).collect();
        assert_eq!(states, [State::Cancelled, State::Terminated], "crash: {crash}");
    }
}
