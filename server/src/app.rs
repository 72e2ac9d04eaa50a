//! What makes an orchestrator of a team's own.

use engine::workflow::{NameTaken, Registry};
use transport::Contracts;

use crate::installed::{self, ContractsError};

/// Everything that a team gives to its orchestrator.
#[derive(Clone, Copy, Debug)]
pub struct App {
    /// The version of the program, as `--version` tells it.
    pub version: &'static str,
    /// The contracts of the services that workflows call, and of what workflows take and return.
    pub contracts: &'static Contracts,
    /// Every workflow that it can run. Each run gets a value of its own.
    pub workflows: fn() -> Result<Registry, NameTaken>,
}

impl App {
    /// Makes its contracts those of the process.
    ///
    /// # Errors
    /// Their descriptors cannot be read, or the process has other contracts.
    pub fn install(&self) -> Result<(), ContractsError> {
        installed::install(self.contracts)
    }
}
