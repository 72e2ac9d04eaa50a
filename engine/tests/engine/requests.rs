//! One request id, one change, one answer (D4): the same request twice, at the same moment, later, and in another process.

use std::time::Duration;

use engine::decision::{Decision, Verdict};
use engine::engine::{Engine, EngineError, Start};
use engine::store::{ListAudit, RequestKey, Requester, Store as _};
use engine::testing::{Probe, Reply, World};
use engine::{Context, Failure, Registry, Retry, SignalType, State, Workflow};
use prost::Message as _;
use uuid::Uuid;

use crate::common::{Answer, Charge, Input, Output, Put, services, until};

/// A put, a message that may come within 20 s, and a charge.
#[derive(Clone)]
struct Steered;

impl Workflow for Steered {
    const NAME: &'static str = "test.steered";
    const SIGNALS: &'static [SignalType] = &[SignalType::of::<Input>("note")];
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, _input: Input) -> Result<Output, Failure> {
        let minute = Duration::from_secs(60);
        let late = Retry::try_new(5, minute, 1.0, minute, 0.0).unwrap_or_default();
        ctx.call(Put::of("put", 1)).retry(late).await?;
        let note: Option<Input> = ctx.signal("note").within(Duration::from_secs(20)).await?;
        let paid = ctx.call(Charge::of("pay", 1)).retry(Retry::never()).await?;
        Ok(Output::of(note.map(|note| note.text).unwrap_or_default(), paid.number))
    }
}

/// The state in which the request comes, and how the run gets there.
#[derive(Clone, Copy, Debug)]
enum At {
    InFlight,
    BackingOff,
    Waiting,
    Paused,
    NeedsDecision,
    Failed,
    Ended,
}

async fn run_at(world: &World, at: At) -> Uuid {
    match at {
        At::InFlight => world.services().script::<Put>([Reply::Slow(Duration::from_secs(20))]),
        At::BackingOff => world.services().script::<Put>([Reply::NotSent]),
        At::NeedsDecision => {
            world.services().script::<Charge>([Reply::BreakFirst(engine::Code::Unavailable)]);
        }
        At::Failed => world.services().script::<Charge>([Reply::Refuse(engine::Code::FailedPrecondition)]),
        At::Waiting | At::Paused | At::Ended => {}
    }
    let run = world.start::<Steered>(Input::of("", 0)).await.unwrap();
    match at {
        At::InFlight => tokio::time::sleep(Duration::from_secs(1)).await,
        At::BackingOff => drop(until(world, run, &[State::BackingOff]).await),
        At::Waiting => drop(until(world, run, &[State::Waiting]).await),
        At::Paused => {
            until(world, run, &[State::Waiting]).await;
            world.engine().pause(run, false, Requester::new("ann", "")).await.unwrap();
        }
        At::NeedsDecision => drop(until(world, run, &[State::NeedsDecision]).await),
        At::Failed => drop(until(world, run, &[State::Failed]).await),
        At::Ended => drop(world.end_of(run).await),
    }
    run
}

/// Every method that changes one run, with a state in which it may.
const METHODS: [(&str, At); 14] = [
    ("CancelRun", At::Waiting),
    ("CancelRun", At::InFlight),
    ("PauseRun", At::Waiting),
    ("PauseRun", At::InFlight),
    ("ResumeRun", At::Paused),
    ("SkipBackOff", At::BackingOff),
    ("TerminateRun", At::Waiting),
    ("TerminateRun", At::InFlight),
    ("ResolveStep", At::NeedsDecision),
    ("RetryRun", At::Failed),
    ("PinRun", At::Waiting),
    ("UnpinRun", At::Waiting),
    ("SignalRun", At::Waiting),
    ("DeleteRun", At::Ended),
];

async fn ask(engine: &Engine, method: &str, run: Uuid, asked: Requester) -> Result<(), EngineError> {
    match method {
        "CancelRun" => engine.cancel(run, asked).await.map(drop),
        "PauseRun" => engine.pause(run, false, asked).await.map(drop),
        "ResumeRun" => engine.resume(run, asked).await.map(drop),
        "SkipBackOff" => engine.skip_back_off(run, None, asked).await.map(drop),
        "TerminateRun" => engine.terminate(run, asked).await.map(drop),
        "ResolveStep" => {
            let verdict = Verdict::Happened(Answer::of("paid", 7).encode_to_vec().into());
            let decision = Decision { step: "Charge#2".to_owned(), incarnation: 1, attempt: 1, verdict };
            engine.resolve(run, decision, asked).await.map(drop)
        }
        "RetryRun" => engine.retry(run, asked).await.map(drop),
        "PinRun" => engine.pin(run, true, asked).await.map(drop),
        "UnpinRun" => engine.pin(run, false, asked).await.map(drop),
        "SignalRun" => engine.signal(run, "note", Input::of("hello", 0).encode_to_vec().into(), asked).await.map(drop),
        "DeleteRun" => engine.delete(run, asked).await,
        other => panic!("{other} is not among the methods"),
    }
}

/// The request, made by a caller who calls itself so.
fn request(caller: &str, id: Uuid, hash: u8) -> Requester {
    Requester { request: Some(RequestKey { id, hash: [hash; 32] }), ..Requester::new(caller, "") }
}

async fn entries(world: &World, method: &str) -> usize {
    let entries = world.store().audit(ListAudit { limit: 100, ..ListAudit::default() }).await.unwrap();
    entries.iter().filter(|entry| entry.action == method && entry.request.is_some()).count()
}

fn world() -> World {
    World::new(services(), |registry: &mut Registry| registry.register(|| Steered))
}

#[tokio::test(start_paused = true)]
async fn the_same_request_at_the_same_moment_later_and_in_another_process_is_one_change_with_one_answer() {
    for (method, at) in METHODS {
        let world = world();
        let run = run_at(&world, at).await;
        let (id, engine) = (Uuid::new_v4(), world.engine());
        // What a caller calls itself is no part of the request.
        let both = tokio::join!(
            ask(engine, method, run, request("ann", id, 1)),
            ask(engine, method, run, request("bob", id, 1)),
        );
        assert_eq!((both.0.is_ok(), both.1.is_ok()), (true, true), "{method} at {at:?}: {both:?}");
        tokio::time::sleep(Duration::from_secs(60)).await;
        ask(engine, method, run, request("ann", id, 1)).await.unwrap_or_else(|error| panic!("{method} later: {error}"));
        let other = ask(engine, method, run, request("ann", id, 2)).await;
        assert!(matches!(other, Err(EngineError::RequestMismatch(_))), "{method} for another request: {other:?}");
        assert_eq!(entries(&world, method).await, 1, "{method} at {at:?}");

        world.probe().kill();
        let world = world.crash(Probe::counting());
        let again = ask(world.engine(), method, run, request("ann", id, 1)).await;
        assert!(again.is_ok(), "{method} in another process: {again:?}");
        assert_eq!(entries(&world, method).await, 1, "{method} at {at:?}, in another process");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_is_answered_after_its_run_was_deleted() {
    for (method, at) in METHODS.into_iter().filter(|(method, _)| *method != "DeleteRun") {
        let world = world();
        let run = run_at(&world, at).await;
        let id = Uuid::new_v4();
        ask(world.engine(), method, run, request("ann", id, 1)).await.unwrap();
        match method {
            "PinRun" => drop(world.engine().pin(run, false, Requester::new("ann", "")).await.unwrap()),
            "PauseRun" => drop(world.engine().resume(run, Requester::new("ann", "")).await.unwrap()),
            _ => {}
        }
        world.end_of(run).await;
        world.engine().delete(run, Requester::new("ann", "")).await.unwrap();
        let again = ask(world.engine(), method, run, request("ann", id, 1)).await;
        assert!(again.is_ok(), "{method}: {again:?}");
        assert_eq!(entries(&world, method).await, 1, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_makes_one_run_and_still_names_it_after_it_was_deleted() {
    let world = world();
    let start = |caller: &str, id, hash| Start {
        workflow: Steered::NAME.to_owned(),
        input: Input::of("", 0).encode_to_vec().into(),
        asked: Some(request(caller, id, hash)),
        deadline: None,
    };
    let id = Uuid::new_v4();
    let engine = world.engine();
    let (first, second) = tokio::join!(engine.start(start("ann", id, 1)), engine.start(start("bob", id, 1)));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!((first.id, first.new, second.new), (second.id, true, false));
    assert_eq!(entries(&world, "StartRun").await, 1);
    world.end_of(first.id).await;
    let third = engine.start(start("ann", id, 1)).await.unwrap();
    assert_eq!((third.id, third.row.status.state), (first.id, State::Succeeded));
    engine.delete(first.id, Requester::new("ann", "")).await.unwrap();
    let fourth = engine.start(start("ann", id, 1)).await.unwrap();
    assert_eq!((fourth.id, fourth.new, fourth.row.status.state), (first.id, false, State::Succeeded));
    let other = engine.start(start("ann", id, 2)).await;
    assert!(matches!(other, Err(EngineError::RequestMismatch(_))), "{other:?}");
    assert_eq!(world.services().arrivals_of::<Charge>(), 1);
}
