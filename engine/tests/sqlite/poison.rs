//! A run that its process dies of, again and again: it is found out, and everything else continues.

use engine::breadcrumbs::Breadcrumbs;
use engine::engine::{Engine, Parts, Start};
use engine::random::RandomSource;
use engine::safeguards::Safeguards;
use engine::{Context, Failure, Limits, Registry, Retention, Workflow};
use tokio_util::sync::CancellationToken;

use super::upgrades::{Empty, Nowhere};
use super::*;

const SPAN: Duration = Duration::from_millis(5);

/// Ends the process at its second step.
struct Dies;

impl Workflow for Dies {
    const NAME: &'static str = "poison.dies";
    type Input = Empty;
    type Output = Empty;

    async fn run(&self, ctx: &Context, _: Empty) -> Result<Empty, Failure> {
        ctx.sleep("before", SPAN).await?;
        std::process::abort()
    }
}

/// Is at work all the time.
struct Lives;

impl Workflow for Lives {
    const NAME: &'static str = "poison.lives";
    type Input = Empty;
    type Output = Empty;

    async fn run(&self, ctx: &Context, _: Empty) -> Result<Empty, Failure> {
        for _ in 0..20 {
            ctx.sleep("a little", SPAN).await?;
        }
        Ok(Empty {})
    }
}

fn engine(path: &Path, runs_in_flight: u32) -> Engine {
    let mut workflows = Registry::new();
    workflows.register(|| Dies).unwrap();
    workflows.register(|| Lives).unwrap();
    let parts = Parts {
        store: Arc::new(open(path).unwrap()),
        transport: Arc::new(Nowhere),
        workflows,
        clock: Clock::system(),
        random: RandomSource::system(),
        limits: Limits { runs_in_flight, ..Limits::default() },
        retention: Retention::default(),
    };
    let breadcrumbs = Breadcrumbs::begin(&path.with_extension("trail")).unwrap();
    Engine::with_safeguards(parts, Safeguards { breadcrumbs: Some(Arc::new(breadcrumbs)), ..Safeguards::default() })
}

#[test]
#[ignore = "run by other tests, as a process that dies"]
fn drives_all_runs_to_their_end() {
    let path = database_of_child();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build().unwrap();
    runtime.block_on(async {
        let engine = engine(&path, 1_000);
        let claims = engine.clone();
        tokio::spawn(async move { claims.claim_runs(CancellationToken::new()).await });
        loop {
            let runs = engine.store().list(ListRuns { limit: 100, ..ListRuns::default() }).await.unwrap();
            let over = |state: State| state.is_end() || state == State::Blocked;
            if runs.iter().all(|run| over(run.status.state) && !run.owned) {
                return engine.close_store().await.unwrap();
            }
            tokio::time::sleep(SPAN).await;
        }
    });
}

#[tokio::test]
async fn a_run_that_kills_its_process_three_times_is_stopped_and_the_others_go_on() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    let mut runs = Vec::new();
    {
        // Where there is no room a run stays PENDING.
        let engine = engine(&path, 0);
        for workflow in [Dies::NAME, Lives::NAME, Lives::NAME] {
            let start = Start { workflow: workflow.to_owned(), input: Bytes::new(), asked: None, deadline: None };
            runs.push(engine.start(start).await.unwrap().id);
        }
        engine.close_store().await.unwrap();
    }
    let mut deaths = 0;
    while !child("poison::drives_all_runs_to_their_end", &path).wait_with_output().unwrap().status.success() {
        deaths += 1;
        assert!(deaths < 10, "the run is not found out");
    }
    assert_eq!(deaths, 3);
    let store = open(&path).unwrap();
    let run = store.run(runs[0]).await.unwrap().unwrap();
    assert_eq!(run.status.state, State::Blocked);
    let reason = "POISON: 3 times within a day its code panicked, or its process died while it ran; the last time its \
                  process died";
    assert_eq!(run.status.reason, reason);
    for other in &runs[1..] {
        assert_eq!(store.run(*other).await.unwrap().unwrap().status.state, State::Succeeded);
    }
}
