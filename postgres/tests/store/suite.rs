//! Stores for the conformance suite.

use std::sync::{Arc, Mutex};

use engine::store::Store;
use engine::store::conformance::Stores;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use postgres_store::testing::{Faults, Pooler, Proxy, Release, connect, database, expire};
use postgres_store::{Postgres, PostgresOptions};
use tokio_postgres::Config;
use uuid::Uuid;

/// Stores in a database of their own; keeps the last, whose type the trait hides.
pub(crate) struct Databases {
    release: Release,
    /// What every transaction is, whatever the store thinks.
    isolation: &'static str,
    /// What happens to commits on the way to it.
    faults: Option<Faults>,
    /// Whether the next release has been there.
    ahead: bool,
    /// What stands before it.
    pooler: Option<Arc<Pooler>>,
    proxies: Mutex<Vec<Proxy>>,
    last: Mutex<Option<(Config, Arc<Postgres>)>>,
}

impl Databases {
    pub(crate) const fn of(release: Release) -> Self {
        Self {
            release,
            isolation: "read committed",
            faults: None,
            ahead: false,
            pooler: None,
            proxies: Mutex::new(Vec::new()),
            last: Mutex::new(None),
        }
    }

    /// The same where this happens to commits.
    pub(crate) fn failing(release: Release, faults: Faults) -> Self {
        Self { faults: Some(faults), ..Self::of(release) }
    }

    /// The same on what a newer release leaves to this one.
    pub(crate) fn ahead(release: Release) -> Self {
        Self { ahead: true, ..Self::of(release) }
    }

    /// The same behind a pooler.
    pub(crate) fn pooled(release: Release, pooler: Arc<Pooler>) -> Self {
        Self { pooler: Some(pooler), ..Self::of(release) }
    }

    /// The same where the database makes every transaction serializable.
    pub(crate) fn serializable(release: Release) -> Self {
        Self { isolation: "serializable", ..Self::of(release) }
    }

    pub(crate) async fn made(&self) -> Config {
        let mut config = database(self.release).await;
        config.options(format!("-c default_transaction_isolation={}", self.isolation.replace(' ', "\\ ")));
        let says = connect(&config).await.query_one("SHOW transaction_isolation", &[]).await.unwrap();
        assert_eq!(says.get::<_, &str>(0), self.isolation);
        config
    }

    /// How the store reaches the database.
    async fn reached(&self, config: &Config) -> Config {
        if let Some(pooler) = &self.pooler {
            let limits = "ALTER DATABASE {} SET statement_timeout = '10s'; ALTER DATABASE {} SET idle_in_transaction_session_timeout = '10s'";
            let limits = limits.replace("{}", config.get_dbname().unwrap());
            connect(config).await.batch_execute(&limits).await.unwrap();
            return pooler.config(config);
        }
        let Some(faults) = self.faults else { return config.clone() };
        let proxy = Proxy::before(config, Uuid::new_v4().as_u64_pair().0).await.unwrap();
        proxy.harm(faults);
        let reached = proxy.config();
        self.proxies.lock().unwrap().push(proxy);
        reached
    }

    async fn open(&self, config: Config) -> Arc<dyn Store> {
        let reached = self.reached(&config).await;
        let store = Arc::new(Postgres::open(PostgresOptions::new(reached)).await.unwrap());
        if self.ahead {
            // While this release works with it.
            expand(&config).await;
        }
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

/// What a newer release does to the schema that leaves room for the one before: it adds, and takes nothing away.
pub(crate) async fn expand(config: &Config) {
    let client = connect(config).await;
    let tables = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'store'";
    for table in client.query(tables, &[]).await.unwrap() {
        let table: String = table.get(0);
        let more = format!("ALTER TABLE {table} ADD COLUMN IF NOT EXISTS added text NOT NULL DEFAULT 'more'");
        client.batch_execute(&more).await.unwrap();
    }
    let more = "CREATE TABLE IF NOT EXISTS added (id uuid PRIMARY KEY);
                UPDATE store SET version = (SELECT max(version) FROM store) + 1 WHERE NOT EXISTS (SELECT 1 FROM added);
                INSERT INTO added VALUES ('00000000-0000-0000-0000-000000000000') ON CONFLICT DO NOTHING";
    client.batch_execute(more).await.unwrap();
}
