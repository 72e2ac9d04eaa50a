//! An effect that may have happened stays in doubt, whatever later attempts say (semantics.md E7).

use std::time::Duration;

use engine::decision::{Decision, Verdict};
use engine::store::Requester;
use engine::testing::{Probe, Reply, World};
use engine::{Code, Failure, Limits, Registry, Retry, Rpc, State, Workflow};
use prost::Message;
use uuid::Uuid;

use crate::common::{Answer, Charge, Input, Output, Pay, Put, services, until, workflow};

const SECOND: Duration = Duration::from_secs(1);

fn tries(n: u32) -> Retry {
    Retry::try_new(n, SECOND, 1.0, SECOND, 0.0).unwrap_or_default()
}

workflow!(OnePut, "test.one-put", |ctx, _input| {
    let put = ctx.call(Put::of("put", 1)).retry(tries(3)).await?;
    Ok(Output::of("done", put.number))
});

workflow!(OnePay, "test.one-pay", |ctx, _input| {
    let pay = ctx.call(Pay::of("pay", 1)).retry(tries(3)).await?;
    Ok(Output::of("done", pay.number))
});

workflow!(OneCharge, "test.one-charge", |ctx, _input| {
    let charge = ctx.call(Charge::of("charge", 1)).retry(tries(3)).await?;
    Ok(Output::of("done", charge.number))
});

fn world() -> World {
    let register = |registry: &mut Registry| {
        registry.register(|| OnePut)?;
        registry.register(|| OnePay)?;
        registry.register(|| OneCharge)
    };
    World::new(services(), register)
}

fn asked() -> Requester {
    Requester::new("ann", "because")
}

fn killed(world: World) -> World {
    world.probe().kill();
    world.crash(Probe::counting())
}

/// Under how many keys the one effect arrived, and how often it was applied.
fn effect(world: &World) -> (usize, usize) {
    let identities = world.services().identities();
    assert_eq!(identities.len(), 1, "{identities:?}");
    identities.values().map(|identity| (identity.keys.len(), identity.applied)).next().unwrap_or_default()
}

#[derive(Clone, Copy, Debug)]
enum First {
    /// It acts, and its answer is lost.
    Lost,
    /// It acts, and the replica dies before the answer is there.
    CutOff,
}

/// A run whose effect happened and was then refused, so that it failed.
async fn refused_after<W: Workflow<Input = Input>, R: Rpc>(first: First, refusal: Reply) -> (World, Uuid) {
    let world = world();
    world.services().script::<R>([Reply::ActAndBreak(Code::Unavailable)]);
    let world = match first {
        First::Lost => world,
        First::CutOff => {
            // The answer of the first attempt comes when no one is there to hear it.
            let run = world.start::<W>(Input::of("", 0)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
            let world = killed(world);
            world.services().script::<R>([refusal]);
            assert!(world.end_of(run).await.failure.is_some());
            return (world, run);
        }
    };
    world.services().script::<R>([refusal]);
    let run = world.start::<W>(Input::of("", 0)).await.unwrap();
    assert!(world.end_of(run).await.failure.is_some());
    (world, run)
}

async fn a_retry_keeps_the_key<W: Workflow<Input = Input>, R: Rpc>() {
    for first in [First::Lost, First::CutOff] {
        for code in [Code::PermissionDenied, Code::Unauthenticated, Code::Aborted, Code::NotFound] {
            for (crash, from) in [(false, false), (true, false), (false, true), (true, true)] {
                let (world, run) = refused_after::<W, R>(first, Reply::Refuse(code)).await;
                let world = if crash { killed(world) } else { world };
                let detail = world.detail(run).await;
                let path = detail.steps[0].path();
                assert!(detail.steps[0].in_doubt, "{first:?} {code:?}");
                let from = from.then_some(path.as_str());
                let again = world.engine().preview_retry(run, from).await.unwrap();
                assert!(again.iter().all(|step| !step.new_key), "{first:?} {code:?}: {again:?}");
                match from {
                    Some(step) => world.engine().retry_from(run, step, asked()).await.unwrap(),
                    None => world.engine().retry(run, asked()).await.unwrap(),
                };
                let ended = world.end_of(run).await;
                assert_eq!(ended.row.status.state, State::Succeeded, "{first:?} {code:?}");
                assert_eq!(effect(&world), (1, 1), "{first:?} {code:?} crash {crash} from {from:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_keeps_the_key_of_an_idempotent_call_that_was_refused_after_it_may_have_happened() {
    a_retry_keeps_the_key::<OnePut, Put>().await;
}

#[tokio::test(start_paused = true)]
async fn a_retry_keeps_the_key_of_a_keyed_call_that_was_refused_after_it_may_have_happened() {
    a_retry_keeps_the_key::<OnePay, Pay>().await;
}

#[tokio::test(start_paused = true)]
async fn a_keyed_call_in_doubt_is_not_made_again_beyond_its_horizon_by_a_retry() {
    let (world, run) = refused_after::<OnePay, Pay>(First::Lost, Reply::Refuse(Code::PermissionDenied)).await;
    tokio::time::sleep(Duration::from_secs(7_200)).await;
    world.engine().retry(run, asked()).await.unwrap();
    until(&world, run, &[State::NeedsDecision]).await;
    assert_eq!(world.services().arrivals_of::<Pay>(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_found_after_a_retry_can_be_the_doing_of_an_attempt_before_it() {
    let (world, run) = refused_after::<OnePut, Put>(First::Lost, Reply::Refuse(Code::PermissionDenied)).await;
    world.services().script::<Put>([Reply::Refuse(Code::NotFound)]);
    world.engine().retry(run, asked()).await.unwrap();
    assert!(world.end_of(run).await.failure.is_some());
    let step = &world.detail(run).await.steps[0];
    assert!(step.repeated && step.in_doubt);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_refused_when_an_operator_has_it_made_again_is_decided_once_more() {
    for crash in [false, true] {
        let world = world();
        let scripted = [Reply::ActAndBreak(Code::Unavailable), Reply::Refuse(Code::PermissionDenied)];
        world.services().script::<Charge>(scripted);
        let run = world.start::<OneCharge>(Input::of("", 0)).await.unwrap();
        until(&world, run, &[State::NeedsDecision]).await;
        tokio::time::sleep(Duration::from_secs(36)).await;
        let ask = |attempt, verdict| Decision { step: "Charge#0".to_owned(), incarnation: 1, attempt, verdict };
        world.engine().resolve(run, ask(1, Verdict::AskAgain), asked()).await.unwrap();
        assert!(world.end_of(run).await.failure.is_some());
        world.engine().retry(run, asked()).await.unwrap();
        let world = if crash { killed(world) } else { world };
        until(&world, run, &[State::NeedsDecision]).await;
        assert_eq!(effect(&world), (1, 1));
        let verdict = Verdict::Happened(Answer::of("charge", 7).encode_to_vec().into());
        world.engine().resolve(run, ask(2, verdict), asked()).await.unwrap();
        assert_eq!(world.result_of::<OneCharge>(run).await, Ok(Output::of("done", 7)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_an_operator_says_did_not_happen_is_in_doubt_no_more() {
    let world = world();
    world.services().script::<Charge>([Reply::BreakFirst(Code::Unavailable)]);
    let run = world.start::<OneCharge>(Input::of("", 0)).await.unwrap();
    until(&world, run, &[State::NeedsDecision]).await;
    let verdict = Verdict::Failed(Failure::new(Code::Aborted, "it is not in the ledger"));
    let decision = Decision { step: "Charge#0".to_owned(), incarnation: 1, attempt: 1, verdict };
    world.engine().resolve(run, decision, asked()).await.unwrap();
    world.end_of(run).await;
    assert!(!world.detail(run).await.steps[0].in_doubt);
    world.engine().retry(run, asked()).await.unwrap();
    assert!(world.result_of::<OneCharge>(run).await.is_ok());
    assert_eq!(world.detail(run).await.steps[0].incarnation, 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_answer_was_of_no_use_keeps_its_key_from_whichever_step_it_is_retried() {
    for from in [None, Some("Put#0")] {
        let limits = Limits { payload_bytes: 30, ..Limits::default() };
        let answers = services().on::<Put>(|put| Ok(Answer::of(put.text.repeat(20), 1)));
        let world =
            World::with(answers, |registry: &mut Registry| registry.register(|| OnePut), limits, Probe::counting());
        let run = world.start::<OnePut>(Input::of("", 0)).await.unwrap();
        let failure = world.result_of::<OnePut>(run).await.unwrap_err();
        assert_eq!(failure.code(), Code::ResourceExhausted);
        let world = world.crash_and_limit(Limits::default());
        match from {
            Some(step) => world.engine().retry_from(run, step, asked()).await.unwrap(),
            None => world.engine().retry(run, asked()).await.unwrap(),
        };
        assert!(world.result_of::<OnePut>(run).await.is_ok());
        assert_eq!(effect(&world), (1, 1), "{from:?}");
    }
}

workflow!(PutAndCharge, "test.put-and-charge", |ctx, _input| {
    ctx.all((ctx.call(Put::of("put", 1)), ctx.call(Charge::of("charge", 1)))).await?;
    Ok(Output::of("", 0))
});

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_beside_a_decision_settles_before_its_run_ends() {
    // The put is under way, waits for its next attempt, or is in doubt when its run is cancelled.
    let puts = [Reply::Slow(25 * SECOND), Reply::ActLater(Code::Unavailable, 3 * SECOND), Reply::NotSent];
    for (put, crash) in puts.iter().flat_map(|put| [(put, false), (put, true)]) {
        let world = World::new(services(), |registry: &mut Registry| registry.register(|| PutAndCharge));
        world.services().script::<Put>([put.clone()]);
        world.services().script::<Charge>([Reply::ActAndBreak(Code::Unavailable)]);
        let run = world.start::<PutAndCharge>(Input::of("", 0)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        world.engine().cancel(run, asked()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        let world = if crash { killed(world) } else { world };
        tokio::time::sleep(Duration::from_secs(300)).await;
        let detail = until(&world, run, &[State::NeedsDecision]).await;
        let step = detail.steps.iter().find(|step| step.name.ends_with("Put")).unwrap();
        assert!(step.ended_at.is_some() && !step.in_doubt, "{put:?} {crash}: {step:?}");
        let verdict = Verdict::Failed(Failure::new(Code::Aborted, "no"));
        let decision = Decision { step: "Charge#1".to_owned(), incarnation: 1, attempt: 1, verdict };
        world.engine().resolve(run, decision, asked()).await.unwrap();
        assert_eq!(world.end_of(run).await.row.status.state, State::Cancelled);
        let charges = world.services().arrivals_of::<Charge>();
        assert!(charges == 1 && world.services().effects_of::<Put>() <= 1, "{put:?} {crash}: {charges}");
    }
}
