//! How the store reaches its database, and how long things may take.

use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

/// Why a URL does not say where the database is. It does not repeat the URL, which may have a secret in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    #[error("expected a URL such as postgres://user@host:5432/database")]
    Unreadable,
    #[error("it names no host")]
    NoHost,
    #[error("it has a password in it; put that into a file")]
    Password,
    #[error("it requires TLS (sslmode=require), which this store does not have yet")]
    Tls,
}

/// What a replica needs to know of its database.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PostgresOptions {
    /// Where the database is, and who connects.
    pub config: Config,
    /// A file with the password, read again for each connection; none if the server asks for none.
    pub password_file: Option<PathBuf>,
    /// Connections for reads and writes; the lease has one of its own beside them.
    pub connections: usize,
    /// How long a replica that is not heard of keeps its runs.
    pub lease: Duration,
    /// By how much a replica stops before its lease ends, by its own clock.
    pub margin: Duration,
    /// How long one operation may take, waiting for a connection included.
    pub timeout: Duration,
    /// Whether the database may forget what it has acknowledged.
    pub allow_data_loss: bool,
}

impl PostgresOptions {
    /// Reads where the database is.
    ///
    /// # Errors
    /// If it is no such URL, has a password in it, or asks for what the store does not have.
    pub fn parse(url: &str) -> Result<Self, InvalidUrl> {
        let config: Config = url.parse().map_err(|_| InvalidUrl::Unreadable)?;
        if config.get_hosts().is_empty() {
            return Err(InvalidUrl::NoHost);
        }
        if config.get_password().is_some() {
            return Err(InvalidUrl::Password);
        }
        if config.get_ssl_mode() == SslMode::Require {
            return Err(InvalidUrl::Tls);
        }
        Ok(Self::new(config))
    }

    /// Which database it is, for people.
    pub fn place(&self) -> String {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            Some(Host::Unix(folder)) => folder.display().to_string(),
            None => "localhost".to_owned(),
        };
        let port = self.config.get_ports().first().copied().unwrap_or(5_432);
        let name = self.config.get_dbname().or(self.config.get_user()).unwrap_or("postgres");
        format!("database {name} on {host}:{port}")
    }

    /// Of the database that this says, with the defaults.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            password_file: None,
            connections: 8,
            lease: Duration::from_secs(15),
            margin: Duration::from_secs(3),
            timeout: Duration::from_secs(10),
            allow_data_loss: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_the_database_is_and_no_secret() {
        let refused = |url| PostgresOptions::parse(url).map(drop);
        assert_eq!(refused("postgres://guras@db.internal:5432/guras"), Ok(()));
        assert_eq!(refused("postgres://guras@%2Fvar%2Frun%2Fpostgresql/guras"), Ok(()));
        assert_eq!(refused("host=db user=guras"), Ok(()));
        assert_eq!(refused("postgres://guras:hunter2@db/guras"), Err(InvalidUrl::Password));
        assert_eq!(refused("postgres://guras@db/guras?sslmode=require"), Err(InvalidUrl::Tls));
        assert_eq!(refused("postgres:///guras"), Err(InvalidUrl::NoHost));
        assert_eq!(refused("mysql://db"), Err(InvalidUrl::Unreadable));
    }
}
