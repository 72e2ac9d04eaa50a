//! Settings of a team's own: everything below `[own]`, read as a type that the team has.

use std::fmt;

use config::{Value, ValueKind};
use serde::de::DeserializeOwned;

/// What is wrong with the settings of a team's own: the path below `own`, and a reason.
#[derive(Debug, thiserror::Error)]
#[error("own.{path}: {reason}")]
pub struct OwnMistake {
    /// The key, with the tables around it.
    pub path: String,
    /// What was expected.
    pub reason: String,
}

/// The settings below `[own]`, from the same layers as all others.
#[derive(Clone, PartialEq)]
pub struct Own(pub(crate) Value);

impl Own {
    /// Reads them. A value of the environment is text; the type decides what it means, as for every setting.
    ///
    /// # Errors
    /// They are not of this type.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, OwnMistake> {
        serde_path_to_error::deserialize(self.0.clone()).map_err(|error| {
            let path = error.path().to_string();
            let reason = error.inner().to_string();
            OwnMistake { path: if path == "." { String::new() } else { path }, reason }
        })
    }
}

impl Default for Own {
    fn default() -> Self {
        Self(Value::new(None, ValueKind::Table(config::Map::new())))
    }
}

impl fmt::Debug for Own {
    /// Without values: secrets may be among them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Own").finish_non_exhaustive()
    }
}

/// Checks the settings of a team's own against their type, for [`App::own`](crate::App::own).
///
/// # Errors
/// They cannot be read as this type.
pub fn own<T: serde::de::DeserializeOwned>(own: &Own) -> Result<(), OwnMistake> {
    own.read::<T>().map(drop)
}
