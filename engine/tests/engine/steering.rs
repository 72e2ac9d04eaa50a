//! Pause and resume, hurry, end by force, pin and delete.

use std::time::Duration;

use engine::engine::EngineError;
use engine::store::{ListAudit, RequestKey, Requester, Store as _};
use engine::testing::{Probe, Reply, World};
use engine::view::StepState;
use engine::{Code, Context, Failure, Registry, Retry, State, Workflow};
use uuid::Uuid;

use crate::common::{Cancel, Charge, Input, Output, Put, services, until};

/// A put with an undo, a wait, and a charge.
#[derive(Clone)]
struct Slow;

impl Workflow for Slow {
    const NAME: &'static str = "test.slow";
    const DEADLINE: Duration = Duration::from_secs(3_600);
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, input: Input) -> Result<Output, Failure> {
        let hour = Duration::from_secs(3_000);
        let late = Retry::try_new(5, hour, 1.0, hour, 0.0).unwrap_or_default();
        let put = ctx.call(Put::of("put", 1)).retry(late).undo(|_| Cancel::of("put", 0)).await?;
        if input.text == "sleep" {
            ctx.sleep("nap", Duration::from_secs(600)).await?;
        }
        let paid = ctx.call(Charge::of("pay", put.number)).await?;
        Ok(Output::of("done", paid.number))
    }
}

fn world() -> World {
    World::new(services(), |registry: &mut Registry| registry.register(|| Slow))
}

fn asked() -> Requester {
    Requester::new("ann", "because")
}

async fn started(world: &World, text: &str) -> Uuid {
    world.start::<Slow>(Input::of(text, 1)).await.unwrap()
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

async fn state(world: &World, run: Uuid) -> State {
    world.detail(run).await.row.status.state
}

#[tokio::test(start_paused = true)]
async fn a_paused_run_does_nothing_until_it_is_resumed() {
    for crash in [false, true] {
        let world = world();
        let run = started(&world, "sleep").await;
        until(&world, run, &[State::Waiting]).await;
        let row = world.engine().pause(run, false, asked()).await.unwrap();
        assert_eq!(row.status.state, State::Paused);
        assert_eq!(row.paused.map(|paused| paused.reason).as_deref(), Some("because"));
        let world = if crash { world.crash(Probe::counting()) } else { world };
        pass(1_200).await;
        assert_eq!((state(&world, run).await, world.services().arrivals_of::<Charge>()), (State::Paused, 0));
        world.engine().resume(run, asked()).await.unwrap();
        assert_eq!(world.result_of::<Slow>(run).await, Ok(Output::of("done", 3)));
        assert_eq!(world.services().arrivals_of::<Put>(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_settles_before_a_run_is_paused_and_nothing_new_starts() {
    for crash in [false, true] {
        let world = world();
        world.services().script::<Put>([Reply::Slow(Duration::from_secs(10))]);
        let run = started(&world, "").await;
        pass(1).await;
        let row = world.engine().pause(run, false, asked()).await.unwrap();
        assert_eq!(row.status.state, State::Running);
        let world = if crash { world.crash(Probe::counting()) } else { world };
        let detail = until(&world, run, &[State::Paused]).await;
        assert_eq!(detail.steps[0].state, if crash { StepState::InFlight } else { StepState::Succeeded });
        pass(100).await;
        assert_eq!(world.services().arrivals_of::<Charge>(), 0);
        world.engine().resume(run, asked()).await.unwrap();
        assert_eq!(world.result_of::<Slow>(run).await, Ok(Output::of("done", 3)));
        assert_eq!(world.services().effects_of::<Put>(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_is_over_before_the_run_has_stopped_loses_nothing() {
    let world = world();
    world.services().script::<Put>([Reply::Slow(Duration::from_secs(10))]);
    let run = started(&world, "").await;
    pass(1).await;
    world.engine().pause(run, false, asked()).await.unwrap();
    pass(1).await;
    world.engine().resume(run, asked()).await.unwrap();
    assert_eq!(world.result_of::<Slow>(run).await, Ok(Output::of("done", 3)));
    assert_eq!((world.services().arrivals_of::<Put>(), world.services().arrivals_of::<Charge>()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_goes_on_during_a_pause_unless_its_clock_is_stopped() {
    for stops in [false, true] {
        let world = world();
        let run = started(&world, "sleep").await;
        until(&world, run, &[State::Waiting]).await;
        let before = world.detail(run).await.row.deadline;
        world.engine().pause(run, stops, asked()).await.unwrap();
        pass(5_000).await;
        if stops {
            assert_eq!(state(&world, run).await, State::Paused);
            let row = world.engine().resume(run, asked()).await.unwrap();
            assert_eq!(row.deadline.since(before).as_secs(), 5_000);
            assert!(world.result_of::<Slow>(run).await.is_ok());
        } else {
            let failure = world.result_of::<Slow>(run).await.unwrap_err();
            assert_eq!(failure.code(), Code::DeadlineExceeded);
            assert_eq!(world.services().arrivals_of::<Cancel>(), 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_paused_run_can_be_cancelled() {
    let world = world();
    let run = started(&world, "sleep").await;
    until(&world, run, &[State::Waiting]).await;
    world.engine().pause(run, true, asked()).await.unwrap();
    world.engine().cancel(run, asked()).await.unwrap();
    assert_eq!(world.end_of(run).await.row.status.state, State::Cancelled);
    assert_eq!(world.services().arrivals_of::<Cancel>(), 1);
}

#[tokio::test(start_paused = true)]
async fn only_what_goes_on_is_paused_and_only_what_is_paused_is_resumed() {
    let world = world();
    let run = started(&world, "").await;
    let early = world.engine().resume(run, asked()).await.unwrap_err();
    assert!(matches!(early, EngineError::Precondition { .. }), "{early}");
    world.end_of(run).await;
    let late = world.engine().pause(run, false, asked()).await.unwrap_err();
    assert!(matches!(late, EngineError::Precondition { state: State::Succeeded, .. }), "{late}");
}

#[tokio::test(start_paused = true)]
async fn a_step_in_back_off_is_tried_at_once_where_an_operator_says_so() {
    for crash in [false, true] {
        let world = world();
        world.services().script::<Put>([Reply::NotSent]);
        let run = started(&world, "").await;
        pass(60).await;
        assert_eq!(state(&world, run).await, State::BackingOff);
        let world = if crash { world.crash(Probe::counting()) } else { world };
        let none = world.engine().skip_back_off(run, Some("Charge#1".to_owned()), asked()).await.unwrap_err();
        assert!(matches!(none, EngineError::Precondition { .. }), "{none}");
        let begun = tokio::time::Instant::now();
        world.engine().skip_back_off(run, None, asked()).await.unwrap();
        assert!(world.result_of::<Slow>(run).await.is_ok());
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        let none = world.engine().skip_back_off(run, None, asked()).await.unwrap_err();
        assert!(matches!(none, EngineError::Precondition { .. }), "{none}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_back_off_in_memory_is_skipped_too() {
    #[derive(Clone)]
    struct Soon;
    impl Workflow for Soon {
        const NAME: &'static str = "test.soon";
        type Input = Input;
        type Output = Output;

        async fn run(&self, ctx: &Context, _: Input) -> Result<Output, Failure> {
            let span = Duration::from_secs(4);
            let retry = Retry::try_new(3, span, 1.0, span, 0.0).unwrap_or_default();
            let answer = ctx.call(Put::of("put", 1)).retry(retry).await?;
            Ok(Output::of("done", answer.number))
        }
    }
    let world = World::new(services(), |registry: &mut Registry| registry.register(|| Soon));
    world.services().script::<Put>([Reply::NotSent]);
    let run = world.start::<Soon>(Input::of("", 0)).await.unwrap();
    pass(1).await;
    assert_eq!(world.engine().in_flight(), 1);
    let begun = tokio::time::Instant::now();
    world.engine().skip_back_off(run, Some("Put#0".to_owned()), asked()).await.unwrap();
    assert!(world.result_of::<Soon>(run).await.is_ok());
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_run_ended_by_force_undoes_nothing_and_says_what_is_uncertain() {
    for crash in [false, true] {
        let world = world();
        world.services().script::<Charge>([Reply::Slow(Duration::from_secs(20))]);
        let run = started(&world, "").await;
        pass(1).await;
        // In memory the call is in flight; after a crash it is in doubt.
        let world = if crash { world.crash(Probe::counting()) } else { world };
        if crash {
            until(&world, run, &[State::NeedsDecision]).await;
        }
        let row = world.engine().terminate(run, asked()).await.unwrap();
        assert_eq!(row.status.state, State::Terminated);
        assert_eq!(world.end_of(run).await.row.status.state, State::Terminated);
        let detail = world.detail(run).await;
        assert_eq!((detail.uncertain, detail.to_undo), (vec!["Charge#1".to_owned()], vec!["Put#0".to_owned()]));
        pass(100).await;
        assert_eq!(world.services().arrivals_of::<Cancel>(), 0);
        let again = world.engine().terminate(run, asked()).await.unwrap_err();
        assert!(matches!(again, EngineError::Precondition { state: State::Terminated, .. }), "{again}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_run_that_has_ended_is_deleted_and_its_audit_trail_stays() {
    let world = world();
    let run = started(&world, "sleep").await;
    until(&world, run, &[State::Waiting]).await;
    let early = world.engine().delete(run, asked()).await.unwrap_err();
    assert!(matches!(early, EngineError::Precondition { state: State::Waiting, .. }), "{early}");
    world.engine().cancel(run, asked()).await.unwrap();
    world.end_of(run).await;
    let key = RequestKey { id: Uuid::from_u128(5), hash: [0; 32] };
    for _ in 0..2 {
        let asked = Requester { request: Some(key.clone()), ..asked() };
        world.engine().delete(run, asked).await.unwrap();
    }
    assert_eq!(world.store().run(run).await, Ok(None));
    assert!(world.store().journal(run, 0, 10).await.unwrap().is_empty());
    let gone = world.engine().delete(run, asked()).await.unwrap_err();
    assert!(matches!(gone, EngineError::NotFound(_)), "{gone}");
    let entries = world.store().audit(ListAudit::of_run(run, 10)).await.unwrap();
    let actions: Vec<_> = entries.iter().map(|entry| (entry.action.as_str(), entry.workflow.as_str())).collect();
    assert_eq!(actions, [("DeleteRun", "test.slow"), ("CancelRun", "test.slow")]);
}

#[tokio::test(start_paused = true)]
async fn pauses_and_kills_at_any_point_come_to_the_same_end() {
    let whole = world();
    let run = started(&whole, "").await;
    whole.end_of(run).await;
    let points = whole.probe().points().len();
    for point in 0..points {
        for at in [0, 1, 40] {
            let world = World::with(
                services(),
                |registry: &mut Registry| registry.register(|| Slow),
                engine::Limits::default(),
                Probe::slow(Duration::from_millis(20), Some(point)),
            );
            let probe = world.probe().clone();
            let request = Some(Uuid::from_u128(3));
            tokio::select! {
                () = probe.death() => {}
                () = async {
                    let run = world.start_once::<Slow>(Input::of("", 1), request).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(at)).await;
                    let _late = world.engine().pause(run, true, asked()).await;
                    tokio::time::sleep(Duration::from_millis(at)).await;
                    let _late = world.engine().resume(run, asked()).await;
                    world.end_of(run).await;
                } => {}
            }
            let world = world.crash(Probe::counting());
            let run = world.start_once::<Slow>(Input::of("", 1), request).await.unwrap();
            let rested = [State::Paused, State::NeedsDecision, State::Succeeded];
            if until(&world, run, &rested).await.row.status.state == State::Paused {
                world.engine().resume(run, asked()).await.unwrap();
            }
            until(&world, run, &rested[1..]).await;
            assert!(world.services().arrivals_of::<Charge>() <= 1, "charged twice, killed at {point}, paused at {at}");
            assert_eq!(world.services().effects_of::<Put>(), 1, "killed at {point}, paused at {at}");
        }
    }
}

/// Waits for a child that sleeps, or for its end.
#[derive(Clone)]
struct Above;

impl Workflow for Above {
    const NAME: &'static str = "test.above";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, _: Input) -> Result<Output, Failure> {
        ctx.child::<Slow>("below", Input::of("sleep", 1)).await
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_by_force_reaches_parents_and_children() {
    let related_runs = || {
        World::new(services(), |registry: &mut Registry| {
            registry.register(|| Slow)?;
            registry.register(|| Above)
        })
    };
    for end_the_child in [false, true] {
        let world = related_runs();
        let parent = world.start::<Above>(Input::of("", 1)).await.unwrap();
        pass(60).await;
        let runs = world.store().list(engine::store::ListRuns { limit: 9, ..Default::default() }).await.unwrap();
        let child = runs.iter().find(|row| row.parent == Some(parent)).unwrap().id;
        if end_the_child {
            world.engine().terminate(child, asked()).await.unwrap();
            let failure = world.result_of::<Above>(parent).await.unwrap_err();
            assert_eq!(failure.code(), Code::Aborted);
        } else {
            world.engine().terminate(parent, asked()).await.unwrap();
            assert_eq!(world.end_of(child).await.row.status.state, State::Cancelled);
            assert_eq!(world.services().arrivals_of::<Cancel>(), 1, "the child takes back what it did");
        }
    }
}
