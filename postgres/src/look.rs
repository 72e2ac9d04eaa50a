//! A look at the runs in flight of a database that replicas may use. Takes no lease and writes nothing.

use bytes::Bytes;
use engine::store::{InFlight, LookAtRuns, StoreError};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use crate::options::PostgresOptions;
use crate::pool::Connection;
use crate::rows;
use crate::session::Fault;

/// The store in one database, looked at from a thread that may wait. Each answer is one short snapshot.
pub struct Look {
    connection: Connection,
    /// Its connection is served while an answer is waited for.
    runtime: Runtime,
}

impl Look {
    /// Connects to the database. Not within an asynchronous task.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it is not reached, and [`StoreError::Unusable`] if there is no store in it.
    pub fn at(options: &PostgresOptions) -> Result<Self, StoreError> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| StoreError::Unavailable(format!("no runtime: {error}")))?;
        let opened = runtime.block_on(async {
            let connection = Connection::open(options).await?;
            if connection.row("SELECT to_regclass('store') IS NOT NULL").await?.try_get(0)? {
                return Ok(connection);
            }
            let why = "there is no store in it: no orchestrator has used it yet";
            Err(StoreError::Unusable(why.to_owned()).into())
        });
        Ok(Self { connection: opened.map_err(Fault::into_answer)?, runtime })
    }

    fn ask<T>(&self, work: impl Future<Output = Result<T, Fault>>) -> Result<T, StoreError> {
        self.runtime.block_on(work).map_err(Fault::into_answer)
    }

    async fn read_run(&self, run: Uuid) -> Result<Option<InFlight>, Fault> {
        let client = self.connection.client();
        let id: &[(&(dyn ToSql + Sync), Type)] = &[(&run, Type::UUID)];
        let found = client
            .query_typed(
                "SELECT workflows.name, workflows.version, live.state, live.sequence
                 FROM live JOIN workflows ON workflows.id = live.workflow WHERE live.id = $1",
                id,
            )
            .await?;
        let Some(row) = found.first() else { return Ok(None) };
        let journal =
            client.query_typed("SELECT sequence, entry FROM journal WHERE run = $1 ORDER BY sequence", id).await?;
        let entry =
            |row: &tokio_postgres::Row| Ok((rows::count(row, 0)?, Bytes::copy_from_slice(row.try_get::<_, &[u8]>(1)?)));
        Ok(Some(InFlight {
            run,
            workflow: row.try_get(0)?,
            version: rows::small(row, 1)?,
            state: rows::state(row.try_get(2)?)?,
            sequence: rows::count(row, 3)?,
            entries: journal.iter().map(entry).collect::<Result<_, Fault>>()?,
        }))
    }
}

impl LookAtRuns for Look {
    fn count(&mut self) -> Result<u64, StoreError> {
        self.ask(async { rows::count(&self.connection.row("SELECT count(*) FROM live").await?, 0) })
    }

    fn ids(&mut self, after: Option<Uuid>, limit: u32) -> Result<Vec<Uuid>, StoreError> {
        self.ask(async {
            let (after, limit) = (after.unwrap_or_default(), i64::from(limit));
            let found = self
                .connection
                .client()
                .query_typed(
                    "SELECT id FROM live WHERE id > $1 ORDER BY id LIMIT $2",
                    &[(&after, Type::UUID), (&limit, Type::INT8)],
                )
                .await?;
            found.iter().map(|row| Ok(row.try_get(0)?)).collect()
        })
    }

    fn run(&mut self, run: Uuid) -> Result<Option<InFlight>, StoreError> {
        self.ask(async {
            // One snapshot, so that the row and the journal fit each other.
            self.connection.script("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
            let found = self.read_run(run).await;
            self.connection.script("COMMIT").await?;
            found
        })
    }
}
