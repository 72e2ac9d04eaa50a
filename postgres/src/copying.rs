//! A database as the target of a copy of another store: reserved first, filled table by table, and usable once it is whole.
//!
//! Every page is written together with how far it brings its table, so that a copy that was interrupted continues.

use engine::store::StoreError;
use engine::store::copying::{Kind, Origin, Page, TABLES, Table, Tally, Value};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::options::PostgresOptions;
use crate::pool::Connection;
use crate::session::{Fault, now};
use crate::{durability, migrations};
use columns::Columns;
use tables::{Statements, statements};

mod columns;
mod tables;

/// What is read back in one page.
const PAGE: i64 = 500;

/// What a database that was reserved has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// Nothing, or a part of the copy.
    Begun,
    /// All of it: the copy was made before, and may be in use by now.
    Whole,
}

/// How far a table was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Where the source continues.
    pub cursor: Vec<u8>,
    /// What was copied so far.
    pub tally: Tally,
    /// Whether that is all.
    pub is_done: bool,
}

/// A database that no replica uses as long as the copy is not whole.
pub struct CopyTarget {
    connection: Connection,
}

impl CopyTarget {
    /// Opens the database, and makes the tables of a store in it if it is empty.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it is not reached, and [`StoreError::Unusable`] if a newer release made it.
    pub async fn open(options: &PostgresOptions) -> Result<Self, StoreError> {
        let open = async {
            let connection = Connection::open(options).await?;
            durability::check(&connection, options.allow_data_loss).await?;
            migrations::apply(&connection).await?;
            Ok(Self { connection })
        };
        open.await.map_err(Fault::into_answer)
    }

    /// Keeps the database for the copy of this store; `fence` says which copy, if the store was fenced before.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] if the database has runs already, is in use, or has another copy.
    pub async fn reserve(&self, store: Uuid, fence: Option<Uuid>) -> Result<Reserved, StoreError> {
        self.transaction(async {
            let row = self.row("SELECT copying, origin, fence FROM store WHERE one = 1 FOR UPDATE").await?;
            let (copying, origin, begun): (bool, Option<Uuid>, Option<Uuid>) =
                (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            let same = origin == Some(store);
            if copying {
                return match (same, begun) {
                    (true, None) => Ok(Reserved::Begun),
                    (true, Some(begun)) if fence == Some(begun) => Ok(Reserved::Begun),
                    (true, Some(_)) => Err(unusable(
                        "it has a part of an earlier copy, and the store was in use since then; drop the database, create it \
                         again and repeat the command",
                    )),
                    (false, _) => Err(unusable("a copy of another store into it is under way")),
                };
            }
            if same && fence.is_some() && begun == fence {
                return Ok(Reserved::Whole);
            }
            self.refuse_used().await?;
            self.execute(
                "UPDATE store SET copying = true, origin = $1, fence = $2",
                &[(&store, tokio_postgres::types::Type::UUID), (&fence, tokio_postgres::types::Type::UUID)],
            )
            .await?;
            Ok(Reserved::Begun)
        })
        .await
    }

    /// A copy goes into a database that has nothing.
    async fn refuse_used(&self) -> Result<(), Fault> {
        let leases =
            concat!("SELECT EXISTS (SELECT 1 FROM leases WHERE dead_at IS NULL AND expires_at > ", now!(), ")");
        if self.row(leases).await?.try_get(0)? {
            return Err(unusable("an orchestrator runs on it; stop it first"));
        }
        for table in TABLES {
            if self.row(&statements(table)?.any).await?.try_get(0)? {
                return Err(unusable(&format!(
                    "table {} has rows; a copy goes into a database that no orchestrator has used, so create a new one",
                    table.name
                )));
            }
        }
        Ok(())
    }

    /// Begins or continues the copy, whose source is fenced.
    ///
    /// # Errors
    /// If the database cannot be reached, or was reserved for another copy meanwhile.
    pub async fn begin(&self, origin: &Origin) -> Result<(), StoreError> {
        use tokio_postgres::types::Type;
        self.transaction(async {
            let begun = self
                .execute(
                    "UPDATE store SET fence = $2 WHERE copying AND origin = $1 AND (fence IS NULL OR fence = $2)",
                    &[(&origin.store, Type::UUID), (&origin.fence, Type::UUID)],
                )
                .await?;
            if begun == 0 {
                return Err(unusable("it was reserved for another copy meanwhile"));
            }
            // Runs that the last owner of the source held are those of a lease that is over.
            self.execute(
                concat!(
                    "INSERT INTO leases (id, began_at, expires_at, dead_at) VALUES ($1, ",
                    now!(),
                    ", ",
                    now!(),
                    ", ",
                    now!(),
                    ") ON CONFLICT (id) DO NOTHING"
                ),
                &[(&origin.store, Type::UUID)],
            )
            .await
            .map(drop)
        })
        .await
    }

    /// How far a table was copied.
    ///
    /// # Errors
    /// If the database cannot be reached.
    pub async fn copied(&self, table: &Table) -> Result<Copied, StoreError> {
        let read = async {
            let found = self
                .rows(
                    "SELECT cursor, rows, sum, is_done FROM copied_tables WHERE name = $1",
                    &[(&table.name, tokio_postgres::types::Type::TEXT)],
                )
                .await?;
            let Some(row) = found.first() else { return Ok(Copied::default()) };
            let (rows, sum): (i64, &[u8]) = (row.try_get(1)?, row.try_get(2)?);
            let tally = Tally::stored(rows.unsigned_abs(), sum).ok_or_else(|| unusable("a stored sum is damaged"))?;
            Ok(Copied { cursor: row.try_get(0)?, tally, is_done: row.try_get(3)? })
        };
        read.await.map_err(Fault::into_answer)
    }

    /// Writes a page of a table behind what was copied of it so far.
    ///
    /// # Errors
    /// If the database cannot be reached, or does not take a value. Then the page was not written, or all of it was.
    pub async fn write(&self, table: &Table, page: &Page, copied: &mut Copied) -> Result<(), StoreError> {
        use tokio_postgres::types::Type;
        let mut next = Copied { is_done: page.last, ..copied.clone() };
        page.rows.iter().for_each(|row| next.tally.add(row));
        if !page.rows.is_empty() {
            next.cursor.clone_from(&page.cursor);
        }
        self.transaction(async {
            let Statements { insert, .. } = statements(table)?;
            if !page.rows.is_empty() {
                let columns = Columns::of(table, &page.rows)?;
                self.execute(insert, &columns.parameters()).await?;
            }
            let rows = i64::try_from(next.tally.rows).unwrap_or(i64::MAX);
            self.execute(
                "INSERT INTO copied_tables (name, cursor, rows, sum, is_done) VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (name) DO UPDATE SET cursor = excluded.cursor, rows = excluded.rows, sum = excluded.sum,
                                                  is_done = excluded.is_done",
                &[
                    (&table.name, Type::TEXT),
                    (&next.cursor, Type::BYTEA),
                    (&rows, Type::INT8),
                    (&&next.tally.sum()[..], Type::BYTEA),
                    (&next.is_done, Type::BOOL),
                ],
            )
            .await
            .map(drop)
        })
        .await?;
        *copied = next;
        Ok(())
    }

    /// Reads a whole table back and counts it; `so_far` is told the number of rows now and then.
    ///
    /// # Errors
    /// If the database cannot be reached.
    pub async fn tally(&self, table: &Table, mut so_far: impl FnMut(u64)) -> Result<Tally, StoreError> {
        let read = async {
            let Statements { first, next, .. } = statements(table)?;
            let mut tally = Tally::default();
            let mut rows = self.read(table, first, &[]).await?;
            while let Some(last) = rows.last().map(|last| last[..table.key].to_vec()) {
                rows.iter().for_each(|row| tally.add(row));
                so_far(tally.rows);
                rows = self.read(table, next, &last).await?;
            }
            Ok(tally)
        };
        read.await.map_err(Fault::into_answer)
    }

    async fn read(&self, table: &Table, statement: &'static str, after: &[Value]) -> Result<Vec<Vec<Value>>, Fault> {
        let key = Table { columns: &table.columns[..table.key], ..*table };
        let values = Columns::of_one(&key, after)?;
        let mut parameters = values.parameters();
        parameters.push((&PAGE, tokio_postgres::types::Type::INT8));
        let found = self.rows(statement, &parameters).await?;
        found.iter().map(|row| read_row(table, row)).collect()
    }

    /// Makes the database a store that replicas may use: it has everything.
    ///
    /// # Errors
    /// If the database cannot be reached, or a table is not whole.
    pub async fn finish(&self, origin: &Origin) -> Result<(), StoreError> {
        use tokio_postgres::types::Type;
        let (adopted_at, copied_at) = origin.adopted.unzip();
        let tables = i64::try_from(TABLES.len()).unwrap_or(i64::MAX);
        self.transaction(async {
            let finished = self
                .execute(
                    "UPDATE store SET copying = false, id = $1, zone_database = $3, adopted_at = $4, copied_at = $5
                     WHERE copying AND origin = $1 AND fence = $2
                       AND (SELECT count(*) FROM copied_tables WHERE is_done) = $6",
                    &[
                        (&origin.store, Type::UUID),
                        (&origin.fence, Type::UUID),
                        (&origin.zone_database, Type::TEXT),
                        (&adopted_at, Type::INT8),
                        (&copied_at, Type::INT8),
                        (&tables, Type::INT8),
                    ],
                )
                .await?;
            if finished == 0 { Err(unusable("the copy into it is not whole, or is not this one")) } else { Ok(()) }
        })
        .await?;
        // Until autovacuum comes the planner would take the tables for empty. Without it all is right, and slower.
        if let Err(error) = self.connection.script("ANALYZE").await {
            tracing::debug!(%error, "the tables were not analyzed");
        }
        Ok(())
    }

    async fn transaction<T>(&self, work: impl Future<Output = Result<T, Fault>>) -> Result<T, StoreError> {
        let done = async {
            self.connection.script("BEGIN").await?;
            match work.await {
                Ok(output) => {
                    self.connection.script("COMMIT").await?;
                    Ok(output)
                }
                Err(fault) => {
                    self.connection.script("ROLLBACK").await?;
                    Err(fault)
                }
            }
        };
        done.await.map_err(Fault::into_answer)
    }

    async fn row(&self, statement: &'static str) -> Result<Row, Fault> {
        let found = self.rows(statement, &[]).await?;
        found.into_iter().next().ok_or_else(|| unusable("a statement that has one row returned none"))
    }

    async fn rows(&self, statement: &'static str, parameters: &[columns::Parameter<'_>]) -> Result<Vec<Row>, Fault> {
        Ok(self.connection.client().query_typed(statement, parameters).await?)
    }

    async fn execute(&self, statement: &'static str, parameters: &[columns::Parameter<'_>]) -> Result<u64, Fault> {
        Ok(self.connection.client().execute_typed(statement, parameters).await?)
    }
}

fn unusable(why: &str) -> Fault {
    StoreError::Unusable(why.to_owned()).into()
}

fn read_row(table: &Table, row: &Row) -> Result<Vec<Value>, Fault> {
    let value = |(number, (_, kind)): (usize, &(&str, Kind))| {
        Ok(match kind {
            Kind::Bool => row.try_get::<_, Option<bool>>(number)?.map(Value::Bool),
            Kind::Int2 => row.try_get::<_, Option<i16>>(number)?.map(|value| Value::Int(i64::from(value))),
            Kind::Int4 => row.try_get::<_, Option<i32>>(number)?.map(|value| Value::Int(i64::from(value))),
            Kind::Int8 => row.try_get::<_, Option<i64>>(number)?.map(Value::Int),
            Kind::Uuid => row.try_get::<_, Option<Uuid>>(number)?.map(Value::Uuid),
            Kind::Text => row.try_get::<_, Option<String>>(number)?.map(Value::Text),
            Kind::Bytes => row.try_get::<_, Option<Vec<u8>>>(number)?.map(Value::Bytes),
        }
        .unwrap_or(Value::Null))
    };
    table.columns.iter().enumerate().map(value).collect()
}
