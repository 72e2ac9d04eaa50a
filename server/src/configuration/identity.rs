//! Who we are to a service and how we know it, as an operator says it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How the connection to a service is encrypted, and who is at its ends. The files are read again when they change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Encrypts where the address does not say so; `https://` does.
    pub enabled: bool,
    /// PEM with the roots to trust. Empty: those of the system.
    pub ca_file: PathBuf,
    /// PEM with our certificate, followed by those between it and its root.
    pub certificate_file: PathBuf,
    /// PEM with its private key.
    pub key_file: PathBuf,
    /// The name that the certificate of the service must be for. Empty: the host of the address.
    pub server_name: String,
}

/// A secret is read as text and written masked.
pub(super) mod secret {
    use serde::{Deserialize, Deserializer, Serializer};
    use transport::channel::Secret;

    use crate::configuration::secrets::MASK;

    pub(crate) fn serialize<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if secret.reveal().is_empty() { "" } else { MASK })
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        String::deserialize(deserializer).map(Secret::new)
    }
}
