//! Code that changes: versions of a workflow, and runs whose code is not here.

use std::time::Duration;

use engine::store::Requester;
use engine::testing::{World, crash_everywhere};
use engine::workflow::NameTaken;
use engine::{Context, Failure, Registry, State, Workflow};

use crate::common::{Input, Look, Output, Put, services, until, workflow};

const NIGHT: Duration = Duration::from_secs(600);

/// A workflow of three versions that differ in what they do in the morning.
struct Morning<const VERSION: u32>;

impl<const VERSION: u32> Workflow for Morning<VERSION> {
    const NAME: &'static str = "test.morning";
    const VERSION: u32 = VERSION;
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, input: Input) -> Result<Output, Failure> {
        // Version 2 looks first, and version 3 puts twice.
        if ctx.version_at_least(2) {
            ctx.call(Look::of("evening", input.number)).await?;
        }
        ctx.sleep("night", NIGHT).await?;
        let mut done = ctx.call(Put::of("morning", input.number)).await?;
        if ctx.version_at_least(3) {
            done = ctx.call(Put::of("again", done.number)).await?;
        }
        Ok(Output::of(done.text, done.number))
    }
}

fn version<const VERSION: u32>(registry: &mut Registry) -> Result<(), NameTaken> {
    registry.register(|| Morning::<VERSION>)
}

fn nothing(_: &mut Registry) -> Result<(), NameTaken> {
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_run_goes_on_as_the_version_that_created_it() {
    let world = World::new(services(), version::<1>);
    let oldest = world.start::<Morning<1>>(Input::of("", 1)).await.unwrap();
    until(&world, oldest, &[State::Waiting]).await;
    let world = world.crash_and_change(version::<2>);
    let older = world.start::<Morning<2>>(Input::of("", 1)).await.unwrap();
    until(&world, older, &[State::Waiting]).await;
    let world = world.crash_and_change(version::<3>);
    assert_eq!(world.run::<Morning<3>>(Input::of("", 1)).await, Ok(Output::of("again", 3)));
    for (run, version, looks) in [(oldest, 1, 2), (older, 2, 3)] {
        assert_eq!(world.result_of::<Morning<3>>(run).await, Ok(Output::of("morning", 2)));
        let detail = world.detail(run).await;
        assert_eq!((detail.row.workflow_version, detail.steps.len()), (version, looks), "version {version}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_version_of_a_run_is_the_same_after_every_crash() {
    let world = |probe| World::with(services(), version::<3>, engine::Limits::default(), probe);
    let sweep = crash_everywhere::<Morning<3>>(world, Input::of("", 1)).await;
    assert_eq!(sweep.holds(), &Ok(Output::of("again", 3)));
}

#[tokio::test(start_paused = true)]
async fn a_child_has_the_version_of_its_own_workflow() {
    workflow!(Parent, "test.parent", |ctx, input| {
        assert!(!ctx.version_at_least(2), "the parent's version is 1");
        ctx.child::<Morning<3>>("child", input).await
    });
    let world = World::new(services(), |r| {
        r.register(|| Parent)?;
        version::<3>(r)
    });
    let run = world.start::<Parent>(Input::of("", 1)).await.unwrap();
    assert_eq!(world.result_of::<Parent>(run).await, Ok(Output::of("again", 3)));
    let child = world.detail(run).await.steps[0].child.unwrap();
    assert_eq!(world.detail(run).await.row.workflow_version, 1);
    assert_eq!(world.detail(child).await.row.workflow_version, 3);
}

#[tokio::test(start_paused = true)]
async fn runs_without_their_code_wait_visibly_and_go_on_once_it_is_there() {
    type Older = fn(&mut Registry) -> Result<(), NameTaken>;
    let cases: [(Older, &str); 2] = [
        (nothing, "UNKNOWN_WORKFLOW: test.morning is not known here"),
        (version::<2>, "NEWER_VERSION: version 3 of test.morning created the run, and version 2 is known here"),
    ];
    for (older, reason) in cases {
        let world = World::new(services(), version::<3>);
        let run = world.start::<Morning<3>>(Input::of("", 1)).await.unwrap();
        until(&world, run, &[State::Waiting]).await;
        assert_eq!(world.engine().stranded(&world.detail(run).await.row), None);

        let world = world.crash_and_change(older);
        tokio::time::sleep(2 * NIGHT).await;
        let row = world.detail(run).await.row;
        let shown = world.engine().stranded(&row).unwrap();
        assert!(shown.starts_with(reason), "{shown}");
        let stranded = world.engine().stranded_runs().await.unwrap();
        let [stranded] = stranded.as_slice() else { panic!("{stranded:?}") };
        assert_eq!((stranded.workflow.as_str(), stranded.version, stranded.runs), ("test.morning", 3, 1));
        assert_eq!((stranded.reason.as_str(), row.status.state), (shown.as_str(), State::Waiting));
        assert_eq!(world.services().arrivals_of::<Put>(), 0);

        let world = world.crash_and_change(version::<3>);
        assert_eq!(world.result_of::<Morning<3>>(run).await, Ok(Output::of("again", 3)));
        assert_eq!(world.engine().stranded_runs().await.unwrap(), []);
    }
}

#[tokio::test(start_paused = true)]
async fn operators_end_runs_without_their_code_by_force_and_cancel_them_for_later() {
    let world = World::new(services(), version::<3>);
    let mut runs = Vec::new();
    for number in 0..2 {
        runs.push(world.start::<Morning<3>>(Input::of("", number)).await.unwrap());
        until(&world, runs[0], &[State::Waiting]).await;
    }
    let [ended, cancelled] = runs[..] else { panic!("{runs:?}") };
    let world = world.crash_and_change(nothing);
    let asked = || Requester::new("test", "the workflow is gone");
    let row = world.engine().terminate(ended, asked()).await.unwrap();
    assert_eq!(row.status.state, State::Terminated);
    world.engine().cancel(cancelled, asked()).await.unwrap();
    tokio::time::sleep(NIGHT).await;
    let row = world.detail(cancelled).await.row;
    assert!(world.engine().stranded(&row).unwrap().starts_with("UNKNOWN_WORKFLOW"));
    let world = world.crash_and_change(version::<3>);
    assert_eq!(world.end_of(cancelled).await.row.status.state, State::Cancelled);
}
