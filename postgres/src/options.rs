//! How the store reaches its database, and how long things may take.

use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use crate::files::{UnusableFile, read};
use crate::tls::{self, Encryption, TlsFiles};
use crate::url::{self, InvalidUrl};

const PASSWORD_FILE: &str = "password_file";

/// What a replica needs to know of its database.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PostgresOptions {
    /// Where the database is, and who connects.
    pub config: Config,
    /// Whether connections are encrypted, and what the server has to prove then.
    pub encryption: Encryption,
    /// Files for encrypted connections.
    pub tls: TlsFiles,
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
    /// Whether replicas give each other hints by `NOTIFY`, on one more connection.
    pub hints: bool,
    /// How often this replica looks for what others changed, beside hints.
    pub look_every: Duration,
    /// Whether the database may forget what it has acknowledged.
    pub allow_data_loss: bool,
    /// Opens a restored dump, and says in it that the original may have continued: what its runs did since then is not known.
    pub adopt: bool,
}

impl PostgresOptions {
    /// Reads where the database is, and how connections to it are encrypted.
    ///
    /// # Errors
    /// If it is no such URL, has a password in it, or asks for what the store does not have.
    pub fn parse(url: &str) -> Result<Self, InvalidUrl> {
        let (config, encryption) = url::parse(url)?;
        Ok(Self { encryption, ..Self::new(config) })
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

    /// Of the database that this says, with the defaults, over connections that are not encrypted.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            encryption: Encryption::Off,
            tls: TlsFiles::default(),
            password_file: None,
            connections: 8,
            lease: Duration::from_secs(15),
            margin: Duration::from_secs(3),
            timeout: Duration::from_secs(10),
            hints: true,
            look_every: Duration::from_millis(750),
            allow_data_loss: false,
            adopt: false,
        }
    }

    /// Whether something leaves this machine that is not encrypted.
    pub fn is_insecure(&self) -> bool {
        self.encryption == Encryption::Off && !url::is_local(&self.config)
    }

    /// Reads the files, as each connection does.
    ///
    /// # Errors
    /// Names the first that cannot be used.
    pub fn check_files(&self) -> Result<(), UnusableFile> {
        self.connector()?;
        self.password().map(drop)
    }

    pub(crate) fn connector(&self) -> Result<Option<tokio_postgres_rustls::MakeRustlsConnect>, UnusableFile> {
        match self.encryption {
            Encryption::Off => Ok(None),
            encryption => tls::connector(encryption, &self.tls).map(Some),
        }
    }

    pub(crate) fn password(&self) -> Result<Option<Vec<u8>>, UnusableFile> {
        let Some(file) = &self.password_file else { return Ok(None) };
        let mut password = read(PASSWORD_FILE, file)?;
        while password.last().is_some_and(|last| matches!(last, b'\r' | b'\n')) {
            password.pop();
        }
        Ok(Some(password))
    }

    /// How connections are made: also how the server deals with one that is lost, or does not come to an end.
    pub(crate) fn connecting(&self, within: Duration) -> Result<Config, UnusableFile> {
        let mut config = self.config.clone();
        let timeout = self.timeout.as_millis();
        // Statements are short: to compile one costs more than it saves.
        let own = format!("-c statement_timeout={timeout} -c idle_in_transaction_session_timeout={timeout} -c jit=off");
        let all = match config.get_options() {
            Some(said) => format!("{own} {said}"),
            None => own,
        };
        config.options(all).connect_timeout(within).keepalives(true).keepalives_idle(Duration::from_secs(10));
        config.tcp_user_timeout(self.timeout);
        if config.get_application_name().is_none() {
            config.application_name("orchestrator");
        }
        config.ssl_mode(match self.encryption {
            Encryption::Off => SslMode::Disable,
            Encryption::VerifyCa | Encryption::VerifyFull => SslMode::Require,
        });
        if let Some(password) = self.password()? {
            config.password(password);
        }
        Ok(config)
    }
}
