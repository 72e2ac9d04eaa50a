//! Settings of a team's own: everything below `[own]`, read as a type that the team has.

use std::fmt;

use config::{Value, ValueKind};
use serde::de::DeserializeOwned;

use crate::app::OwnMistake;

/// The settings below `[own]`, from the same layers as all others.
#[derive(Clone, PartialEq)]
pub struct Own(pub(super) Value);

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
