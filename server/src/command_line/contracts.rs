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
    /// List methods that declare no idempotency level, neither in their contract nor in the configuration; exits with 6 if
    /// it finds any.
    Check(Check),
}

#[derive(Debug, Args)]
pub(super) struct Check {
    /// Compare with the contracts of a running server, by gRPC reflection: an address, or the name of a configured service,
    /// whose TLS and token are then used. Exits with 6 if calls would fail, lose data, or be repeated although they must not.
    #[arg(long, value_name = "ADDRESS|SERVICE")]
    against: Option<String>,
    /// List every method, with its level and where that comes from.
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
