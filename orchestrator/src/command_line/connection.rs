//! The connection to a running orchestrator.

use clap::{Args, ValueEnum};
use clients::channel::{self, Direct};
use clients::orchestrator::admin::v1::run_service_client::RunServiceClient;
use clients::orchestrator::admin::v1::workflow_service_client::WorkflowServiceClient;

use super::exit::CommandError;

/// The largest answer that is taken; the server keeps its own well below.
const MAX_ANSWER: usize = 64 << 20;

/// Which orchestrator is asked, and how its answer is shown.
#[derive(Clone, Debug, Args)]
pub(super) struct Server {
    /// Address of the admin API.
    #[arg(long, value_name = "URL", env = "ORCHESTRATOR_SERVER", default_value = "http://127.0.0.1:50052")]
    server: String,
    /// Tables for people, JSON for programs.
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    pub(super) output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    Table,
    Json,
}

impl Server {
    pub(super) fn runs(&self) -> Result<RunServiceClient<Direct>, CommandError> {
        Ok(RunServiceClient::new(self.connect()?).max_decoding_message_size(MAX_ANSWER))
    }

    pub(super) fn workflows(&self) -> Result<WorkflowServiceClient<Direct>, CommandError> {
        Ok(WorkflowServiceClient::new(self.connect()?).max_decoding_message_size(MAX_ANSWER))
    }

    /// Connects with the first call.
    fn connect(&self) -> Result<Direct, CommandError> {
        channel::connect(&self.server).map_err(|error| CommandError::usage(format!("--server: {error}")))
    }
}
