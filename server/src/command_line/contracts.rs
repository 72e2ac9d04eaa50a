//! `orchestrator contracts`: what the contracts of the services say, and whether the services say the same.

use clap::{Args, Subcommand};

use super::configuration_flags::ConfigurationFlags;
use super::connection::Output;
use super::exit::CommandError;
use super::{Exit, Terminal};

mod against;
mod repeats;

#[derive(Debug, Subcommand)]
pub(super) enum Contracts {
    /// Tell which methods are never repeated because neither their contract nor the configuration says that they may be;
    /// exits with 6 where there are any.
    Check(Check),
}

#[derive(Debug, Args)]
pub(super) struct Check {
    /// Compare with what a server has, by its reflection: an address, or the key of a configured service, which is then
    /// asked with its TLS and token. Exits with 6 where calls would fail, lose something, or be repeated and must not.
    #[arg(long, value_name = "ADDRESS|SERVICE")]
    against: Option<String>,
    /// List every method, with what its contract or the configuration says.
    #[arg(long, conflicts_with = "against")]
    all: bool,
    /// Tables for people, JSON for programs.
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    configuration: ConfigurationFlags,
}

impl Contracts {
    pub(super) async fn run(self, terminal: &mut Terminal<'_>) -> Result<Exit, CommandError> {
        let Self::Check(Check { against, all, output, configuration }) = self;
        let services = configuration.load()?.configuration.services;
        match against {
            None => repeats::check(&services, all, output, terminal),
            Some(server) => against::check(&services, &server, output, terminal).await,
        }
    }
}

/// What was found, as JSON.
fn json<T: serde::Serialize>(found: &[T]) -> Result<String, CommandError> {
    serde_json::to_string_pretty(&serde_json::json!({ "findings": found }))
        .map_err(|error| CommandError::failed(error.to_string()))
}
