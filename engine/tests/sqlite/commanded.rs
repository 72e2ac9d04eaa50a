//! Commands that come while their runs are claimed, with the store in a file, its thread, and real time (semantics.md S8).

use engine::engine::{Engine, Parts, Start};
use engine::random::RandomSource;
use engine::{Context, Failure, Limits, Registry, Retention, Workflow};
use prost::Message as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::upgrades::Nowhere;
use super::*;

#[derive(Clone, PartialEq, prost::Message)]
struct Milliseconds {
    #[prost(uint32, tag = "1")]
    number: u32,
}

impl prost::Name for Milliseconds {
    const NAME: &'static str = "Milliseconds";
    const PACKAGE: &'static str = "sqlite.test";
}

/// Sleeps for so long, and then for a minute in short turns: it is in memory all that time.
struct Restless;

impl Workflow for Restless {
    const NAME: &'static str = WORKFLOW;
    type Input = Milliseconds;
    type Output = Milliseconds;

    async fn run(&self, ctx: &Context, first: Milliseconds) -> Result<Milliseconds, Failure> {
        ctx.sleep("first", Duration::from_millis(first.number.into())).await?;
        for _ in 0..600 {
            ctx.sleep("moment", Duration::from_millis(100)).await?;
        }
        Ok(first)
    }
}

const RUNS: u32 = 300;
const DUE_AFTER: Duration = Duration::from_millis(2_500);
const SPREAD: Duration = Duration::from_millis(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_cancel_around_the_moment_at_which_its_run_is_claimed_is_heard() {
    let folder = TempDir::new().unwrap();
    // A disk whose sync takes some milliseconds: claims are on their way for longer.
    let mut options = SqliteOptions::default();
    options.commit_delay = Some(Duration::from_millis(3));
    let mut workflows = Registry::new();
    workflows.register(|| Restless).unwrap();
    let engine = Engine::new(Parts {
        store: Arc::new(Sqlite::open(folder.path().join("store.db"), options, Clock::system()).unwrap()),
        transport: Arc::new(Nowhere),
        workflows,
        clock: Clock::system(),
        random: RandomSource::system(),
        limits: Limits { linger: Duration::from_millis(500), ..Limits::default() },
        retention: Retention::default(),
    });
    let loops = engine.clone();
    tokio::spawn(async move { loops.claim_runs(CancellationToken::new()).await });

    // All are due at the same moment, and cancelled around it.
    let due = Instant::now() + DUE_AFTER;
    let mut cancels = Vec::new();
    for number in 0..RUNS {
        let left = due.saturating_duration_since(Instant::now()).max(Duration::from_millis(600));
        let input = Milliseconds { number: u32::try_from(left.as_millis()).unwrap() }.encode_to_vec().into();
        let start = Start { workflow: WORKFLOW.to_owned(), input, asked: None, deadline: None };
        let (run, engine) = (engine.start(start).await.unwrap().id, engine.clone());
        let at = due - SPREAD / 2 + SPREAD * number / RUNS;
        cancels.push(tokio::spawn(async move {
            tokio::time::sleep_until(at).await;
            let row = engine.cancel(run, Requester::new("test", "around its claim")).await.unwrap();
            (run, row.owned)
        }));
    }
    for cancel in cancels {
        let (run, owned) = cancel.await.unwrap();
        let ended = engine.ended(run, Duration::from_secs(30)).await.unwrap();
        let state = ended.map(|ended| ended.row.status.state);
        assert_eq!(state, Some(State::Cancelled), "run {run}, held when it was cancelled: {owned}");
    }
}
