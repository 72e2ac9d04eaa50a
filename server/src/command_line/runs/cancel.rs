//! `orchestrator runs cancel`.

use crate::proto::orchestrator::admin::v1::CancelRunRequest;
use clap::Args;
use uuid::Uuid;

use super::super::connection::{Output, Server};
use super::super::exit::CommandError;
use super::super::{Terminal, json};
use super::show;

#[derive(Debug, Args)]
pub(in super::super) struct CancelRun {
    id: String,
    /// Why; shown with the run.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    server: Server,
}

impl CancelRun {
    pub(super) async fn run(self, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
        let request_id = Uuid::new_v4().to_string();
        let request = CancelRunRequest { run_id: self.id, request_id, reason: self.reason };
        let run = self.server.runs()?.cancel_run(request).await?.into_inner();
        match self.server.output {
            Output::Json => terminal.line(&json::pretty(&run)?),
            Output::Table => terminal.line(&show::facts_of(&run)),
        }
    }
}
