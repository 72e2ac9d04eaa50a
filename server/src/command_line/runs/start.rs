//! `orchestrator runs start`.

use std::time::Duration;

use crate::proto::orchestrator::admin::v1::StartRunRequest;
use crate::proto::orchestrator::admin::v1::start_run_request::InputForm;
use clap::Args;
use tokio::time::Instant;
use tonic::{Code, Status};
use uuid::Uuid;

use super::super::connection::{Output, Server};
use super::super::exit::CommandError;
use super::super::{Exit, Terminal, json};
use super::input::read_input;
use super::{exit_of, show};
use crate::duration::parse as parse_duration;

/// The longest wait of one call; a longer one is several calls with the same request id.
const LONGEST_CALL: Duration = Duration::from_secs(3_600);

#[derive(Debug, Args)]
pub(in super::super) struct StartRun {
    /// Name of the workflow, for example `notifications.send-due`.
    name: String,
    /// The input as JSON; `@FILE` reads it from a file, `-` from stdin. Default: the empty message.
    #[arg(long, value_name = "JSON|@FILE|-")]
    input: Option<String>,
    /// Wait for the end of the run, at most this long (without a time: one hour).
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = "1h", value_parser = parse_duration)]
    wait: Option<Duration>,
    /// A UUID; the same id starts only one run. Default: a random one.
    #[arg(long, value_name = "UUID")]
    request_id: Option<Uuid>,
    /// Time from now after which the run fails. Default: that of the workflow.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    deadline: Option<Duration>,
    /// Why, for the audit trail.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    #[command(flatten)]
    server: Server,
}

impl StartRun {
    pub(super) async fn run(self, terminal: &mut Terminal<'_>) -> Result<Exit, CommandError> {
        let request_id = self.request_id.unwrap_or_else(Uuid::new_v4);
        let input_form = self.input.as_deref().map(read_input).transpose()?.map(InputForm::InputJson);
        let mut request = StartRunRequest {
            workflow: self.name,
            input_form,
            request_id: request_id.to_string(),
            wait: None,
            deadline: self.deadline.and_then(|deadline| deadline.try_into().ok()),
            reason: self.reason,
        };
        let mut client = self.server.runs()?;
        let until = self.wait.map(|wait| Instant::now() + wait);
        let run = loop {
            let left = until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
            request.wait = left.min(LONGEST_CALL).try_into().ok();
            let answer = client.start_run(request.clone()).await.inspect_err(|status| {
                if is_open(status) {
                    terminal
                        .talk(&format!("whether the run started is open; ask again with --request-id {request_id}"));
                }
            });
            let run = answer?.into_inner();
            if exit_of(&run).is_some() || left <= LONGEST_CALL {
                break run;
            }
        };
        match (self.server.output, self.wait) {
            (Output::Json, _) => terminal.line(&json::pretty(&run)?)?,
            (Output::Table, None) => terminal.row(&run.run_id)?,
            (Output::Table, Some(_)) => terminal.line(&show::facts_of(&run))?,
        }
        Ok(match self.wait {
            None => Exit::Ok,
            Some(_) => exit_of(&run).unwrap_or(Exit::TimeIsUp),
        })
    }
}

/// Whether the run may have started although the answer is an error.
fn is_open(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled | Code::DeadlineExceeded
    )
}
