//! What makes an orchestrator of a team's own.

use engine::workflow::{NameTaken, Registry};
use transport::Contracts;

use crate::background_services::{BackgroundService, Parts};
use crate::own::{Own, OwnMistake, own};

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
}

/// No settings.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}
