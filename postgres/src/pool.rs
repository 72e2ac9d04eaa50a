//! Connections to the database: a few that operations share, and one that belongs to the part that opens it.

use std::future::poll_fn;
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{self, Metrics, Pool, PoolError, QueueMode, RecycleError, RecycleResult, TimeoutType};
use engine::store::StoreError;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::files::UnusableFile;
use crate::options::PostgresOptions;
use crate::session::Fault;

/// How long it may take until a connection is made.
const CONNECT: Duration = Duration::from_secs(5);

/// Opens a connection with what is in the files at that moment. Payloads of notifications go to `heard`, if there is one.
async fn dial(
    options: &PostgresOptions,
    heard: Option<mpsc::UnboundedSender<String>>,
) -> Result<(Client, JoinHandle<()>), Fault> {
    let options = options.clone();
    // It fails only where the process ends.
    let read = tokio::task::spawn_blocking(move || settings(&options)).await;
    let (config, tls) = read.map_err(|error| Fault::NoConnection(error.to_string()))??;
    let connecting = async {
        match tls {
            None => {
                let (client, connection) = config.connect(NoTls).await?;
                Ok((client, tokio::spawn(serve(connection, heard))))
            }
            Some(tls) => {
                let (client, connection) = config.connect(tls).await?;
                Ok((client, tokio::spawn(serve(connection, heard))))
            }
        }
    };
    // The driver bounds only the time until the socket is open.
    let made = tokio::time::timeout(CONNECT, connecting).await;
    made.unwrap_or_else(|_| Err(Fault::NoConnection(format!("not made within {CONNECT:?}"))))
}

/// Serves a connection to its end. Then the next statement on it fails, which says it.
async fn serve<S, T>(mut connection: tokio_postgres::Connection<S, T>, heard: Option<mpsc::UnboundedSender<String>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
        if let (AsyncMessage::Notification(notification), Some(heard)) = (message, &heard) {
            drop(heard.send(notification.payload().to_owned()));
        }
    }
}

fn settings(options: &PostgresOptions) -> Result<(Config, Option<MakeRustlsConnect>), UnusableFile> {
    Ok((options.connecting(CONNECT)?, options.connector()?))
}

/// Makes the connections that operations share.
pub(crate) struct Dial(PostgresOptions);

impl managed::Manager for Dial {
    type Type = Client;
    type Error = Fault;

    async fn create(&self) -> Result<Client, Fault> {
        Ok(dial(&self.0, None).await?.0)
    }

    async fn recycle(&self, client: &mut Client, _: &Metrics) -> RecycleResult<Fault> {
        if client.is_closed() { Err(RecycleError::message("it is closed")) } else { Ok(()) }
    }
}

/// A connection that goes back to the others.
pub(crate) type Object = managed::Object<Dial>;

/// Connections that operations share.
#[derive(Clone)]
pub(crate) struct Connections(Pool<Dial>);

impl Connections {
    pub(crate) fn new(options: &PostgresOptions) -> Result<Self, Fault> {
        let pool = Pool::builder(Dial(options.clone()))
            .max_size(options.connections)
            // Few processes of the server that are warm do more than many that take turns.
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(options.timeout))
            .build();
        pool.map(Self).map_err(|error| Fault::NoConnection(error.to_string()))
    }

    pub(crate) async fn get(&self) -> Result<Object, Fault> {
        self.0.get().await.map_err(|error| match error {
            PoolError::Backend(fault) => fault,
            PoolError::Timeout(TimeoutType::Wait) => Fault::NoConnection("all are in use".to_owned()),
            PoolError::Closed => Fault::Refused(StoreError::Closed),
            error => Fault::NoConnection(error.to_string()),
        })
    }

    pub(crate) fn close(&self) {
        self.0.close();
    }
}

/// A connection of its own, which nothing else waits for.
pub(crate) struct Connection {
    client: Client,
    driver: JoinHandle<()>,
}

impl Connection {
    pub(crate) async fn open(options: &PostgresOptions) -> Result<Self, Fault> {
        let (client, driver) = dial(options, None).await?;
        Ok(Self { client, driver })
    }

    /// One that hears notifications.
    pub(crate) async fn hearing(
        options: &PostgresOptions,
        heard: mpsc::UnboundedSender<String>,
    ) -> Result<Self, Fault> {
        let (client, driver) = dial(options, Some(heard)).await?;
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
