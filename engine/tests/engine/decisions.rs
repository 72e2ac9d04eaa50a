//! What an operator says of a call that may or may not have happened.

use std::time::Duration;

use engine::decision::{Decision, Verdict};
use engine::engine::EngineError;
use engine::store::{ListAudit, RequestKey, Requester, RunRow, Store as _};
use engine::testing::{Probe, Reply, World};
use engine::view::StepState;
use engine::{Code, Context, Failure, Limits, Registry, State, Workflow};
use prost::Message;
use uuid::Uuid;

use crate::common::{Answer, Charge, Input, Output, Put, services, until};

/// Charges, beside a slow put where the input says so, and puts what came of it.
#[derive(Clone)]
struct ChargeThenPut;

impl Workflow for ChargeThenPut {
    const NAME: &'static str = "test.charge-then-put";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, input: Input) -> Result<Output, Failure> {
        let charge = ctx.call(Charge::of("charge", 1));
        let charged = match input.text.as_str() {
            "beside" => ctx.all((charge, ctx.call(Put::of("slow", 1)))).await?.0,
            _ => charge.await?,
        };
        let put = ctx.call(Put::of("after", charged.number)).await?;
        Ok(Output::of("done", put.number))
    }
}

fn world() -> World {
    world_for(Probe::counting())
}

fn world_for(probe: Probe) -> World {
    let register = |registry: &mut Registry| registry.register(|| ChargeThenPut);
    World::with(services(), register, Limits::default(), probe)
}

fn asked() -> Requester {
    Requester::new("ann@host", "looked at the ledger")
}

fn decided(attempt: u32, verdict: Verdict) -> Decision {
    Decision { step: "Charge#0".to_owned(), incarnation: 1, attempt, verdict }
}

fn happened(number: u32) -> Verdict {
    Verdict::Happened(Answer::of("charge", number).encode_to_vec().into())
}

/// A run whose charge is in doubt.
async fn in_doubt(world: &World, input: &str, reply: Reply) -> Uuid {
    world.services().script::<Charge>([reply]);
    let run = world.start::<ChargeThenPut>(Input::of(input, 1)).await.unwrap();
    until(world, run, &[State::NeedsDecision]).await;
    run
}

async fn resolve(world: &World, run: Uuid, decision: Decision) -> Result<RunRow, EngineError> {
    world.engine().resolve(run, decision, asked()).await
}

#[tokio::test(start_paused = true)]
async fn a_call_that_happened_brings_the_response_that_the_operator_says() {
    for crash in [false, true] {
        let world = world();
        let run = in_doubt(&world, "", Reply::ActAndBreak(Code::Unavailable)).await;
        resolve(&world, run, decided(1, happened(41))).await.unwrap();
        let world = if crash { world.crash(Probe::counting()) } else { world };
        assert_eq!(world.result_of::<ChargeThenPut>(run).await, Ok(Output::of("done", 42)));
        assert_eq!(world.services().arrivals_of::<Charge>(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_failed_fails_its_step_and_a_retry_makes_it_under_another_key() {
    let world = world();
    let run = in_doubt(&world, "", Reply::BreakFirst(Code::Unavailable)).await;
    let failure = Failure::new(Code::Aborted, "it is not in the ledger");
    resolve(&world, run, decided(1, Verdict::Failed(failure))).await.unwrap();
    let failure = world.result_of::<ChargeThenPut>(run).await.unwrap_err();
    assert_eq!((failure.code(), failure.message()), (Code::Aborted, "it is not in the ledger"));
    world.engine().retry(run, asked()).await.unwrap();
    assert!(world.result_of::<ChargeThenPut>(run).await.is_ok());
    let detail = world.detail(run).await;
    assert_eq!((detail.steps[0].incarnation, detail.steps[0].state), (2, StepState::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn a_call_is_made_again_once_and_only_after_its_attempt_is_surely_over() {
    let world = world();
    let run = in_doubt(&world, "", Reply::BreakFirst(Code::Unavailable)).await;
    let early = resolve(&world, run, decided(1, Verdict::AskAgain)).await.unwrap_err();
    assert!(matches!(&early, EngineError::Precondition { reason, .. } if reason.contains("ask again then")), "{early}");
    tokio::time::sleep(Duration::from_secs(36)).await;
    world.services().script::<Charge>([Reply::BreakFirst(Code::Internal)]);
    resolve(&world, run, decided(1, Verdict::AskAgain)).await.unwrap();
    // The next attempt is in doubt as well, and needs a decision of its own.
    let detail = until(&world, run, &[State::NeedsDecision]).await;
    assert_eq!(detail.steps[0].attempts, 2);
    let stale = resolve(&world, run, decided(1, happened(1))).await.unwrap_err();
    assert!(matches!(&stale, EngineError::Precondition { reason, .. } if reason.contains("attempt 2")), "{stale}");
    tokio::time::sleep(Duration::from_secs(36)).await;
    resolve(&world, run, decided(2, Verdict::AskAgain)).await.unwrap();
    assert!(world.result_of::<ChargeThenPut>(run).await.is_ok());
    let identities = world.services().identities();
    let charges: Vec<_> = identities.iter().filter(|((method, _), _)| method.ends_with("Charge")).collect();
    assert_eq!((charges.len(), charges[0].1.keys.len(), charges[0].1.arrivals), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_a_crash_cut_off_is_decided_like_one_whose_answer_was_lost() {
    let world = world();
    world.services().script::<Charge>([Reply::Slow(Duration::from_secs(20))]);
    let run = world.start::<ChargeThenPut>(Input::of("", 1)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let world = world.crash(Probe::counting());
    let detail = until(&world, run, &[State::NeedsDecision]).await;
    assert_eq!(detail.steps[0].state, StepState::NeedsDecision);
    tokio::time::sleep(Duration::from_secs(40)).await;
    resolve(&world, run, decided(1, Verdict::AskAgain)).await.unwrap();
    assert_eq!(world.result_of::<ChargeThenPut>(run).await, Ok(Output::of("done", 3)));
}

#[tokio::test(start_paused = true)]
async fn a_step_is_decided_while_others_of_its_run_go_on_in_memory() {
    let world = world();
    world.services().script::<Put>([Reply::Slow(Duration::from_secs(25))]);
    world.services().script::<Charge>([Reply::BreakFirst(Code::Unavailable)]);
    let run = world.start::<ChargeThenPut>(Input::of("beside", 1)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.engine().in_flight(), 1);
    let row = resolve(&world, run, decided(1, happened(7))).await.unwrap();
    assert_eq!(row.status.state, State::Running);
    assert_eq!(world.result_of::<ChargeThenPut>(run).await, Ok(Output::of("done", 8)));
    let entries = world.store().audit(ListAudit::of_run(run, 10)).await.unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].caller.as_str(), entries[0].action.as_str()), ("ann@host", "ResolveStep"));
    assert_eq!(entries[0].detail, "Charge#0 (attempt 1): it happened");
}

#[tokio::test(start_paused = true)]
async fn a_repeated_request_decides_once_and_another_one_under_its_id_is_refused() {
    let world = world();
    let run = in_doubt(&world, "", Reply::BreakFirst(Code::Unavailable)).await;
    let key = RequestKey { id: Uuid::from_u128(7), hash: [1; 32] };
    let asked = |key: &RequestKey| Requester { request: Some(key.clone()), ..asked() };
    for _ in 0..2 {
        world.engine().resolve(run, decided(1, happened(1)), asked(&key)).await.unwrap();
        world.end_of(run).await;
    }
    let other = RequestKey { hash: [2; 32], ..key };
    let refused = world.engine().resolve(run, decided(1, happened(2)), asked(&other)).await.unwrap_err();
    assert!(matches!(refused, EngineError::RequestMismatch(_)), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_in_doubt_is_not_decided() {
    let world = world();
    let run = world.start::<ChargeThenPut>(Input::of("", 1)).await.unwrap();
    world.end_of(run).await;
    let refused = resolve(&world, run, decided(1, happened(1))).await.unwrap_err();
    assert!(matches!(refused, EngineError::Precondition { state: State::Succeeded, .. }), "{refused}");
    let run = in_doubt(&world, "", Reply::BreakFirst(Code::Unavailable)).await;
    let elsewhere = Decision { step: "Put#1".to_owned(), ..decided(1, happened(1)) };
    let refused = resolve(&world, run, elsewhere).await.unwrap_err();
    assert!(
        matches!(&refused, EngineError::Precondition { reason, .. } if reason.contains("no decision")),
        "{refused}"
    );
    let unknown = resolve(&world, Uuid::from_u128(9), decided(1, happened(1))).await.unwrap_err();
    assert!(matches!(unknown, EngineError::NotFound(_)), "{unknown}");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_ends_once_its_effect_in_doubt_is_decided() {
    let world = world();
    let run = in_doubt(&world, "", Reply::BreakFirst(Code::Unavailable)).await;
    world.engine().cancel(run, asked()).await.unwrap();
    until(&world, run, &[State::NeedsDecision]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    resolve(&world, run, decided(1, happened(1))).await.unwrap();
    assert_eq!(world.end_of(run).await.row.status.state, State::Cancelled);
    assert_eq!(world.services().arrivals_of::<Put>(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_decision_survives_a_kill_at_any_point_and_the_call_is_made_at_most_twice() {
    // Once without a kill, to count the points after the decision.
    let whole = world();
    let run = in_doubt(&whole, "", Reply::BreakFirst(Code::Unavailable)).await;
    tokio::time::sleep(Duration::from_secs(36)).await;
    resolve(&whole, run, decided(1, Verdict::AskAgain)).await.unwrap();
    whole.end_of(run).await;
    let points = whole.probe().points().len();
    for point in 0..points {
        let probe = Probe::killing_at(point);
        let first = world_for(probe.clone());
        first.services().script::<Charge>([Reply::BreakFirst(Code::Unavailable)]);
        let request = Some(Uuid::from_u128(3));
        tokio::select! {
            () = probe.death() => {}
            () = async {
                let run = first.start_once::<ChargeThenPut>(Input::of("", 1), request).await.unwrap();
                until(&first, run, &[State::NeedsDecision]).await;
                tokio::time::sleep(Duration::from_secs(36)).await;
                resolve(&first, run, decided(1, Verdict::AskAgain)).await.unwrap();
                first.end_of(run).await;
            } => {}
        }
        let second = first.crash(Probe::counting());
        let run = second.start_once::<ChargeThenPut>(Input::of("", 1), request).await.unwrap();
        let mut decisions = 0;
        loop {
            let detail = until(&second, run, &[State::NeedsDecision, State::Succeeded]).await;
            if detail.row.status.state == State::Succeeded {
                break;
            }
            tokio::time::sleep(Duration::from_secs(40)).await;
            resolve(&second, run, decided(detail.steps[0].attempts, Verdict::AskAgain)).await.unwrap();
            decisions += 1;
        }
        let arrivals = second.services().arrivals_of::<Charge>();
        assert!(decisions <= 2 && arrivals <= 1 + decisions, "{arrivals} arrivals, {decisions} decisions at {point}");
        let effects = second.services().effects_of::<Put>();
        assert_eq!(effects, 1, "killed at {point}");
    }
}
