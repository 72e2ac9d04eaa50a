//! Two replicas over one store: what is asked of one reaches a run that the other holds.

use std::time::Duration;

use engine::decision::{Decision, Verdict};
use engine::engine::EngineError;
use engine::store::Requester;
use engine::testing::{Reply, World};
use engine::view::StepState;
use engine::{Code, Context, Failure, Limits, Retry, SignalType, State, Workflow};
use prost::Message;
use tokio::time::Instant;
use uuid::Uuid;

use crate::common::{Answer, Charge, Input, Look, Output, Put, services, until};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// Does what its input says, beside a look that takes long and keeps the run in memory.
#[derive(Clone)]
struct Beside;

impl Workflow for Beside {
    const NAME: &'static str = "test.beside";
    const SIGNALS: &'static [SignalType] = &[SignalType::of::<Answer>("note")];
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, input: Input) -> Result<Output, Failure> {
        let hourly = Retry::try_new(9, HOUR, 1.0, HOUR, 0.0).unwrap();
        let look = ctx.call(Look::of("slow", 1)).timeout(10 * MINUTE);
        let number = match input.text.as_str() {
            "note" => ctx.all((look, ctx.signal::<Answer>("note"))).await?.1.number,
            "charge" => ctx.all((look, ctx.call(Charge::of("charge", 1)))).await?.1.number,
            "put" => ctx.all((look, ctx.call(Put::of("put", 1)).retry(hourly))).await?.1.number,
            _ => look.await?.number,
        };
        ctx.call(Put::of("after", number)).await?;
        Ok(Output::of("done", number))
    }
}

/// Two replicas, and a run that the first one holds until its look is over.
async fn held(input: &str, look: Reply) -> (World, World, Uuid) {
    let worlds = World::replicas(2, &services(), |registry| registry.register(|| Beside), &Limits::default());
    let Ok([here, there]) = <[World; 2]>::try_from(worlds) else { panic!("two were asked for") };
    here.services().script::<Look>([look]);
    let run = here.start::<Beside>(Input::of(input, 1)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!((here.engine().in_flight(), there.engine().in_flight()), (1, 0));
    (here, there, run)
}

fn asked() -> Requester {
    Requester::new("ann@host", "it has to")
}

#[tokio::test(start_paused = true)]
async fn a_cancel_reaches_a_run_that_another_replica_holds() {
    let (here, there, run) = held("look", Reply::Slow(5 * MINUTE)).await;
    let begun = Instant::now();
    there.engine().cancel(run, asked()).await.unwrap();
    let ended = there.end_of(run).await;
    assert_eq!(ended.row.status.state, State::Cancelled);
    assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
    assert_eq!(here.engine().in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_pause_and_its_end_reach_a_run_that_another_replica_holds() {
    let (here, there, run) = held("look", Reply::Slow(5 * MINUTE)).await;
    there.engine().pause(run, false, asked()).await.unwrap();
    until(&there, run, &[State::Paused]).await;
    assert_eq!(here.engine().in_flight(), 0);
    there.engine().resume(run, asked()).await.unwrap();
    assert_eq!(there.result_of::<Beside>(run).await, Ok(Output::of("done", 2)));
}

#[tokio::test(start_paused = true)]
async fn a_signal_is_received_by_a_run_that_another_replica_holds() {
    let (_here, there, run) = held("note", Reply::Slow(5 * MINUTE)).await;
    there.signal(run, "note", &Answer::of("note", 7), None).await.unwrap();
    tokio::time::sleep(SECOND).await;
    let detail = there.detail(run).await;
    let note = detail.steps.iter().find(|step| step.name == "note").unwrap();
    assert_eq!(note.state, StepState::Succeeded, "it is received while the look is under way");
    assert_eq!(there.result_of::<Beside>(run).await, Ok(Output::of("done", 7)));
}

#[tokio::test(start_paused = true)]
async fn the_end_and_the_progress_of_a_run_are_seen_from_another_replica() {
    let (_here, there, run) = held("look", Reply::Slow(MINUTE)).await;
    let mut watch = there.engine().watch(run).await.unwrap();
    let begun = Instant::now();
    let mut seen = 0;
    while watch.changed().await {
        seen += 1;
    }
    assert!(seen > 0 && begun.elapsed() < MINUTE + 2 * SECOND, "{seen} changes in {:?}", begun.elapsed());
    let (_here, there, run) = held("look", Reply::Slow(MINUTE)).await;
    let begun = Instant::now();
    assert_eq!(there.end_of(run).await.row.status.state, State::Succeeded);
    assert!(begun.elapsed() < MINUTE + 2 * SECOND, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_run_that_another_replica_holds_is_terminated_immediately() {
    let (here, there, run) = held("look", Reply::Slow(5 * MINUTE)).await;
    let begun = Instant::now();
    let row = there.engine().terminate(run, asked()).await.unwrap();
    assert_eq!(row.status.state, State::Terminated);
    assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
    assert_eq!(here.engine().in_flight(), 0);
    assert_eq!(here.services().arrivals_of::<Put>(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_decision_waits_until_what_is_in_flight_on_another_replica_has_settled() {
    let (here, there, run) = {
        let worlds = World::replicas(2, &services(), |registry| registry.register(|| Beside), &Limits::default());
        let Ok([here, there]) = <[World; 2]>::try_from(worlds) else { panic!("two were asked for") };
        here.services().script::<Look>([Reply::Slow(10 * SECOND)]);
        here.services().script::<Charge>([Reply::ActAndBreak(Code::Unavailable)]);
        let run = here.start::<Beside>(Input::of("charge", 1)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        (here, there, run)
    };
    let detail = there.detail(run).await;
    assert!(detail.row.owned, "the look is under way");
    let response = Verdict::Happened(Answer::of("charge", 41).encode_to_vec().into());
    let step = detail.steps.iter().find(|step| step.name.contains("Charge")).unwrap().path();
    let decision = Decision { step, incarnation: 1, attempt: 1, verdict: response };
    there.engine().resolve(run, decision, asked()).await.unwrap();
    assert_eq!(there.result_of::<Beside>(run).await, Ok(Output::of("done", 41)));
    assert_eq!((here.services().arrivals_of::<Charge>(), here.services().arrivals_of::<Look>()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_back_off_on_another_replica_is_skipped_as_soon_as_the_run_is_given_back() {
    let worlds = World::replicas(2, &services(), |registry| registry.register(|| Beside), &Limits::default());
    let Ok([here, there]) = <[World; 2]>::try_from(worlds) else { panic!("two were asked for") };
    here.services().script::<Look>([Reply::Slow(10 * SECOND)]);
    here.services().script::<Put>([Reply::NotSent]);
    let run = here.start::<Beside>(Input::of("put", 1)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begun = Instant::now();
    there.engine().skip_back_off(run, None, asked()).await.unwrap();
    assert_eq!(there.result_of::<Beside>(run).await, Ok(Output::of("done", 2)));
    assert!(begun.elapsed() < MINUTE, "{:?}", begun.elapsed());
    assert_eq!(here.services().arrivals_of::<Look>(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_command_to_a_run_whose_call_takes_longer_than_an_operator_waits_is_refused_and_the_run_continues() {
    let (here, there, run) = held("put", Reply::Slow(5 * MINUTE)).await;
    let refused = there.engine().skip_back_off(run, None, asked()).await;
    assert!(matches!(refused, Err(EngineError::Conflict(id)) if id == run), "{refused:?}");
    assert_eq!(there.result_of::<Beside>(run).await, Ok(Output::of("done", 2)));
    assert_eq!((here.services().arrivals_of::<Look>(), here.services().arrivals_of::<Put>()), (1, 2));
}
