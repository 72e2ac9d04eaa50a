//! `orchestrator config`: what the orchestrator would run with.

use clap::Subcommand;

use super::configuration_flags::ConfigurationFlags;
use super::exit::CommandError;
use super::{Exit, Terminal};
use crate::app::App;
use crate::configuration::{broken_inputs, show, unknown_workflows};
use crate::installed;

#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Report all mistakes of the configuration, and what `serve` would warn of; exits with 2 if there are mistakes.
    Check(ConfigurationFlags),
    /// Print the effective configuration as TOML, each value with its source, secrets masked.
    Show(ConfigurationFlags),
}

impl Config {
    pub(super) fn run(self, app: &App, terminal: &mut Terminal<'_>) -> Result<Exit, CommandError> {
        match self {
            Self::Check(flags) => {
                let loaded = flags.load()?;
                let workflows =
                    (app.workflows)(&loaded.own).map_err(|error| CommandError::failed(error.to_string()))?;
                let unknown = unknown_workflows(&loaded.configuration, &workflows);
                let inputs = broken_inputs(&loaded.configuration, &workflows);
                let rules = installed::rules().map(|rules| rules.left_to_services()).unwrap_or_default();
                for warning in loaded.warnings.iter().chain(&unknown).chain(&inputs).chain(&rules) {
                    terminal.talk(&format!("warning: {warning}"));
                }
                terminal.talk("the configuration has no mistakes");
            }
            Self::Show(flags) => terminal.line(show(&flags.load()?).trim_end())?,
        }
        Ok(Exit::Ok)
    }
}
