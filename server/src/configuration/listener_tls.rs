//! How a listener is encrypted, as an operator says it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use transport::channel::files::FileMistake;
use transport::channel::{ServedTls, ServedTlsConfig};

/// The certificate of a listener. The files are read again when they change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListenerTls {
    /// PEM with the certificate, followed by those between it and its root. Empty: the listener does not encrypt.
    pub certificate_file: PathBuf,
    /// PEM with its private key.
    pub key_file: PathBuf,
}

/// The same, and who may show which certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminTls {
    /// PEM with the certificate, followed by those between it and its root. Empty: the listener does not encrypt.
    pub certificate_file: PathBuf,
    /// PEM with its private key.
    pub key_file: PathBuf,
    /// PEM with the roots of certificates that prove who calls. Empty: certificates prove nothing.
    pub client_ca_file: PathBuf,
}

impl From<&ListenerTls> for AdminTls {
    fn from(tls: &ListenerTls) -> Self {
        let ListenerTls { certificate_file, key_file } = tls.clone();
        Self { certificate_file, key_file, client_ca_file: PathBuf::new() }
    }
}

impl AdminTls {
    pub(crate) fn is_on(&self) -> bool {
        *self != Self::default()
    }

    /// TLS as it is configured; none where it is not.
    pub(crate) fn open(&self) -> Result<Option<Arc<ServedTls>>, FileMistake> {
        if !self.is_on() {
            return Ok(None);
        }
        let Self { certificate_file, key_file, client_ca_file } = self;
        for (key, path) in [("certificate_file", certificate_file), ("key_file", key_file)] {
            if is_empty(path) {
                return Err(FileMistake { key, message: String::from("expected the path of a file") });
            }
        }
        let client_ca_file = (!is_empty(client_ca_file)).then(|| client_ca_file.clone());
        let (certificate_file, key_file) = (certificate_file.clone(), key_file.clone());
        ServedTls::open(&ServedTlsConfig { certificate_file, key_file, client_ca_file }).map(Arc::new).map(Some)
    }
}

pub(super) fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}
