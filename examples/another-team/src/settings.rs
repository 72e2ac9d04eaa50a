//! The settings of the team: what stands below `[own]` in the configuration.

use serde::Deserialize;

/// Every setting has a default; keys that are not here are refused by `config check`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Who takes the parcels.
    pub carrier: String,
    /// How often the settings are logged, in seconds.
    pub report_seconds: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { carrier: String::from("bicycle"), report_seconds: 60 }
    }
}
