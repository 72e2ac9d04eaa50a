//! How connections to the database are encrypted, as an operator says it.

use std::path::{Path, PathBuf};

use postgres_store::PostgresOptions;
use serde::{Deserialize, Serialize};

use super::Store;

/// Files for encrypted connections to the database. They are read again for each connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreTls {
    /// PEM with the roots to trust. Empty: those of the system.
    pub ca_file: PathBuf,
    /// PEM with our certificate, followed by those between it and its root.
    pub certificate_file: PathBuf,
    /// PEM with its private key.
    pub key_file: PathBuf,
}

impl Store {
    /// How the database is reached.
    pub(crate) fn database(&self) -> Result<PostgresOptions, postgres_store::InvalidUrl> {
        let mut options = PostgresOptions::parse(&self.url)?;
        options.password_file = named(&self.password_file);
        options.tls.ca_file = named(&self.tls.ca_file);
        options.tls.certificate_file = named(&self.tls.certificate_file);
        options.tls.key_file = named(&self.tls.key_file);
        options.connections = self.connections as usize;
        (options.lease, options.margin) = (self.lease, self.margin());
        options.timeout = self.timeout;
        options.allow_data_loss = self.allow_data_loss;
        options.hints = self.hints;
        Ok(options)
    }
}

fn named(path: &Path) -> Option<PathBuf> {
    (!path.as_os_str().is_empty()).then(|| path.to_owned())
}
