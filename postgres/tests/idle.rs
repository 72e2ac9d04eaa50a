//! What a replica costs its database while nothing happens. In a process of its own, which sends no other statements.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

use std::sync::Arc;
use std::time::Duration;

use engine::engine::{Engine, Parts};
use engine::random::RandomSource;
use engine::time::Clock;
use engine::transport::{Reserving, Transport};
use engine::{Context, Failure, Limits, Registry, Retention, Workflow};
use postgres_store::testing::{Release, database, statements};
use postgres_store::{Postgres, PostgresOptions};
use tokio_postgres::Config;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// For so long the statements are counted.
const COUNTED: Duration = Duration::from_secs(10);
/// How many a replica may send in a second.
const MOST: u64 = 5;

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

#[tokio::test]
async fn an_idle_replica_sends_few_statements() {
    let database = database(Release::Newest).await;
    let replicas = [replica(&database).await, replica(&database).await];
    // They begin.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = statements::sent();
    tokio::time::sleep(COUNTED).await;
    let (sent, seconds, replicas) = (statements::sent() - before, COUNTED.as_secs(), replicas.len() as u64);
    println!("{sent} statements of {replicas} replicas in {seconds} s");
    assert!(sent > 0 && sent <= MOST * seconds * replicas, "{sent} statements of {replicas} replicas in {seconds} s");
}
