//! One place through which every statement goes: on a connection, or within the transaction that is open on it.
//!
//! Statements have no name and their parameters have types, so that a pooler may give each transaction another connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use engine::store::StoreError;
use engine::time::Timestamp;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Row};
use uuid::Uuid;

use crate::files::UnusableFile;
use crate::parameter::Parameter;
use crate::workflow_numbers::Workflows;

/// Why an operation did not give its output.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The operation does not apply. It wrote nothing.
    #[error(transparent)]
    Refused(#[from] StoreError),
    /// Somebody else was faster. The transaction is taken back and made again.
    #[error("another transaction was faster")]
    Again,
    #[error("{}", with_cause(.0))]
    Database(#[from] tokio_postgres::Error),
    #[error("no connection: {0}")]
    NoConnection(String),
    #[error(transparent)]
    File(#[from] UnusableFile),
}

impl Fault {
    /// What the database said, if it said something.
    pub(crate) fn state(&self) -> Option<&SqlState> {
        match self {
            Self::Database(error) => error.code(),
            Self::Refused(_) | Self::Again | Self::NoConnection(_) | Self::File(_) => None,
        }
    }

    /// Whether the transaction surely did nothing and may succeed now: it met another one.
    pub(crate) fn may_be_repeated(&self) -> bool {
        const MET: [SqlState; 3] =
            [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED, SqlState::UNIQUE_VIOLATION];
        matches!(self, Self::Again) || self.state().is_some_and(|code| MET.contains(code))
    }

    /// What the caller is answered.
    pub(crate) fn into_answer(self) -> StoreError {
        match self {
            Self::Refused(error) => error,
            other => StoreError::Unavailable(other.to_string()),
        }
    }
}

/// The library says only what kind of error it is; the cause says why.
fn with_cause(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// The database's clock, in microseconds.
macro_rules! now {
    () => {
        "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
    };
}
pub(crate) use now;

/// Parameters of a statement.
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        &[$(&$value as &dyn crate::parameter::Parameter),*]
    };
}
pub(crate) use params;

/// What an operation works with.
pub(crate) struct Session<'c> {
    client: &'c Client,
    /// When the transaction began, by the database's clock.
    pub(crate) now: Timestamp,
    /// The lease of this replica.
    pub(crate) owner: Uuid,
    /// The buckets that this replica holds.
    pub(crate) buckets: Arc<[i16]>,
    pub(crate) workflows: &'c Workflows,
    /// Audit entries so far.
    entries: AtomicI64,
}

impl<'c> Session<'c> {
    pub(crate) fn new(
        client: &'c Client,
        now: Timestamp,
        owner: Uuid,
        buckets: Arc<[i16]>,
        workflows: &'c Workflows,
    ) -> Self {
        // Replicas that write at the same microsecond begin at different numbers.
        let first = i64::from(Uuid::new_v4().into_bytes()[0]);
        Self { client, now, owner, buckets, workflows, entries: AtomicI64::new(first) }
    }

    pub(crate) async fn rows(&self, statement: &str, params: &[&dyn Parameter]) -> Result<Vec<Row>, Fault> {
        #[cfg(any(test, feature = "testing"))]
        crate::testing::statements::seen(statement);
        let typed: Vec<_> = params.iter().map(|param| (param.value(), param.kind())).collect();
        Ok(self.client.query_typed(statement, &typed).await?)
    }

    /// The row that there is at most one of.
    pub(crate) async fn row(&self, statement: &str, params: &[&dyn Parameter]) -> Result<Option<Row>, Fault> {
        Ok(self.rows(statement, params).await?.into_iter().next())
    }

    /// The row of a statement that always has one.
    pub(crate) async fn one(&self, statement: &str, params: &[&dyn Parameter]) -> Result<Row, Fault> {
        self.row(statement, params).await?.ok_or_else(|| {
            Fault::Refused(StoreError::Unavailable("a statement that has one row returned none".to_owned()))
        })
    }

    /// How many rows it changed.
    pub(crate) async fn execute(&self, statement: &str, params: &[&dyn Parameter]) -> Result<u64, Fault> {
        #[cfg(any(test, feature = "testing"))]
        crate::testing::statements::seen(statement);
        let typed: Vec<_> = params.iter().map(|param| (param.value(), param.kind())).collect();
        Ok(self.client.execute_typed(statement, &typed).await?)
    }

    /// The number of the next audit entry: numbers grow with the time, and no two replicas share a counter.
    pub(crate) fn next_entry(&self) -> i64 {
        let number = self.entries.fetch_add(1, Ordering::Relaxed);
        self.now.as_micros().saturating_mul(1_024).saturating_add(number)
    }
}
