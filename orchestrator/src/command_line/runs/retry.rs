//! `orchestrator runs retry`.

use clap::Args;
use clients::orchestrator::admin::v1::RetryRunRequest;
use uuid::Uuid;

use super::super::connection::{Output, Server};
use super::super::exit::CommandError;
use super::super::{Terminal, json};
use super::show;

#[derive(Debug, Args)]
pub(in super::super) struct RetryRun {
    id: String,
    /// Why; kept in the run's journal.
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    server: Server,
}

impl RetryRun {
    pub(super) async fn run(self, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
        let request_id = Uuid::new_v4().to_string();
        let request = RetryRunRequest { run_id: self.id, request_id, reason: self.reason };
        let run = self.server.runs()?.retry_run(request).await?.into_inner();
        match self.server.output {
            Output::Json => terminal.line(&json::pretty(&run)?),
            Output::Table => terminal.line(&show::facts_of(&run)),
        }
    }
}
