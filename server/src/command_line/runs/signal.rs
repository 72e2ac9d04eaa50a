//! `orchestrator runs signal`.

use crate::proto::orchestrator::admin::v1::SignalRunRequest;
use crate::proto::orchestrator::admin::v1::signal_run_request::MessageForm;
use clap::Args;
use uuid::Uuid;

use super::super::connection::{Output, Server};
use super::super::exit::CommandError;
use super::super::{Terminal, json};
use super::input::read_input;
use super::show;

#[derive(Debug, Args)]
pub(in super::super) struct SignalRun {
    id: String,
    /// Name of a signal that the run's workflow accepts; `workflows show` lists them.
    name: String,
    /// The message as JSON; `@FILE` reads it from a file, `-` from stdin. Default: the empty message.
    #[arg(long, value_name = "JSON|@FILE|-")]
    input: Option<String>,
    /// A UUID; under the same id the message is delivered only once. Default: a random one.
    #[arg(long, value_name = "UUID")]
    request_id: Option<Uuid>,
    /// Why; kept in the audit trail.
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    server: Server,
}

impl SignalRun {
    pub(super) async fn run(self, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
        let request_id = self.request_id.unwrap_or_else(Uuid::new_v4);
        let message_form = self.input.as_deref().map(read_input).transpose()?.map(MessageForm::MessageJson);
        let request = SignalRunRequest {
            run_id: self.id,
            request_id: request_id.to_string(),
            signal: self.name,
            message_form,
            reason: self.reason,
        };
        let run = self.server.runs()?.signal_run(request).await?.into_inner();
        match self.server.output {
            Output::Json => terminal.line(&json::pretty(&run)?),
            Output::Table => terminal.line(&show::facts_of(&run)),
        }
    }
}
