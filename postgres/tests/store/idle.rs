//! What a replica costs its database while nothing happens.

use std::sync::Arc;
use std::time::Duration;

use engine::engine::{Engine, Parts};
use engine::random::RandomSource;
use engine::time::Clock;
use engine::transport::{Reserving, Transport};
use engine::{Context, Failure, Limits, Registry, Retention, Workflow};
use postgres_store::testing::{Release, connect, database};
use postgres_store::{Postgres, PostgresOptions};
use tokio_postgres::Config;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// For so long the statements are counted.
const COUNTED: Duration = Duration::from_secs(10);
/// How many a replica may send in a second.
const MOST: i64 = 5;

#[derive(Clone, PartialEq, prost::Message)]
struct Empty {}

impl prost::Name for Empty {
    const NAME: &'static str = "Empty";
    const PACKAGE: &'static str = "idle.test";
}

struct Idle;

impl Workflow for Idle {
    const NAME: &'static str = "idle.first";
    type Input = Empty;
    type Output = Empty;

    async fn run(&self, _: &Context, _: Empty) -> Result<Empty, Failure> {
        Ok(Empty {})
    }
}

struct Nowhere;

impl Transport for Nowhere {
    fn reserve(&self, _: &str, _: Uuid, _: Duration) -> Reserving {
        Box::pin(std::future::pending())
    }
}

/// A replica with all of its loops.
async fn replica(database: &Config) -> Engine {
    let mut workflows = Registry::new();
    workflows.register(|| Idle).unwrap();
    let engine = Engine::new(Parts {
        store: Arc::new(Postgres::open(PostgresOptions::new(database.clone())).await.unwrap()),
        transport: Arc::new(Nowhere),
        workflows,
        clock: Clock::system(),
        random: RandomSource::system(),
        limits: Limits::default(),
        retention: Retention::default(),
    });
    let (claims, schedules) = (engine.clone(), engine.clone());
    tokio::spawn(async move { claims.claim_runs(CancellationToken::new()).await });
    tokio::spawn(async move { schedules.run_schedules(Vec::new(), CancellationToken::new()).await });
    engine
}

/// Transactions of this database so far; an idle replica sends each statement by itself. Sessions say them when they are idle for a
/// second, and when they are asked.
async fn transactions(somebody: &tokio_postgres::Client) -> i64 {
    let count = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()";
    somebody.query_one(count, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn an_idle_replica_sends_few_statements() {
    let database = database(Release::Newest).await;
    let replicas = [replica(&database).await, replica(&database).await];
    let somebody = connect(&database).await;
    // They begin.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = transactions(&somebody).await;
    tokio::time::sleep(COUNTED).await;
    let sent = transactions(&somebody).await - before;
    let seconds = i64::try_from(COUNTED.as_secs()).unwrap();
    let replicas = i64::try_from(replicas.len()).unwrap();
    println!("{sent} statements of {replicas} replicas in {seconds} s");
    assert!(sent > 0 && sent <= MOST * seconds * replicas, "{sent} statements of {replicas} replicas in {seconds} s");
}
