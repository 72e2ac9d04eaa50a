//! What is shown of steps is true: of reads under way, and of runs that ended.

use std::time::Duration;

use engine::store::Requester;
use engine::testing::{Reply, World};
use engine::view::StepState;
use engine::{Code, Registry, Retry, SignalType, State, Workflow};

use crate::common::{Answer, Charge, Input, Look, Output, Put, services, until, workflow};

const SECOND: Duration = Duration::from_secs(1);

workflow!(OneLook, "test.one-look", |ctx, _input| {
    let retry = Retry::try_new(5, SECOND, 1.0, SECOND, 0.0).unwrap_or_default();
    let look = ctx.call(Look::of("look", 1)).retry(retry).await?;
    Ok(Output::of("done", look.number))
});

#[tokio::test(start_paused = true)]
async fn a_read_that_is_made_again_is_shown_in_flight() {
    let world = World::new(services(), |registry: &mut Registry| registry.register(|| OneLook));
    world.services().script::<Look>([Reply::BreakFirst(Code::Unavailable), Reply::Slow(20 * SECOND)]);
    let run = world.start::<OneLook>(Input::of("", 0)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let step = &world.detail(run).await.steps[0];
    assert_eq!(step.state, StepState::BackingOff);
    assert!(step.next_attempt_at.is_some_and(|at| at > world.clock().now()));
    tokio::time::sleep(5 * SECOND).await;
    let step = &world.detail(run).await.steps[0];
    assert_eq!((step.state, step.next_attempt_at), (StepState::InFlight, None));
    assert!(world.result_of::<OneLook>(run).await.is_ok());
}

#[derive(Clone)]
struct Many;

impl Workflow for Many {
    const NAME: &'static str = "test.many";
    const SIGNALS: &'static [SignalType] = &[SignalType::of::<Answer>("paid")];
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &engine::Context, input: Input) -> Result<Output, engine::Failure> {
        let (look, sleep) = (ctx.call(Look::of("look", 1)).retry(Retry::patient()), ctx.sleep("long", 50_000 * SECOND));
        let waits = ctx.branch("waits", |ctx| async move { ctx.signal::<Answer>("paid").await.map(drop) });
        if input.text == "charge" {
            ctx.all((look, sleep, waits, ctx.call(Charge::of("charge", 1)))).await?;
        } else {
            ctx.all((look, sleep, waits)).await?;
        }
        ctx.call(Put::of("put", 1)).await?;
        Ok(Output::of("", 0))
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_run_ended_without_goes_on_no_more() {
    for terminate in [false, true] {
        let world = World::new(services(), |registry: &mut Registry| registry.register(|| Many));
        world.services().always::<Look>(Some(Reply::BreakFirst(Code::Unavailable)));
        world.services().always::<Charge>(Some(Reply::ActAndBreak(Code::Unavailable)));
        let run = world.start::<Many>(Input::of(if terminate { "charge" } else { "" }, 0)).await.unwrap();
        tokio::time::sleep(100 * SECOND).await;
        let asked = Requester::new("ann", "");
        if terminate {
            world.engine().terminate(run, asked).await.unwrap();
        } else {
            world.engine().cancel(run, asked).await.unwrap();
        }
        let detail = until(&world, run, &[State::Cancelled, State::Terminated]).await;
        let over = [StepState::Succeeded, StepState::Withdrawn];
        for step in &detail.steps {
            assert!(over.contains(&step.state) && step.next_attempt_at.is_none(), "{terminate}: {step:?}");
        }
        let withdrawn = detail.steps.iter().filter(|step| step.state == StepState::Withdrawn);
        assert!(withdrawn.clone().all(|step| step.ended_at == detail.row.ended_at));
        assert_eq!(withdrawn.count(), if terminate { 4 } else { 3 });
        // Of the charge no one knows.
        assert_eq!(detail.steps.iter().filter(|step| step.in_doubt).count(), usize::from(terminate));
    }
}
