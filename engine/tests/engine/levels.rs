//! What a transport knows of how often calls may be repeated, where their contracts say less.

use std::time::Duration;

use engine::testing::{Probe, Reply, World};
use engine::view::StepState;
use engine::{Code, Context, Failure, Level, Registry, Retry, State, Workflow};

use crate::common::{Cancel, Charge, Input, Output, Put, services, until};

/// Between two attempts of a charge.
const PAUSE: Duration = Duration::from_secs(100);

/// Charges, and takes it back where the input says so.
#[derive(Clone)]
struct Order;

impl Workflow for Order {
    const NAME: &'static str = "test.order";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, input: Input) -> Result<Output, Failure> {
        let slowly = Retry::try_new(3, PAUSE, 1.0, PAUSE, 0.0).unwrap_or_default();
        let charge = ctx.call(Charge::of("charge", 1)).retry(slowly);
        if input.text == "undo" {
            let charged = charge.undo(|_| Cancel::of("charge", 0)).await?;
            return Err(Failure::new(Code::Aborted, format!("{} is too much", charged.number)));
        }
        let charged = charge.await?;
        let put = ctx.call(Put::of("put", charged.number)).await?;
        Ok(Output::of("done", put.number))
    }
}

fn world(level: Option<Level>) -> World {
    let world = World::new(services(), |registry: &mut Registry| registry.register(|| Order));
    world.services().level::<Charge>(level);
    world
}

const fn keyed(seconds: u64) -> Option<Level> {
    Some(Level::Keyed { horizon: Duration::from_secs(seconds) })
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_known_to_be_honoured_is_sent_again_within_its_horizon() {
    let world = world(keyed(3_600));
    world.services().script::<Charge>([Reply::ActAndBreak(Code::Unavailable)]);
    let run = world.start::<Order>(Input::of("", 0)).await.unwrap();
    assert_eq!(world.result_of::<Order>(run).await, Ok(Output::of("done", 3)));
    assert_eq!((world.services().arrivals_of::<Charge>(), world.services().effects_of::<Charge>()), (2, 1));
    assert_eq!(world.detail(run).await.steps[0].level, keyed(3_600));
}

#[tokio::test(start_paused = true)]
async fn beyond_its_horizon_an_operator_decides() {
    let world = world(keyed(60));
    world.services().script::<Charge>([Reply::ActAndBreak(Code::Unavailable)]);
    let run = world.start::<Order>(Input::of("", 0)).await.unwrap();
    let detail = until(&world, run, &[State::NeedsDecision]).await;
    assert_eq!((detail.steps[0].state, detail.steps[0].attempts), (StepState::NeedsDecision, 1));
    assert_eq!(world.services().arrivals_of::<Charge>(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_attempt_can_act_after_the_service_has_forgotten_its_key() {
    let horizon = Duration::from_secs(130);
    let services = services().remembers::<Charge>(horizon);
    let world = World::new(services, |registry: &mut Registry| registry.register(|| Order));
    world.services().level::<Charge>(keyed(130));
    // The second begins after 100 s, and acts as late as an attempt can.
    let late = Reply::ActLater(Code::Unavailable, Duration::from_secs(1_000));
    world.services().script::<Charge>([Reply::ActAndBreak(Code::Unavailable), late]);
    let run = world.start::<Order>(Input::of("", 0)).await.unwrap();
    until(&world, run, &[State::NeedsDecision]).await;
    tokio::time::sleep(horizon).await;
    assert_eq!((world.services().arrivals_of::<Charge>(), world.services().effects_of::<Charge>()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_started_keeps_its_level_whatever_is_known_after_a_crash() {
    for (then, since, state, arrivals) in
        [(keyed(3_600), None, State::Succeeded, 2), (None, Some(Level::Idempotent), State::NeedsDecision, 1)]
    {
        let world = world(then);
        world.services().script::<Charge>([Reply::ActAndBreak(Code::Unavailable)]);
        let run = world.start::<Order>(Input::of("", 0)).await.unwrap();
        until(&world, run, &[State::BackingOff, State::NeedsDecision]).await;
        world.services().level::<Charge>(since);
        let world = world.crash(Probe::counting());
        until(&world, run, &[state]).await;
        assert_eq!(world.services().arrivals_of::<Charge>(), arrivals, "{then:?} {since:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_without_side_effects_is_not_journaled_before_it_is_sent() {
    let world = world(Some(Level::NoSideEffects));
    world.services().script::<Charge>([Reply::BreakFirst(Code::Unavailable)]);
    let run = world.start::<Order>(Input::of("", 0)).await.unwrap();
    assert_eq!(world.result_of::<Order>(run).await, Ok(Output::of("done", 3)));
    let charge = world.services().arrivals().into_iter().find(|arrival| arrival.attempt == 2).unwrap();
    assert_eq!(charge.key, None);
}

#[tokio::test(start_paused = true)]
async fn what_is_undone_and_what_undoes_is_journaled_before_it_is_sent_all_the_same() {
    let world = world(Some(Level::NoSideEffects));
    world.services().level::<Cancel>(Some(Level::NoSideEffects));
    let run = world.start::<Order>(Input::of("undo", 0)).await.unwrap();
    assert_eq!(world.end_of(run).await.row.status.state, State::Failed);
    assert_eq!((world.services().effects_of::<Charge>(), world.services().effects_of::<Cancel>()), (1, 1));
    let levels: Vec<_> = world.detail(run).await.steps.into_iter().map(|step| step.level).collect();
    assert_eq!(levels, [Some(Level::Unknown), Some(Level::Idempotent)]);
}

#[tokio::test(start_paused = true)]
async fn an_undo_is_made_again_as_its_transport_knows_it_may_be() {
    let world = world(None);
    world.services().level::<Cancel>(keyed(3_600));
    world.services().script::<Cancel>([Reply::ActAndBreak(Code::Unavailable)]);
    let run = world.start::<Order>(Input::of("undo", 0)).await.unwrap();
    assert_eq!(world.end_of(run).await.row.status.state, State::Failed);
    let levels: Vec<_> = world.detail(run).await.steps.into_iter().map(|step| step.level).collect();
    assert_eq!(levels, [Some(Level::Unknown), keyed(3_600)]);
}
