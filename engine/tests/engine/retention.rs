//! What is over goes after its time, a bit at a time.

use std::collections::HashMap;
use std::time::Duration;

use engine::engine::EngineError;
use engine::retention::{Kept, Retention};
use engine::store::sqlite::CommitFault;
use engine::store::{ListAudit, ListRuns, Requester};
use engine::testing::{Probe, Reply, World};
use engine::{Code, Context, Failure, Registry, State, Workflow};
use uuid::Uuid;

use crate::common::{Charge, Input, Output, Put, services, until};

const HOUR: Duration = Duration::from_hours(1);

/// Sleeps for so many seconds, then makes a charge, which is refused, where it is told to.
#[derive(Clone)]
struct Work;

impl Workflow for Work {
    const NAME: &'static str = "test.work";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, input: Input) -> Result<Output, Failure> {
        ctx.call(Put::of("put", 1)).await?;
        ctx.sleep("work", Duration::from_secs(u64::from(input.number))).await?;
        if input.text == "fail" {
            ctx.call(Charge::of("pay", 1)).await?;
        }
        Ok(Output::of("done", 0))
    }
}

fn keeping(succeeded: Option<Duration>, failed: Option<Duration>) -> Retention {
    Retention { runs: Kept { succeeded, failed, ..Kept::default() }, ..Retention::default() }
}

/// A world under this policy.
fn world(retention: Retention) -> World {
    let world = World::new(services(), |registry: &mut Registry| registry.register(|| Work));
    world.services().always::<Charge>(Some(Reply::Refuse(Code::FailedPrecondition)));
    world.crash_and_keep(retention)
}

async fn started(world: &World, text: &str, seconds: u32) -> Uuid {
    world.start::<Work>(Input::of(text, seconds)).await.unwrap()
}

async fn ended(world: &World, text: &str) -> Uuid {
    let run = started(world, text, 0).await;
    world.end_of(run).await;
    run
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

async fn is_there(world: &World, run: Uuid) -> bool {
    world.engine().store().run(run).await.unwrap().is_some()
}

async fn count(world: &World) -> usize {
    world.engine().store().list(ListRuns { limit: 10_000, ..ListRuns::default() }).await.unwrap().len()
}

#[tokio::test(start_paused = true)]
async fn a_run_goes_when_its_state_says_so_and_not_before() {
    let world = world(keeping(Some(HOUR), Some(3 * HOUR)));
    let (good, bad) = (ended(&world, "good").await, ended(&world, "fail").await);
    let going = started(&world, "good", 100_000).await;
    let row = world.detail(good).await.row;
    assert_eq!(world.engine().retention().expiry(&row), row.ended_at.map(|end| end.after(HOUR)));
    pass(HOUR - Duration::from_secs(1)).await;
    assert!(is_there(&world, good).await && is_there(&world, bad).await);
    pass(Duration::from_mins(2)).await;
    assert!(!is_there(&world, good).await && is_there(&world, bad).await);
    assert!(world.engine().store().journal(good, 0, 10).await.unwrap().is_empty());
    assert!(matches!(world.engine().detail(good).await, Err(EngineError::NotFound(run)) if run == good));
    pass(2 * HOUR).await;
    assert!(!is_there(&world, bad).await && is_there(&world, going).await);
}

#[tokio::test(start_paused = true)]
async fn a_workflow_has_a_policy_of_its_own_also_where_no_replica_knows_it() {
    let own = Kept { succeeded: Some(HOUR), ..Kept::default() };
    let workflows = HashMap::from([(Work::NAME.to_owned(), own)]);
    let world = world(Retention { workflows, ..keeping(None, Some(HOUR)) });
    let (good, bad) = (ended(&world, "good").await, ended(&world, "fail").await);
    let world = world.crash_and_change(|_| Ok(())).crash_and_keep(Retention {
        workflows: HashMap::from([(Work::NAME.to_owned(), own)]),
        ..keeping(None, Some(HOUR))
    });
    pass(2 * HOUR).await;
    assert!(!is_there(&world, good).await);
    assert!(is_there(&world, bad).await);
}

#[tokio::test(start_paused = true)]
async fn a_pinned_run_stays_until_it_is_pinned_no_more() {
    let world = world(keeping(Some(HOUR), None));
    let run = ended(&world, "good").await;
    let row = world.engine().pin(run, true, Requester::new("ann", "")).await.unwrap();
    assert_eq!(world.engine().retention().expiry(&row), None);
    pass(20 * HOUR).await;
    assert!(is_there(&world, run).await);
    world.engine().pin(run, false, Requester::new("ann", "")).await.unwrap();
    pass(Duration::from_mins(2)).await;
    assert!(!is_there(&world, run).await);
}

#[tokio::test(start_paused = true)]
async fn a_policy_holds_for_runs_that_ended_under_another_one() {
    let world = world(Retention::default());
    let run = ended(&world, "good").await;
    pass(20 * HOUR).await;
    assert!(is_there(&world, run).await);
    let world = world.crash_and_keep(keeping(Some(HOUR), None));
    let young = ended(&world, "good").await;
    pass(Duration::from_mins(2)).await;
    assert!(!is_there(&world, run).await);
    assert!(is_there(&world, young).await);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_retried_before_its_time_stays_and_has_it_anew() {
    let world = world(keeping(None, Some(HOUR)));
    let run = started(&world, "fail", 0).await;
    world.end_of(run).await;
    pass(HOUR - Duration::from_secs(1)).await;
    let row = world.engine().retry(run, Requester::new("ann", "once more")).await.unwrap();
    assert_eq!(world.engine().retention().expiry(&row), None);
    until(&world, run, &[State::Failed]).await;
    pass(HOUR - Duration::from_mins(1)).await;
    assert!(is_there(&world, run).await);
    pass(Duration::from_mins(3)).await;
    assert!(!is_there(&world, run).await);
}

#[tokio::test(start_paused = true)]
async fn many_runs_go_in_batches_with_rests_between_them() {
    let world = world(Retention::default());
    for _ in 0..1_000 {
        ended(&world, "good").await;
    }
    pass(2 * HOUR).await;
    let world = world.crash_and_keep(keeping(Some(HOUR), None));
    let mut last = count(&world).await;
    let mut batches = 0;
    while last > 0 {
        pass(Duration::from_millis(1)).await;
        let left = count(&world).await;
        assert!(last - left <= 200, "{} at once", last - left);
        batches += usize::from(left < last);
        last = left;
    }
    assert!(batches >= 5, "{batches}");
}

#[tokio::test(start_paused = true)]
async fn a_purge_that_fails_is_made_again() {
    let world = world(keeping(Some(HOUR), None));
    let run = ended(&world, "good").await;
    pass(HOUR - Duration::from_mins(1)).await;
    // The disk is full for three minutes.
    for _ in 0..18_000 {
        world.store().fail_next_commit(CommitFault::Before);
        pass(Duration::from_millis(10)).await;
    }
    assert!(is_there(&world, run).await);
    pass(Duration::from_mins(2)).await;
    assert!(!is_there(&world, run).await);
}

#[tokio::test(start_paused = true)]
async fn audit_entries_outlive_their_run_and_go_after_their_own_time() {
    let world = world(Retention { audit: Some(30 * HOUR), ..keeping(Some(HOUR), None) });
    let run = ended(&world, "good").await;
    world.engine().pin(run, false, Requester::new("ann", "")).await.unwrap();
    let entries = ListAudit::of_run(run, 10);
    pass(29 * HOUR).await;
    assert!(!is_there(&world, run).await);
    assert_eq!(world.engine().store().audit(entries.clone()).await.unwrap().len(), 1);
    pass(2 * HOUR).await;
    assert!(world.engine().store().audit(entries).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_removed_once_a_replica_drains() {
    let world = world(keeping(Some(HOUR), None));
    let run = ended(&world, "good").await;
    world.engine().drain(Duration::ZERO).await;
    pass(2 * HOUR).await;
    assert!(is_there(&world, run).await);
    let world = world.crash(Probe::counting());
    assert!(is_there(&world, run).await);
}
