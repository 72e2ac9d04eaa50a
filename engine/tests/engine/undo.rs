//! What a run that fails or is cancelled takes back, and in which order.

use std::time::Duration;

use engine::engine::EngineError;
use engine::store::Requester;
use engine::testing::{Probe, Reply, World, crash_everywhere};
use engine::view::StepState;
use engine::{Code, Context, Failure, Limits, Registry, Retry, State, Workflow};
use prost::Message;
use uuid::Uuid;

use crate::common::{Cancel, Charge, Input, Look, Output, Put, services, until, workflow};

/// Reserves a room and a car, and charges for both; takes them back where that fails.
#[derive(Clone)]
struct Trip;

impl Workflow for Trip {
    const NAME: &'static str = "test.trip";
    const DEADLINE: Duration = Duration::from_secs(3_600);
    const UNDO_BUDGET: Duration = Duration::from_secs(600);
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, input: Input) -> Result<Output, Failure> {
        let tries = |n| Retry::try_new(n, Duration::from_secs(1), 1.0, Duration::from_secs(1), 0.0).unwrap_or_default();
        let (quick, tough) = (tries(2), tries(5));
        let fail = input.text == "fail";
        let room = ctx
            .call(Put::of("room", 1))
            .retry(quick)
            .undo(move |key| Cancel::of(if fail { "room".to_owned() } else { format!("room {key}") }, 0))
            .undo_retry(tough)
            .await?;
        let car = ctx
            .call(Put::of("car", room.number))
            .retry(quick)
            .undo_with(|_key, car| Cancel::of(format!("car {}", car.number), 0))
            .undo_retry(tough)
            .await?;
        if input.text == "sleep" {
            ctx.sleep("long", Duration::from_secs(100_000)).await?;
        }
        if fail {
            return Err(Failure::new(Code::Aborted, "the trip is off"));
        }
        let paid = ctx.call(Charge::of("pay", car.number)).retry(quick).await?;
        let seen = ctx.call(Look::of("seen", paid.number)).await?;
        Ok(Output::of("done", seen.number))
    }
}

fn world() -> World {
    world_for(Probe::counting())
}

fn world_for(probe: Probe) -> World {
    World::with(services(), |registry: &mut Registry| registry.register(|| Trip), Limits::default(), probe)
}

fn refusing(probe: Probe) -> World {
    let world = world_for(probe);
    world.services().always::<Charge>(Some(Reply::Refuse(Code::FailedPrecondition)));
    world
}

async fn started(world: &World, text: &str) -> Uuid {
    world.start::<Trip>(Input::of(text, 0)).await.unwrap()
}

fn asked() -> Requester {
    Requester::new("test", "")
}

/// The undos that arrived, in their order.
fn undone(world: &World) -> Vec<String> {
    let arrivals = world.services().arrivals().into_iter().filter(|arrival| arrival.method.ends_with("Cancel"));
    let texts = arrivals.map(|arrival| Cancel::decode(arrival.request).unwrap().text);
    texts.map(|text| text.split(' ').next().unwrap().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_run_that_succeeds_undoes_nothing() {
    let world = world();
    assert_eq!(world.run::<Trip>(Input::of("", 0)).await, Ok(Output::of("done", 5)));
    assert_eq!(undone(&world).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_fails_undoes_its_steps_in_reverse_order_and_keeps_its_failure() {
    let world = refusing(Probe::counting());
    let run = started(&world, "").await;
    let failure = world.result_of::<Trip>(run).await.unwrap_err();
    assert_eq!(
        (failure.code(), failure.step().unwrap().name.as_str()),
        (Code::FailedPrecondition, "/test.Service/Charge")
    );
    assert_eq!(undone(&world), ["car", "room"]);
    let detail = world.detail(run).await;
    let steps: Vec<_> = detail.steps.iter().map(|step| (step.path(), step.undone, step.undoes.clone())).collect();
    let expected = [
        ("Put#0", true, None),
        ("Put#1", true, None),
        ("Charge#2", false, None),
        ("~undo/Cancel#1", false, Some("Put#1")),
        ("~undo/Cancel#0", false, Some("Put#0")),
    ];
    let expected = expected.map(|(path, undone, of)| (path.to_owned(), undone, of.map(str::to_owned)));
    assert_eq!(steps, expected);
    assert_eq!((detail.row.status.state, detail.row.status.steps), (State::Failed, 5));
    // Each under a key of its own.
    let keys: std::collections::BTreeSet<_> = detail.steps.iter().filter_map(|step| step.key.clone()).collect();
    assert_eq!(keys.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_undoes_its_steps() {
    let world = world();
    let run = started(&world, "sleep").await;
    until(&world, run, &[State::Waiting]).await;
    world.engine().cancel(run, asked()).await.unwrap();
    assert_eq!(world.end_of(run).await.row.status.state, State::Cancelled);
    assert_eq!(undone(&world), ["car", "room"]);
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_time_for_work_is_up_undoes_within_its_deadline() {
    let world = world();
    let begun = tokio::time::Instant::now();
    let run = started(&world, "sleep").await;
    let ended = world.end_of(run).await;
    assert_eq!(ended.failure.as_ref().map(Failure::code), Some(Code::DeadlineExceeded));
    assert_eq!(undone(&world), ["car", "room"]);
    let took = begun.elapsed().as_secs();
    assert!((3_000..3_010).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn a_step_that_did_nothing_is_not_undone() {
    let world = world();
    world.services().script::<Put>([Reply::Slow(Duration::ZERO), Reply::Refuse(Code::FailedPrecondition)]);
    let run = started(&world, "").await;
    world.end_of(run).await;
    assert_eq!(undone(&world), ["room"]);
}

#[tokio::test(start_paused = true)]
async fn a_step_whose_end_is_not_known_is_settled_under_its_key_and_then_undone() {
    let world = world();
    let lost = Reply::ActAndBreak(Code::Unavailable);
    world.services().script::<Put>([Reply::Slow(Duration::ZERO), lost.clone(), lost.clone(), lost]);
    let run = started(&world, "").await;
    let failure = world.result_of::<Trip>(run).await.unwrap_err();
    assert_eq!(failure.code(), Code::Unavailable);
    assert_eq!(undone(&world), ["car", "room"]);
    let detail = world.detail(run).await;
    assert_eq!((detail.steps[1].attempts, detail.steps[1].state), (4, StepState::Succeeded));
    let identities = world.services().identities();
    assert!(identities.values().all(|identity| identity.keys.len() == 1 && identity.applied == 1), "{identities:?}");
}

#[tokio::test(start_paused = true)]
async fn a_step_in_flight_when_its_run_is_cancelled_settles_and_is_undone() {
    for crash in [false, true] {
        let world = world();
        world.services().script::<Put>([Reply::Slow(Duration::ZERO), Reply::Slow(Duration::from_secs(10))]);
        let run = started(&world, "").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.engine().cancel(run, asked()).await.unwrap();
        until(&world, run, &[State::Ending]).await;
        // The undo of the car is made from a response that code never saw.
        let world = if crash { world.crash(Probe::counting()) } else { world };
        assert_eq!(world.end_of(run).await.row.status.state, State::Cancelled);
        assert_eq!(undone(&world), ["car", "room"], "{crash}");
        assert_eq!(world.services().effects_of::<Put>(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn an_undo_that_keeps_failing_blocks_the_run_with_what_is_left_and_a_retry_goes_on() {
    for reply in [Reply::Refuse(Code::PermissionDenied), Reply::BreakFirst(Code::Unavailable), Reply::NotSent] {
        let world = refusing(Probe::counting());
        world.services().always::<Cancel>(Some(reply.clone()));
        let run = started(&world, "").await;
        let detail = until(&world, run, &[State::Blocked]).await;
        let reason = &detail.row.status.reason;
        assert!(reason.starts_with("UNDO_FAILED: Put#1") && reason.ends_with("Put#1, Put#0"), "{reason}");
        assert_eq!(detail.row.status.ending_as, Some(State::Failed), "{reply:?}");
        assert_eq!(detail.to_undo, ["Put#1", "Put#0"]);
        let world = world.crash(Probe::counting());
        tokio::time::sleep(Duration::from_secs(50_000)).await;
        assert_eq!(world.detail(run).await.row.status.state, State::Blocked);
        world.engine().retry(run, asked()).await.unwrap();
        until(&world, run, &[State::Blocked]).await;
        world.services().always::<Cancel>(None);
        world.engine().retry(run, asked()).await.unwrap();
        let failure = world.result_of::<Trip>(run).await.unwrap_err();
        assert_eq!(failure.code(), Code::FailedPrecondition);
        assert_eq!(undone(&world), ["car", "room"], "{reply:?}");
        assert!(world.services().identities().values().all(|identity| identity.keys.len() == 1));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_counts_as_undone_only_once_no_attempt_can_be_under_way() {
    let world = refusing(Probe::counting());
    world.services().always::<Cancel>(Some(Reply::Refuse(Code::NotFound)));
    let begun = tokio::time::Instant::now();
    let run = started(&world, "").await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(world.detail(run).await.row.status.state, State::Ending);
    let world = world.crash(Probe::counting());
    assert_eq!(world.end_of(run).await.row.status.state, State::Failed);
    // 30 s for the attempt, and the margin.
    assert!(begun.elapsed() >= Duration::from_secs(35), "{:?}", begun.elapsed());
    let detail = world.detail(run).await;
    assert!(detail.steps[0].undone && detail.steps[1].undone);
}

#[tokio::test(start_paused = true)]
async fn a_retry_makes_what_was_undone_anew_under_new_keys() {
    let world = refusing(Probe::counting());
    let run = started(&world, "").await;
    world.end_of(run).await;
    world.services().always::<Charge>(None);
    world.engine().retry(run, asked()).await.unwrap();
    assert_eq!(world.result_of::<Trip>(run).await, Ok(Output::of("done", 5)));
    assert_eq!(world.services().arrivals_of::<Put>(), 4);
    let identities = world.services().identities();
    let puts = identities.iter().filter(|((method, _), _)| method.ends_with("Put"));
    assert!(puts.map(|(_, identity)| identity.keys.len()).eq([2, 2]), "{identities:?}");
    let detail = world.detail(run).await;
    assert_eq!(detail.steps.len(), 4, "{:?}", detail.steps.iter().map(|step| step.path()).collect::<Vec<_>>());
    assert!(detail.steps.iter().all(|step| !step.undone));
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_fails_again_undoes_again() {
    let world = refusing(Probe::counting());
    let run = started(&world, "").await;
    world.end_of(run).await;
    for _ in 0..2 {
        world.engine().retry(run, asked()).await.unwrap();
        assert_eq!(world.end_of(run).await.row.status.state, State::Failed);
    }
    assert_eq!(undone(&world), ["car", "room", "car", "room", "car", "room"]);
    let identities = world.services().identities();
    assert!(identities.values().all(|identity| identity.applied == identity.keys.len()), "{identities:?}");
}

#[tokio::test(start_paused = true)]
async fn undos_come_to_the_same_end_wherever_the_replica_is_killed() {
    let sweep = crash_everywhere::<Trip>(world_for, Input::of("fail", 0)).await;
    assert_eq!(sweep.holds().as_ref().map_err(Failure::code), Err(Code::Aborted));
    assert!(sweep.points.len() > 20, "{:?}", sweep.points);
}

#[tokio::test(start_paused = true)]
async fn undos_with_lost_answers_come_to_the_same_end_wherever_the_replica_is_killed() {
    let world = |probe| {
        let world = world_for(probe);
        let lost = Reply::ActAndBreak(Code::Unavailable);
        world.services().script::<Put>([Reply::Slow(Duration::ZERO), lost.clone(), lost.clone()]);
        world.services().script::<Cancel>([lost]);
        world
    };
    let sweep = crash_everywhere::<Trip>(world, Input::of("fail", 0)).await;
    // A crash may cost or spare an attempt, and the run then fails at another place; nothing is done twice for that.
    let wrong =
        sweep.differences.iter().filter(|differs| differs.what.contains("applied") || differs.what.contains("keys"));
    assert_eq!(wrong.count(), 0, "{:?}", sweep.differences);
}

workflow!(KeyedTrip, "test.keyed-trip", |ctx, _input| {
    ctx.call(Put::of("room", 1)).undo(|key| Cancel::of(key.to_string(), 0)).await?;
    Err(Failure::new(Code::Aborted, "no way home"))
});

#[tokio::test(start_paused = true)]
async fn an_undo_that_names_the_key_of_its_call_is_the_same_one_wherever_the_replica_is_killed() {
    let world = |probe| World::with(services(), |r| r.register(|| KeyedTrip), Limits::default(), probe);
    let sweep = crash_everywhere::<KeyedTrip>(world, Input::default()).await;
    assert_eq!(sweep.holds().as_ref().map_err(Failure::code), Err(Code::Aborted));
}

#[tokio::test(start_paused = true)]
async fn an_effect_of_unknown_level_is_decided_before_it_is_undone() {
    #[derive(Clone)]
    struct Pay;
    impl Workflow for Pay {
        const NAME: &'static str = "test.pay";
        type Input = Input;
        type Output = Output;

        async fn run(&self, ctx: &Context, _: Input) -> Result<Output, Failure> {
            ctx.call(Charge::of("pay", 1))
                .undo_with(|_, paid| Cancel::of(format!("charge {}", paid.number), 0))
                .await?;
            Err(Failure::new(Code::Aborted, "enough"))
        }
    }
    use engine::decision::{Decision, Verdict};
    let world = World::new(services(), |registry: &mut Registry| registry.register(|| Pay));
    world.services().script::<Charge>([Reply::ActAndBreak(Code::Unavailable)]);
    let run = world.start::<Pay>(Input::of("", 0)).await.unwrap();
    until(&world, run, &[State::NeedsDecision]).await;
    world.engine().cancel(run, asked()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.detail(run).await.row.status.state, State::NeedsDecision);
    let response = crate::common::Answer::of("pay", 9).encode_to_vec();
    let verdict = Verdict::Happened(response.into());
    let decision = Decision { step: "Charge#0".to_owned(), incarnation: 1, attempt: 1, verdict };
    world.engine().resolve(run, decision, asked()).await.unwrap();
    assert_eq!(world.end_of(run).await.row.status.state, State::Cancelled);
    let undos = world.services().arrivals().into_iter().filter(|arrival| arrival.method.ends_with("Cancel"));
    let texts: Vec<_> = undos.map(|arrival| Cancel::decode(arrival.request).unwrap().text).collect();
    assert_eq!(texts, ["charge 9"]);
}

#[tokio::test(start_paused = true)]
async fn an_undo_of_a_read_is_a_mistake_that_is_told() {
    #[derive(Clone)]
    struct Mistaken;
    impl Workflow for Mistaken {
        const NAME: &'static str = "test.mistaken";
        type Input = Input;
        type Output = Output;

        async fn run(&self, ctx: &Context, _: Input) -> Result<Output, Failure> {
            ctx.call(Look::of("seen", 1)).undo(|_| Cancel::of("nothing", 0)).await?;
            Ok(Output::of("", 0))
        }
    }
    let world = World::new(services(), |registry: &mut Registry| registry.register(|| Mistaken));
    let failure = world.run::<Mistaken>(Input::of("", 0)).await.unwrap_err();
    assert_eq!(failure.code(), Code::InvalidArgument);
    assert!(failure.message().contains("/test.Service/Look"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_blocked_undo_cannot_be_cancelled_away() {
    let world = refusing(Probe::counting());
    world.services().always::<Cancel>(Some(Reply::Refuse(Code::PermissionDenied)));
    let run = started(&world, "").await;
    until(&world, run, &[State::Blocked]).await;
    world.engine().cancel(run, asked()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let detail = until(&world, run, &[State::Blocked]).await;
    assert_eq!(detail.to_undo, ["Put#1", "Put#0"]);
    let early = world.engine().retry(Uuid::from_u128(1), asked()).await.unwrap_err();
    assert!(matches!(early, EngineError::NotFound(_)));
}

#[tokio::test(start_paused = true)]
async fn a_keyed_step_in_doubt_beyond_its_horizon_is_decided_before_it_is_undone() {
    use engine::decision::{Decision, Verdict};
    use engine::{Level, Method, Rpc};

    struct Pay(Put);
    impl Rpc for Pay {
        type Request = Put;
        type Response = crate::common::Answer;
        const METHOD: &'static Method =
            &Method { level: Level::Keyed { horizon: Duration::from_secs(60) }, ..*Put::METHOD };

        fn into_request(self) -> Put {
            self.0
        }
    }
    #[derive(Clone)]
    struct Late;
    impl Workflow for Late {
        const NAME: &'static str = "test.late";
        type Input = Input;
        type Output = Output;

        async fn run(&self, ctx: &Context, _: Input) -> Result<Output, Failure> {
            let call = ctx.call(Pay(Put::of("pay", 1))).retry(Retry::never());
            let _lost = call.undo(|_| Cancel::of("pay", 0)).await;
            ctx.sleep("long", Duration::from_secs(600)).await?;
            Err(Failure::new(Code::Aborted, "enough"))
        }
    }
    let world = World::new(services(), |registry: &mut Registry| registry.register(|| Late));
    world.services().script::<Put>([Reply::ActAndBreak(Code::Unavailable)]);
    let run = world.start::<Late>(Input::of("", 0)).await.unwrap();
    let detail = until(&world, run, &[State::NeedsDecision]).await;
    assert_eq!((detail.steps[0].state, detail.to_undo), (StepState::NeedsDecision, vec!["Put#0".to_owned()]));
    let world = world.crash(Probe::counting());
    let happened = crate::common::Answer::of("pay", 2).encode_to_vec();
    let verdict = Verdict::Happened(happened.into());
    let decision = Decision { step: "Put#0".to_owned(), incarnation: 1, attempt: 1, verdict };
    world.engine().resolve(run, decision, asked()).await.unwrap();
    assert_eq!(world.end_of(run).await.row.status.state, State::Failed);
    assert_eq!((world.services().arrivals_of::<Put>(), world.services().arrivals_of::<Cancel>()), (1, 1));
}
