//! `orchestrator runs retry`.

use crate::proto::orchestrator::admin::v1::{PreviewRetryRequest, RetryRunRequest};
use clap::Args;
use uuid::Uuid;

use super::super::connection::{Output, Server};
use super::super::exit::CommandError;
use super::super::table::table;
use super::super::{Terminal, json};
use super::show;

#[derive(Debug, Args)]
pub(in super::super) struct RetryRun {
    id: String,
    /// Why; kept in the run's journal.
    #[arg(long, default_value = "")]
    reason: String,
    /// Path of the step to continue from. Default for a failed run: the step that failed.
    #[arg(long, value_name = "STEP", default_value = "")]
    from: String,
    /// List the steps that would be made again, and which of them have side effects; change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    server: Server,
}

impl RetryRun {
    pub(super) async fn run(self, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
        if self.dry_run {
            return self.preview(terminal).await;
        }
        let request_id = Uuid::new_v4().to_string();
        let request = RetryRunRequest { run_id: self.id, request_id, reason: self.reason, from_step: self.from };
        let run = self.server.runs()?.retry_run(request).await?.into_inner();
        match self.server.output {
            Output::Json => terminal.line(&json::pretty(&run)?),
            Output::Table => terminal.line(&show::facts_of(&run)),
        }
    }

    async fn preview(self, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
        let request = PreviewRetryRequest { run_id: self.id, from_step: self.from };
        let preview = self.server.runs()?.preview_retry(request).await?.into_inner();
        if self.server.output == Output::Json {
            return terminal.line(&json::pretty(&preview)?);
        }
        if preview.steps.is_empty() {
            return terminal.line("no step would be made again; the run would continue from where it is");
        }
        let rows = preview.steps.into_iter().map(|step| {
            let effects = match (step.has_side_effects, step.new_key) {
                (false, _) => "none",
                (true, false) => "asked again under its key",
                (true, true) => "made again under a new key",
            };
            [step.path, step.level, effects.to_owned()]
        });
        terminal.line(&table(["step", "level", "side effects"], rows))
    }
}
