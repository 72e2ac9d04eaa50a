//! How the store reaches its database, and how long things may take.

use std::time::Duration;

use tokio_postgres::Config;

/// What a replica needs to know of its database.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PostgresOptions {
    /// Where the database is, and who connects.
    pub config: Config,
    /// Connections for reads and writes; the lease has one of its own beside them.
    pub connections: usize,
    /// How long a replica that is not heard of keeps its runs.
    pub lease: Duration,
    /// By how much a replica stops before its lease ends, by its own clock.
    pub margin: Duration,
    /// How long one operation may take, waiting for a connection included.
    pub timeout: Duration,
}

impl PostgresOptions {
    /// Of the database that this says, with the defaults.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            connections: 8,
            lease: Duration::from_secs(15),
            margin: Duration::from_secs(3),
            timeout: Duration::from_secs(10),
        }
    }
}
