//! What makes an orchestrator of a team's own.

use engine::workflow::{NameTaken, Registry};
use transport::Contracts;

use crate::background_services::{BackgroundService, Parts};
use crate::configuration::Own;

/// Everything that a team gives to its orchestrator. What it leaves out is as in [`App::new`].
#[derive(Clone, Copy, Debug)]
pub struct App {
    /// The version of the program, as `--version` tells it.
    pub version: &'static str,
    /// The contracts of the services that workflows call, and of what workflows take and return.
    pub contracts: &'static Contracts,
    /// Every workflow that it can run. Each run gets a value of its own.
    pub workflows: fn(&Own) -> Result<Registry, NameTaken>,
    /// Its background services, beside those that every orchestrator has.
    pub background_services: fn(&Parts) -> Vec<Box<dyn BackgroundService>>,
    /// What holds where the configuration says nothing, as TOML: its schedules, for example.
    pub defaults: &'static str,
    /// Whether the settings below `[own]` can be read; [`own`] checks them against a type.
    pub own: fn(&Own) -> Result<(), OwnMistake>,
}

/// What is wrong with the settings of a team's own: the path below `own`, and a reason.
#[derive(Debug, thiserror::Error)]
#[error("own.{path}: {reason}")]
pub struct OwnMistake {
    /// The key, with the tables around it.
    pub path: String,
    /// What was expected.
    pub reason: String,
}

impl App {
    /// An orchestrator of these contracts and workflows, without background services, defaults and settings of its own.
    pub const fn new(contracts: &'static Contracts, workflows: fn(&Own) -> Result<Registry, NameTaken>) -> Self {
        Self {
            version: "",
            contracts,
            workflows,
            background_services: |_| Vec::new(),
            defaults: "",
            own: own::<Nothing>,
        }
    }

    /// Makes it the one of the process: its contracts and defaults are those that the configuration is read with.
    ///
    /// # Errors
    /// The descriptors of its contracts cannot be read, two of its packages have one key in the configuration, or the
    /// process is another orchestrator already.
    pub fn install(&self) -> Result<(), crate::ContractsError> {
        crate::installed::install(self)
    }
}

/// No settings.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Checks the settings of a team's own against their type, for [`App::own`].
///
/// # Errors
/// They cannot be read as this type.
pub fn own<T: serde::de::DeserializeOwned>(own: &Own) -> Result<(), OwnMistake> {
    own.read::<T>().map(drop)
}

/// Does what the arguments of this process say: serves, or works with one that serves.
pub fn main(app: &App) -> std::process::ExitCode {
    crate::command_line::main(app)
}
