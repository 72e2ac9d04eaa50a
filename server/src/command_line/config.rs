//! `orchestrator config`: what the orchestrator would run with.

use clap::Subcommand;

use super::configuration_flags::ConfigurationFlags;
use super::exit::CommandError;
use super::{Exit, Terminal};
use crate::configuration::show;

#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Report all mistakes of the configuration; exits with 2 if there are any.
    Check(ConfigurationFlags),
    /// Print the effective configuration as TOML, each value with its source, secrets masked.
    Show(ConfigurationFlags),
}

impl Config {
    pub(super) fn run(self, terminal: &mut Terminal<'_>) -> Result<Exit, CommandError> {
        match self {
            Self::Check(flags) => {
                let loaded = flags.load()?;
                for warning in &loaded.warnings {
                    terminal.talk(&format!("warning: {warning}"));
                }
                terminal.talk("the configuration has no mistakes");
            }
            Self::Show(flags) => terminal.line(show(&flags.load()?).trim_end())?,
        }
        Ok(Exit::Ok)
    }
}
