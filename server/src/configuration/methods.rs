//! What an operator knows of a method whose contract says less, and cannot be changed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::word;
use crate::duration;

/// How often calls of one method may be repeated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Method {
    #[serde(deserialize_with = "word::deserialize")]
    pub level: MethodLevel,
    /// How long the service remembers a key; only for `keyed`.
    #[serde(with = "duration")]
    pub dedupe_horizon: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MethodLevel {
    /// What the contract says.
    #[default]
    Contract,
    NoSideEffects,
    Idempotent,
    /// Once for each key, as long as the service remembers it.
    Keyed,
}
