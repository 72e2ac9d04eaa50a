//! What a run does when calls fail: it calls again, it ends, or it asks an operator.

use std::time::Duration;

use engine::testing::{Probe, Reply, World, crash_everywhere};
use engine::view::StepState;
use engine::{Code, Context, Failure, Limits, Retry, Rpc, State, Workflow};

use crate::common::{Charge, Input, Look, Output, Put, services, until};

const MINUTE: Duration = Duration::from_secs(60);

/// One call of the level that its input names.
#[derive(Clone)]
struct One;

impl Workflow for One {
    const NAME: &'static str = "test.one";
    const DEADLINE: Duration = Duration::from_secs(600);
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, input: Input) -> Result<Output, Failure> {
        let answer = match input.text.as_str() {
            "look" => ctx.call(Look::of("one", input.number)).await?,
            "put" => ctx.call(Put::of("one", input.number)).timeout(Duration::from_secs(2)).await?,
            "bounded" => ctx.call(Put::of("one", input.number)).retry(Retry::patient().within(MINUTE)).await?,
            "patient" => ctx.call(Put::of("one", input.number)).retry(Retry::patient()).await?,
            _ => ctx.call(Charge::of("one", input.number)).await?,
        };
        Ok(Output::of("done", answer.number))
    }
}

fn world() -> World {
    world_for(Probe::counting())
}

fn world_for(probe: Probe) -> World {
    World::with(services(), |registry| registry.register(|| One), Limits::default(), probe)
}

fn done() -> Result<Output, Failure> {
    Ok(Output::of("done", 2))
}

#[tokio::test(start_paused = true)]
async fn what_was_never_sent_is_tried_again_at_every_level() {
    for kind in ["look", "put", "charge"] {
        let world = world();
        world.services().script::<Look>([Reply::NotSent, Reply::NotSent]);
        world.services().script::<Put>([Reply::NotSent, Reply::NotSent]);
        world.services().script::<Charge>([Reply::NotSent, Reply::NotSent]);
        assert_eq!(world.run::<One>(Input::of(kind, 1)).await, done(), "{kind}");
        assert_eq!(world.services().arrivals().len(), 1, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_idempotent_call_whose_answer_was_lost_is_sent_again_under_its_key() {
    let world = world();
    world.services().script::<Put>([Reply::ActAndBreak(Code::Unavailable), Reply::BreakFirst(Code::Internal)]);
    assert_eq!(world.run::<One>(Input::of("put", 1)).await, done());
    let identities: Vec<_> = world.services().identities().into_values().collect();
    assert_eq!((identities[0].keys.len(), identities[0].arrivals, identities[0].applied), (1, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_refuses_is_not_asked_again() {
    let world = world();
    world.services().script::<Put>([Reply::Refuse(Code::FailedPrecondition)]);
    let failure = world.run::<One>(Input::of("put", 1)).await.unwrap_err();
    assert_eq!(failure.code(), Code::FailedPrecondition);
    assert_eq!(failure.step().map(|step| step.name.as_str()), Some("/test.Service/Put"));
    assert_eq!(world.services().arrivals().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn attempts_end_with_the_policy_and_the_last_error_is_the_failure() {
    let world = world();
    world.services().always::<Look>(Some(Reply::BreakFirst(Code::Unavailable)));
    let run = world.start::<One>(Input::of("look", 1)).await.unwrap();
    let failure = world.result_of::<One>(run).await.unwrap_err();
    assert_eq!(failure.code(), Code::Unavailable);
    assert_eq!(world.detail(run).await.steps[0].attempts, 10);
}

#[tokio::test(start_paused = true)]
async fn all_attempts_together_have_the_time_of_the_step_also_over_a_crash() {
    for crash in [false, true] {
        let world = world();
        world.services().always::<Put>(Some(Reply::BreakFirst(Code::Unavailable)));
        let begun = tokio::time::Instant::now();
        let run = world.start::<One>(Input::of("bounded", 1)).await.unwrap();
        tokio::time::sleep(MINUTE / 2).await;
        let world = if crash { world.crash(Probe::counting()) } else { world };
        let failure = world.result_of::<One>(run).await.unwrap_err();
        assert_eq!(failure.code(), Code::Unavailable);
        let took = begun.elapsed();
        assert!(MINUTE / 4 < took && took <= MINUTE, "{took:?}");
        // 0, 1, 3, 7, 15 and 31 seconds after the first, more or less, and perhaps just in time another.
        let attempts = world.detail(run).await.steps[0].attempts;
        assert!((6..=7).contains(&attempts), "{attempts} attempts");
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_is_waited_for_no_longer_than_the_step_has_time() {
    let world = world();
    world.services().always::<Put>(Some(Reply::Hang));
    let begun = tokio::time::Instant::now();
    let failure = world.run::<One>(Input::of("bounded", 1)).await.unwrap_err();
    assert_eq!(failure.code(), Code::DeadlineExceeded);
    assert!(begun.elapsed() <= MINUTE + Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_comes_back_too_late_for_the_step_is_not_asked() {
    let world = world();
    world.services().script::<Put>([Reply::NotSent]);
    let run = world.start::<One>(Input::of("bounded", 1)).await.unwrap();
    until(&world, run, &[State::BackingOff]).await;
    world.services().take_down("gone");
    tokio::time::sleep(2 * MINUTE).await;
    world.services().bring_back();
    let failure = world.result_of::<One>(run).await.unwrap_err();
    assert_eq!(failure.code(), Code::DeadlineExceeded);
    assert_eq!(failure.message(), "the time for all attempts of the step is up, after 1 of them");
    assert_eq!(world.services().arrivals().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_never_answers_holds_a_step_no_longer_than_its_deadline() {
    let world = world();
    world.services().script::<Put>([Reply::Hang]);
    let begun = tokio::time::Instant::now();
    assert_eq!(world.run::<One>(Input::of("put", 1)).await, done());
    assert!(begun.elapsed() < Duration::from_secs(3), "took {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_effect_of_unknown_level_with_a_lost_answer_needs_a_decision_and_is_sent_once() {
    for reply in [Reply::ActAndBreak(Code::Unavailable), Reply::BreakFirst(Code::DeadlineExceeded), Reply::Hang] {
        let world = world();
        world.services().script::<Charge>([reply.clone()]);
        let run = world.start::<One>(Input::of("charge", 1)).await.unwrap();
        let detail = until(&world, run, &[State::NeedsDecision]).await;
        assert_eq!(detail.steps[0].state, StepState::NeedsDecision, "{reply:?}");
        assert!(detail.row.status.reason.starts_with("AMBIGUOUS_EFFECT"), "{}", detail.row.status.reason);
        let world = world.crash(Probe::counting());
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(world.detail(run).await.row.status.state, State::NeedsDecision);
        assert!(world.services().arrivals().len() <= 1, "{reply:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_effect_of_unknown_level_is_sent_at_most_once_wherever_its_replica_is_killed() {
    let whole = world();
    whole.run::<One>(Input::of("charge", 1)).await.unwrap();
    let points = whole.probe().points();
    let mut undecided = 0;
    for (point, name) in points.iter().enumerate() {
        let probe = Probe::killing_at(point);
        let first = world_for(probe.clone());
        let request = Some(uuid::Uuid::from_u128(1));
        tokio::select! {
            () = probe.death() => {}
            started = first.start_once::<One>(Input::of("charge", 1), request) => {
                if started.is_ok() {
                    probe.death().await;
                }
            }
        }
        let second = first.crash(Probe::counting());
        let run = second.start_once::<One>(Input::of("charge", 1), request).await.unwrap();
        let detail = until(&second, run, &[State::NeedsDecision, State::Succeeded]).await;
        undecided += u32::from(detail.row.status.state == State::NeedsDecision);
        assert!(second.services().arrivals().len() <= 1, "sent twice after a crash at {name}");
    }
    assert!(undecided > 0, "no crash left the effect in doubt: {points:?}");
}

#[tokio::test(start_paused = true)]
async fn attempts_are_counted_over_restarts() {
    let mut world = world();
    world.services().always::<Put>(Some(Reply::BreakFirst(Code::Unavailable)));
    let run = world.start::<One>(Input::of("put", 1)).await.unwrap();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_secs(3)).await;
        world = world.crash(Probe::counting());
    }
    let failure = world.result_of::<One>(run).await.unwrap_err();
    assert_eq!(failure.code(), Code::Unavailable);
    let attempts = world.detail(run).await.steps[0].attempts;
    // A crash while an attempt is in flight may cost that attempt; none is counted again.
    assert!((10..=14).contains(&attempts), "{attempts} attempts");
}

#[tokio::test(start_paused = true)]
async fn a_run_ends_at_its_deadline_whatever_it_waits_for() {
    let world = world();
    world.services().always::<Put>(Some(Reply::NotSent));
    let begun = tokio::time::Instant::now();
    let failure = world.run::<One>(Input::of("patient", 1)).await.unwrap_err();
    assert_eq!(failure.code(), Code::DeadlineExceeded);
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(600) && took < Duration::from_secs(605), "took {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_keyed_effect_in_doubt_is_settled_before_the_run_ends_at_its_deadline() {
    let world = world();
    world.services().always::<Put>(Some(Reply::BreakFirst(Code::Unavailable)));
    let run = world.start::<One>(Input::of("patient", 1)).await.unwrap();
    let detail = until(&world, run, &[State::Ending]).await;
    assert_eq!(detail.row.status.ending_as, Some(State::Failed));
    world.services().always::<Put>(None);
    let ended = world.end_of(run).await;
    assert_eq!(ended.failure.as_ref().map(Failure::code), Some(Code::DeadlineExceeded));
    assert_eq!(world.detail(run).await.steps[0].state, StepState::Succeeded);
}

/// A call that fails its first attempts, then a wait, then another.
#[derive(Clone)]
struct Bumpy;

impl Workflow for Bumpy {
    const NAME: &'static str = "test.bumpy";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, input: Input) -> Result<Output, Failure> {
        let first = ctx.call(Put::of("first", input.number)).await?;
        ctx.sleep("rest", Duration::from_secs(30)).await?;
        let second = ctx.call(Look::of("second", first.number)).await?;
        let third = ctx.call(Put::of("third", second.number)).await?;
        Ok(Output::of("done", third.number))
    }
}

#[tokio::test(start_paused = true)]
async fn failed_attempts_and_waits_survive_a_kill_at_any_point() {
    let make = |probe| {
        let services = services();
        services.script::<Put>([Reply::NotSent, Reply::ActAndBreak(Code::Unavailable)]);
        services.script::<Look>([Reply::BreakFirst(Code::Internal)]);
        World::with(services, |registry| registry.register(|| Bumpy), Limits::default(), probe)
    };
    let sweep = crash_everywhere::<Bumpy>(make, Input::of("", 0)).await;
    assert_eq!(sweep.holds(), &Ok(Output::of("done", 3)));
}

#[tokio::test(start_paused = true)]
async fn a_business_key_is_the_same_in_every_run() {
    #[derive(Clone)]
    struct Push;
    impl Workflow for Push {
        const NAME: &'static str = "test.push";
        type Input = Input;
        type Output = Output;

        async fn run(&self, ctx: &Context, input: Input) -> Result<Output, Failure> {
            let answer = ctx.call(Put::of("push", 1)).idempotency_key("push", [&input.text]).await?;
            Ok(Output::of("done", answer.number))
        }
    }
    let world = World::new(services(), |registry| registry.register(|| Push));
    for _ in 0..3 {
        world.run::<Push>(Input::of("u1/9:00", 1)).await.unwrap();
    }
    world.run::<Push>(Input::of("u1/10:00", 1)).await.unwrap();
    assert_eq!(world.services().arrivals_of::<Put>(), 4);
    assert_eq!(world.services().effects_of::<Put>(), 2, "keys: {:?}", world.services().identities());
    assert_eq!(Put::METHOD.name, "Put");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_lost_and_came_back_finds_its_runs_again() {
    use engine::store::sqlite::CommitFault;
    for fault in [CommitFault::Before, CommitFault::After] {
        let world = world();
        let runs = [world.start::<One>(Input::of("patient", 1)).await.unwrap()];
        world.services().script::<Put>([Reply::Slow(Duration::from_secs(3))]);
        let other = world.start::<One>(Input::of("put", 1)).await.unwrap();
        world.store().fail_next_commit(fault);
        let _lost = world.start::<One>(Input::of("look", 1)).await;
        for run in runs.into_iter().chain([other]) {
            assert_eq!(world.result_of::<One>(run).await, done(), "{fault:?}");
        }
        let identities = world.services().identities();
        // Two runs with one request: two keys, each applied once.
        assert!(identities.values().all(|identity| identity.applied == identity.keys.len()), "{identities:?}");
    }
}
