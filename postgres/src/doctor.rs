//! A look at a database for what slows or endangers the store in it. Writes nothing; replicas may use it.

use std::time::Duration;

use engine::retention::Retention;
use engine::store::StoreError;
use engine::store::doctor::Examination;
use engine::time::Timestamp;

use crate::options::PostgresOptions;
use crate::pool::Connection;
use crate::session::Fault;

mod facts;
mod figures;
mod findings;
mod read;

/// What to hold the database against.
#[derive(Clone, Debug)]
pub struct Examine {
    /// The time now, by this machine's clock.
    pub now: fn() -> Timestamp,
    /// How long runs are to be kept.
    pub retention: Retention,
    /// The time between two looks at the database's clock.
    pub clock_span: Duration,
}

/// Looks at the store in this database. What the user may not see is named in a finding.
///
/// # Errors
/// [`StoreError::Unavailable`] if the database is not reached, and [`StoreError::Unusable`] if there is no store in it.
pub async fn examine(options: &PostgresOptions, wish: &Examine) -> Result<Examination, StoreError> {
    let look = async {
        let connection = Connection::open(options).await?;
        let facts = read::facts(&connection, wish).await?;
        Ok(Examination { figures: facts.figures(), findings: facts.findings(&wish.retention) })
    };
    look.await.map_err(Fault::into_answer)
}
