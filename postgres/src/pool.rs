//! Connections to the database: a few that operations share, and one that belongs to the part that opens it.

use std::time::Duration;

use deadpool_postgres::{Connect, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, NoTls, Row};

use crate::options::PostgresOptions;
use crate::session::Fault;

/// How long it may take until a connection is made.
const CONNECT: Duration = Duration::from_secs(5);

/// Statements are short: to compile one costs more than it saves.
const PLANS: &str = "-c jit=off";

/// The settings of every connection: how the server deals with one that is lost, or does not come to an end.
fn settings(options: &PostgresOptions) -> Config {
    let mut config = options.config.clone();
    let timeout = options.timeout.as_millis();
    let own = format!("-c statement_timeout={timeout} -c idle_in_transaction_session_timeout={timeout} {PLANS}");
    let all = match config.get_options() {
        Some(said) => format!("{own} {said}"),
        None => own,
    };
    config.options(all).connect_timeout(CONNECT).keepalives(true).keepalives_idle(Duration::from_secs(10));
    config.tcp_user_timeout(options.timeout);
    if config.get_application_name().is_none() {
        config.application_name("orchestrator");
    }
    if let Some(file) = &options.password_file {
        match std::fs::read_to_string(file) {
            Ok(password) => drop(config.password(password.trim_end_matches(['\r', '\n']))),
            // The server says what is missing.
            Err(error) => tracing::warn!(%error, file = %file.display(), "password of the database not read"),
        }
    }
    config
}

/// Opens a connection with the settings, and the password, that apply at that moment.
async fn dial(options: &PostgresOptions) -> Result<(Client, JoinHandle<()>), tokio_postgres::Error> {
    let (client, connection) = settings(options).connect(NoTls).await?;
    let driver = tokio::spawn(async move {
        // The next statement on the connection fails, which says it.
        drop(connection.await);
    });
    Ok((client, driver))
}

struct Dial(PostgresOptions);

impl Connect for Dial {
    fn connect(&self, _: &Config) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), tokio_postgres::Error>> {
        dial(&self.0).boxed()
    }
}

/// Connections that operations share.
#[derive(Clone)]
pub(crate) struct Connections(Pool);

impl Connections {
    pub(crate) fn new(options: &PostgresOptions) -> Result<Self, Fault> {
        let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_connect(options.config.clone(), Dial(options.clone()), manager);
        let pool = Pool::builder(manager)
            .max_size(options.connections)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(options.timeout))
            .create_timeout(Some(CONNECT))
            .recycle_timeout(Some(CONNECT))
            .build();
        pool.map(Self).map_err(|error| Fault::NoConnection(error.to_string()))
    }

    pub(crate) async fn get(&self) -> Result<Object, Fault> {
        self.0.get().await.map_err(|error| Fault::NoConnection(with_cause(&error)))
    }

    pub(crate) fn close(&self) {
        self.0.close();
    }
}

fn with_cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", with_cause(cause)),
        None => error.to_string(),
    }
}

/// A connection of its own, which nothing else waits for.
pub(crate) struct Connection {
    client: Client,
    driver: JoinHandle<()>,
}

impl Connection {
    pub(crate) async fn open(options: &PostgresOptions) -> Result<Self, Fault> {
        let (client, driver) = dial(options).await?;
        Ok(Self { client, driver })
    }

    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }

    /// Statements without parameters.
    pub(crate) async fn script(&self, statements: &str) -> Result<(), Fault> {
        Ok(self.client.batch_execute(statements).await?)
    }

    /// The row of a statement that has one.
    pub(crate) async fn row(&self, statement: &str) -> Result<Row, Fault> {
        Ok(self.client.query_typed_one(statement, &[]).await?)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
