//! Clocks that are set while a replica lives, and between two of them.

use std::time::Duration;

use engine::decision::{Decision, Verdict};
use engine::store::Requester;
use engine::testing::{Probe, Reply, World};
use engine::view::StepState;
use engine::{Code, Context, Failure, Level, Method, Retry, Rpc, State, Workflow};
use prost::Message as _;

use crate::common::{Answer, Input, Output, Put, services, workflow};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

/// A call whose key its service remembers for a minute.
struct Pay(Put);

impl Rpc for Pay {
    type Request = Put;
    type Response = Answer;
    const METHOD: &'static Method = &Method {
        service: "test.Keyed",
        name: "Pay",
        path: "/test.Keyed/Pay",
        level: Level::Keyed { horizon: Duration::from_secs(60) },
        request_id: None,
    };
    fn into_request(self) -> Put {
        self.0
    }
}

workflow!(PayLater, "test.pay-later", |ctx, _input| {
    let retry = Retry::try_new(5, 20 * SECOND, 1.0, 20 * SECOND, 0.0).unwrap();
    ctx.call(Pay(Put::of("pay", 1))).retry(retry).await?;
    Ok(Output::of("done", 0))
});

fn paying() -> World {
    let services = services().on::<Pay>(|put| Ok(Answer::of(put.text, put.number)));
    let world = World::new(services, |registry| registry.register(|| PayLater));
    world.services().script::<Pay>([Reply::ActAndBreak(Code::Unavailable)]);
    world
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_set_moves_no_back_off_and_no_horizon() {
    for (back, forward) in [(2 * HOUR, Duration::ZERO), (Duration::ZERO, 2 * HOUR), (HOUR, HOUR)] {
        let world = paying();
        let run = world.start::<PayLater>(Input::default()).await.unwrap();
        tokio::time::sleep(10 * SECOND).await;
        world.clocks().set_back(back);
        tokio::time::sleep(SECOND).await;
        world.clocks().set_forward(forward);
        let ended = world.end_of(run).await;
        assert_eq!(ended.row.status.state, State::Succeeded);
        let took = ended.row.ended_at.unwrap().since(ended.row.created_at);
        assert!(took > 19 * SECOND && took < 22 * SECOND, "{took:?}");
    }
}

workflow!(PayLate, "test.pay-late", |ctx, _input| {
    let retry = Retry::try_new(5, 50 * SECOND, 1.0, 50 * SECOND, 0.0).unwrap();
    ctx.call(Pay(Put::of("pay", 1))).retry(retry).await?;
    Ok(Output::of("done", 0))
});

#[tokio::test(start_paused = true)]
async fn a_repeated_attempt_ends_before_its_service_forgets_the_key() {
    for (takes, state) in [(5, State::Succeeded), (20, State::NeedsDecision)] {
        let services = services().on::<Pay>(|put| Ok(Answer::of(put.text, put.number)));
        let world = World::new(services, |registry| registry.register(|| PayLate));
        world.services().script::<Pay>([Reply::ActAndBreak(Code::Unavailable), Reply::Slow(takes * SECOND)]);
        let run = world.start::<PayLate>(Input::default()).await.unwrap();
        tokio::time::sleep(65 * SECOND).await;
        assert_eq!(world.detail(run).await.row.status.state, state, "it takes {takes} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_that_lies_in_the_future_after_a_restart_is_beyond_its_horizon() {
    let world = paying();
    let run = world.start::<PayLater>(Input::default()).await.unwrap();
    tokio::time::sleep(10 * SECOND).await;
    world.probe().kill();
    world.clocks().set_back(2 * HOUR);
    let world = world.crash(Probe::counting());
    let detail = world.until(run, State::NeedsDecision).await;
    assert!(detail.row.status.reason.starts_with("AMBIGUOUS_EFFECT"), "{}", detail.row.status.reason);
    assert_eq!(world.services().arrivals_of::<Pay>(), 1);
    // The run has left memory: what is shown, and what may be decided, follows from what is stored.
    assert!(!detail.row.owned);
    let step = &detail.steps[0];
    assert_eq!((step.path().as_str(), step.state), ("Pay#0", StepState::NeedsDecision));
    let happened = Verdict::Happened(Answer::of("pay", 1).encode_to_vec().into());
    let (incarnation, attempt) = (step.incarnation, step.attempts);
    let decision = Decision { step: step.path(), incarnation, attempt, verdict: happened };
    world.engine().resolve(run, decision, Requester::new("ann", "the statement has it")).await.unwrap();
    assert_eq!(world.end_of(run).await.row.status.state, State::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_pause_lasts_no_longer_than_it_was_made_where_the_clock_is_set_back_over_a_restart() {
    for (before, back) in [(50 * SECOND, 2 * HOUR), (50 * SECOND, 20 * SECOND), (90 * SECOND, 1_000 * HOUR)] {
        let world = World::new(services(), |registry| registry.register(|| Twice));
        let run = world.start::<Twice>(Input::default()).await.unwrap();
        tokio::time::sleep(before).await;
        world.probe().kill();
        world.clocks().set_back(back);
        let world = world.crash(Probe::counting());
        let begun = tokio::time::Instant::now();
        let ended = world.end_of(run).await;
        assert_eq!(ended.row.status.state, State::Succeeded);
        assert!(begun.elapsed() <= 102 * SECOND, "{back:?}: {:?} after the restart", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_of_the_future_stays_beyond_its_horizon_when_the_clock_has_come_there() {
    let world = paying();
    let run = world.start::<PayLater>(Input::default()).await.unwrap();
    tokio::time::sleep(10 * SECOND).await;
    world.probe().kill();
    world.clocks().set_back(100 * SECOND);
    let world = world.crash(Probe::counting());
    world.until(run, State::NeedsDecision).await;
    tokio::time::sleep(110 * SECOND).await;
    world.probe().kill();
    let world = world.crash(Probe::counting());
    tokio::time::sleep(1_000 * SECOND).await;
    assert_eq!(world.detail(run).await.row.status.state, State::NeedsDecision);
    assert_eq!(world.services().arrivals_of::<Pay>(), 1);
}

/// Takes the time before and after a wait.
#[derive(Clone)]
struct Twice;

impl Workflow for Twice {
    const NAME: &'static str = "test.twice";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, _input: Input) -> Result<Output, Failure> {
        let before = ctx.now();
        ctx.sleep("wait", 100 * SECOND).await?;
        let after = ctx.now();
        let passed = u32::try_from(after.since(before).as_secs()).unwrap_or(u32::MAX);
        Ok(Output::of(if after < before { "back" } else { "on" }, passed))
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_that_code_is_given_is_the_wall_clocks_and_never_goes_back() {
    for dies in [false, true] {
        let mut world = World::new(services(), |registry| registry.register(|| Twice));
        world.clocks().set_forward(6 * HOUR);
        let run = world.start::<Twice>(Input::default()).await.unwrap();
        tokio::time::sleep(SECOND).await;
        world.clocks().set_back(6 * HOUR);
        if dies {
            world.probe().kill();
            world = world.crash(Probe::counting());
        }
        let output = world.result_of::<Twice>(run).await.unwrap();
        assert_eq!((output.text.as_str(), output.number), ("on", 0));

        let run = world.start::<Twice>(Input::default()).await.unwrap();
        tokio::time::sleep(SECOND).await;
        world.clocks().set_forward(HOUR);
        assert_eq!(world.result_of::<Twice>(run).await.unwrap().number, 3_700);
    }
}

#[tokio::test(start_paused = true)]
async fn a_sleep_lasts_as_long_as_it_says_whatever_the_wall_clock_is_set_to() {
    for (back, forward) in [(2 * HOUR, Duration::ZERO), (Duration::ZERO, 2 * HOUR), (48 * HOUR, 24 * HOUR)] {
        let world = World::new(services(), |registry| registry.register(|| Twice));
        let (run, begun) = (world.start::<Twice>(Input::default()).await.unwrap(), tokio::time::Instant::now());
        tokio::time::sleep(50 * SECOND).await;
        world.clocks().set_back(back);
        world.clocks().set_forward(forward);
        world.end_of(run).await;
        let took = begun.elapsed();
        assert!(took >= 100 * SECOND && took < 102 * SECOND, "{took:?}");
    }
}
