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

    /// What whoever opens the store is answered: whether waiting may mend it.
    pub(crate) fn into_answer_of_open(self) -> StoreError {
        /// The user, its password or its rights, and the name of the database.
        const REFUSED: [SqlState; 4] = [
            SqlState::INVALID_PASSWORD,
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
            SqlState::INSUFFICIENT_PRIVILEGE,
            SqlState::INVALID_CATALOG_NAME,
        ];
        let stays = match &self {
            Self::File(_) => true,
            Self::Database(error) => self.state().is_some_and(|code| REFUSED.contains(code)) || is_distrusted(error),
            Self::Refused(_) | Self::Again | Self::NoConnection(_) => false,
        };
        if stays { StoreError::Unusable(self.to_string()) } else { self.into_answer() }
    }

    /// Whether the database refused what it was sent, so that surely nothing was done: because of what is in it, or of another
    /// transaction. It says no such thing if it stops, or is short of something.
    pub(crate) fn did_nothing(&self) -> bool {
        const CLASSES: [&str; 7] = ["21", "22", "23", "40", "42", "44", "54"];
        let of_class = |code: &SqlState| {
            *code != SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN && CLASSES.contains(&code.code().get(..2).unwrap_or(""))
        };
        self.may_be_repeated() || self.state().is_some_and(of_class)
    }

    /// What the caller is answered.
    pub(crate) fn into_answer(self) -> StoreError {
        match self {
            Self::Refused(error) => error,
            other => StoreError::Unavailable(other.to_string()),
        }
    }
}

/// Whether the certificate of the server is not one that is believed.
fn is_distrusted(error: &tokio_postgres::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    let handshake = cause.and_then(std::io::Error::get_ref).and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(handshake, Some(rustls::Error::InvalidCertificate(_)))
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
        crate::testing::statements::seen(statement, params);
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
        crate::testing::statements::seen(statement, params);
        let typed: Vec<_> = params.iter().map(|param| (param.value(), param.kind())).collect();
        Ok(self.client.execute_typed(statement, &typed).await?)
    }

    /// Does three things that do not need each other's answers in one transaction. All of it is sent before the first answer comes.
    ///
    /// It is not for a session that is in a transaction already.
    pub(crate) async fn together<A, B, C>(
        &self,
        first: impl Future<Output = Result<A, Fault>>,
        second: impl Future<Output = Result<B, Fault>>,
        third: impl Future<Output = Result<C, Fault>>,
    ) -> Result<(A, B, C), Fault> {
        let (begin, commit) = (self.client.batch_execute("BEGIN"), self.client.batch_execute("COMMIT"));
        // They are polled, and so sent, in this order.
        let (begun, first, second, third, committed) =
            futures_util::future::join5(begin, first, second, third, commit).await;
        begun?;
        // After an error the commit takes everything back; what came after it says only that.
        let done = match (first, second, third) {
            (Ok(first), Ok(second), Ok(third)) => (first, second, third),
            (Err(fault), _, _) | (_, Err(fault), _) | (_, _, Err(fault)) => return Err(fault),
        };
        committed?;
        Ok(done)
    }

    /// The number of the next audit entry: numbers grow with the time, and no two replicas share a counter.
    pub(crate) fn next_entry(&self) -> i64 {
        let number = self.entries.fetch_add(1, Ordering::Relaxed);
        self.now.as_micros().saturating_mul(1_024).saturating_add(number)
    }
}
