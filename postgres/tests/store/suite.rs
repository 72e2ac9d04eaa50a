//! Stores for the conformance suite.

use std::sync::{Arc, Mutex};

use engine::store::Store;
use engine::store::conformance::Stores;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use postgres_store::testing::{Release, connect, database, expire};
use postgres_store::{Postgres, PostgresOptions};
use tokio_postgres::Config;

/// Stores in a database of their own; keeps the last, whose type the trait hides.
pub(crate) struct Databases {
    release: Release,
    /// What every transaction is, whatever the store thinks.
    isolation: &'static str,
    last: Mutex<Option<(Config, Arc<Postgres>)>>,
}

impl Databases {
    pub(crate) const fn of(release: Release) -> Self {
        Self { release, isolation: "read committed", last: Mutex::new(None) }
    }

    /// The same where the database makes every transaction serializable.
    pub(crate) const fn serializable(release: Release) -> Self {
        Self { release, isolation: "serializable", last: Mutex::new(None) }
    }

    pub(crate) async fn made(&self) -> Config {
        let mut config = database(self.release).await;
        config.options(format!("-c default_transaction_isolation={}", self.isolation.replace(' ', "\\ ")));
        let says = connect(&config).await.query_one("SHOW transaction_isolation", &[]).await.unwrap();
        assert_eq!(says.get::<_, &str>(0), self.isolation);
        config
    }

    async fn open(&self, config: Config) -> Arc<dyn Store> {
        let store = Arc::new(Postgres::open(PostgresOptions::new(config.clone())).await.unwrap());
        *self.last.lock().unwrap() = Some((config, Arc::clone(&store)));
        store
    }
}

impl Stores for Databases {
    fn empty(&self) -> BoxFuture<'_, Arc<dyn Store>> {
        async { self.open(self.made().await).await }.boxed()
    }

    fn succeed(&self, _: Arc<dyn Store>) -> BoxFuture<'_, Arc<dyn Store>> {
        let (config, dead) = self.last.lock().unwrap().take().unwrap();
        async move {
            dead.die();
            expire(&config, dead.lease()).await;
            self.open(config).await
        }
        .boxed()
    }
}
