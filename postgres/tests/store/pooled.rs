//! Behind pgbouncer in transaction mode, which gives each transaction another connection.

use std::sync::Arc;

use engine::store::StoreError;
use engine::store::conformance;
use postgres_store::testing::{Pooler, Release, database};
use postgres_store::{Postgres, PostgresOptions};

use crate::suite::Databases;

async fn pooler() -> Option<Arc<Pooler>> {
    let pooler = Pooler::before(&database(Release::Newest).await).unwrap();
    if pooler.is_none() {
        println!("NOT CHECKED: there is no pgbouncer");
    }
    pooler.map(Arc::new)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_behind_a_pooler_keeps_every_sentence() {
    let Some(pooler) = pooler().await else { return };
    conformance::suite(&Databases::pooled(Release::Newest, pooler)).await;
}

#[tokio::test]
async fn a_pooler_that_drops_the_limits_of_statements_is_found_at_the_start() {
    let Some(pooler) = pooler().await else { return };
    let database = database(Release::Newest).await;
    let opened = Postgres::open(PostgresOptions::new(pooler.config(&database))).await;
    let Err(StoreError::Unusable(why)) = opened else { panic!("{opened:?}") };
    assert!(why.starts_with("statement_timeout is off") && why.contains("ALTER ROLE"), "{why}");
}
