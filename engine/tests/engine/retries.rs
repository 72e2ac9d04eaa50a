//! A retry from a step that an operator names, and what it says beforehand that it makes again.

use engine::engine::EngineError;
use engine::store::Requester;
use engine::testing::{Probe, Reply, World};
use engine::{Code, Context, Failure, Registry, Workflow};
use uuid::Uuid;

use crate::common::{Cancel, Charge, Input, Look, Output, Put, services};

/// A read, a put, items of their own, and a charge that the first time is refused.
#[derive(Clone)]
struct Long;

impl Workflow for Long {
    const NAME: &'static str = "test.long";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, input: Input) -> Result<Output, Failure> {
        let seen = ctx.call(Look::of("look", 1)).await?;
        let mut put = ctx.call(Put::of("put", seen.number));
        if input.text == "undo" {
            put = put.undo(|_| Cancel::of("put", 0));
        }
        let put = put.await?;
        let items = ctx.fan_out("item", ["a", "b"], |ctx, item| async move { ctx.call(Put::of(item, 7)).await });
        items.key(|item| (*item).to_owned()).await.values()?;
        let paid = ctx.call(Charge::of("pay", put.number)).await?;
        Ok(Output::of("done", paid.number))
    }
}

async fn failed(text: &str) -> (World, Uuid) {
    let world = World::new(services(), |registry: &mut Registry| registry.register(|| Long));
    world.services().script::<Charge>([Reply::Refuse(Code::FailedPrecondition)]);
    let run = world.start::<Long>(Input::of(text, 1)).await.unwrap();
    assert!(world.result_of::<Long>(run).await.is_err());
    (world, run)
}

fn asked() -> Requester {
    Requester::new("ann", "because")
}

async fn previewed(world: &World, run: Uuid, step: Option<&str>) -> Vec<(String, bool, bool)> {
    let again = world.engine().preview_retry(run, step).await.unwrap();
    again
        .into_iter()
        .map(|step| (step.path, step.level.is_some_and(engine::Level::has_effects), step.new_key))
        .collect()
}

fn of(path: &str, effects: bool, new_key: bool) -> (String, bool, bool) {
    (path.to_owned(), effects, new_key)
}

#[tokio::test(start_paused = true)]
async fn a_preview_says_what_is_made_again_and_what_of_it_has_effects() {
    let (world, run) = failed("").await;
    assert_eq!(previewed(&world, run, None).await, [of("Charge#3", true, true)]);
    let from_put = previewed(&world, run, Some("Put#1")).await;
    let expected = [
        of("Put#1", true, true),
        of("item#2", false, false),
        of("item[a]/Put#0", true, true),
        of("item[b]/Put#0", true, true),
        of("Charge#3", true, true),
    ];
    assert_eq!(from_put, expected);
    // A preview changes nothing.
    assert_eq!(world.services().arrivals().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_retry_from_a_step_makes_it_and_all_after_it_again() {
    for crash in [false, true] {
        let (world, run) = failed("").await;
        world.engine().retry_from(run, "Put#1", asked()).await.unwrap();
        let world = if crash { world.crash(Probe::counting()) } else { world };
        assert_eq!(world.result_of::<Long>(run).await, Ok(Output::of("done", 4)));
        assert_eq!((world.services().arrivals_of::<Look>(), world.services().arrivals_of::<Put>()), (1, 6));
        let identities = world.services().identities();
        let puts = identities.iter().filter(|((method, _), _)| method.ends_with("Put"));
        assert!(puts.map(|(_, identity)| identity.keys.len()).eq([2, 2, 2]), "{identities:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_from_an_item_leaves_the_others_alone() {
    let (world, run) = failed("").await;
    world.engine().retry_from(run, "item[a]/Put#0", asked()).await.unwrap();
    assert!(world.result_of::<Long>(run).await.is_ok());
    assert_eq!((world.services().arrivals_of::<Put>(), world.services().arrivals_of::<Charge>()), (4, 1));
}

#[tokio::test(start_paused = true)]
async fn a_retry_goes_on_from_the_first_undone_step_or_earlier() {
    let (world, run) = failed("undo").await;
    let late = world.engine().retry_from(run, "Charge#3", asked()).await.unwrap_err();
    assert!(matches!(&late, EngineError::Precondition { reason, .. } if reason.contains("Put#1 was undone")), "{late}");
    let nowhere = world.engine().retry_from(run, "Put#9", asked()).await.unwrap_err();
    assert!(matches!(nowhere, EngineError::Precondition { .. }), "{nowhere}");
    world.engine().retry_from(run, "Look#0", asked()).await.unwrap();
    assert!(world.result_of::<Long>(run).await.is_ok());
    assert_eq!((world.services().arrivals_of::<Look>(), world.services().arrivals_of::<Cancel>()), (2, 1));
}
