//! `orchestrator runs bulk`.

use crate::proto::orchestrator::admin::v1::{BulkAction, RunState, SteerRunsRequest};
use clap::{Args, ValueEnum};
use uuid::Uuid;

use super::super::connection::{Output, Server};
use super::super::exit::CommandError;
use super::super::table::error;
use super::super::{Exit, Terminal, json};
use super::list::states;

#[derive(Debug, Args)]
pub(in super::super) struct Bulk {
    /// What to do.
    #[arg(value_enum)]
    action: Action,
    /// Only runs of this workflow. This, a state or a filter is required.
    #[arg(long, value_name = "NAME", default_value = "")]
    workflow: String,
    /// Only runs in this state; may be repeated.
    #[arg(long, value_name = "STATE", value_parser = states(), ignore_case = true)]
    state: Vec<RunState>,
    /// Only runs created at this time or later (RFC 3339).
    #[arg(long, value_name = "TIME")]
    created_after: Option<jiff::Timestamp>,
    /// Only runs created before this time. Default: now.
    #[arg(long, value_name = "TIME")]
    created_before: Option<jiff::Timestamp>,
    /// Only runs whose reason begins with this, for example UNDO_FAILED.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason_prefix: String,
    /// Only runs that meet this, as in `runs list`.
    #[arg(long, value_name = "FILTER", default_value = "")]
    filter: String,
    /// List the runs and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// The most runs per second.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i32).range(1..=1_000))]
    rate: i32,
    /// The most runs to change. Default: all.
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..))]
    limit: Option<i32>,
    /// Why; kept with every run.
    #[arg(long)]
    reason: String,
    /// A UUID; the same id changes no run a second time. Default: a random one.
    #[arg(long, value_name = "UUID")]
    request_id: Option<Uuid>,
    #[command(flatten)]
    server: Server,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Action {
    Cancel,
    Retry,
    Pause,
    Resume,
    SkipBackOff,
    Terminate,
    Delete,
    Pin,
    Unpin,
    /// Decide: make every call in doubt once more.
    AskAgain,
    /// Decide: every call in doubt failed.
    DecideFailed,
}

impl From<Action> for BulkAction {
    fn from(action: Action) -> Self {
        match action {
            Action::Cancel => Self::Cancel,
            Action::Retry => Self::Retry,
            Action::Pause => Self::Pause,
            Action::Resume => Self::Resume,
            Action::SkipBackOff => Self::SkipBackOff,
            Action::Terminate => Self::Terminate,
            Action::Delete => Self::Delete,
            Action::Pin => Self::Pin,
            Action::Unpin => Self::Unpin,
            Action::AskAgain => Self::AskAgain,
            Action::DecideFailed => Self::DecideFailed,
        }
    }
}

impl Bulk {
    pub(super) async fn run(self, terminal: &mut Terminal<'_>) -> Result<Exit, CommandError> {
        let request_id = self.request_id.unwrap_or_else(Uuid::new_v4);
        let time =
            |at: jiff::Timestamp| prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() };
        let request = SteerRunsRequest {
            action: BulkAction::from(self.action).into(),
            workflow: self.workflow,
            states: self.state.into_iter().map(Into::into).collect(),
            created_after: self.created_after.map(time),
            created_before: self.created_before.map(time),
            reason_prefix: self.reason_prefix,
            filter: self.filter,
            validate_only: self.dry_run,
            max_rate: self.rate,
            max_runs: self.limit.unwrap_or_default(),
            reason: self.reason,
            request_id: request_id.to_string(),
        };
        let mut answers = self.server.bulk()?.steer_runs(request).await?.into_inner();
        let (mut done, mut failed) = (0_u64, 0_u64);
        loop {
            let answer = answers.message().await.inspect_err(|_| {
                terminal.talk(&format!("{done} runs so far; continue with --request-id {request_id}"));
            });
            let Some(answer) = answer? else { break };
            *(if answer.error.is_some() { &mut failed } else { &mut done }) += 1;
            match self.server.output {
                Output::Json => terminal.line(&json::line(&answer)?)?,
                Output::Table => {
                    let result = match (&answer.error, self.dry_run) {
                        (Some(status), _) => error(status),
                        (None, true) => String::from("found"),
                        (None, false) => String::from("done"),
                    };
                    let state = answer.state().as_str_name();
                    terminal.row(&format!("{}  {:<14}  {}  {result}", answer.run_id, state, answer.workflow))?;
                }
            }
        }
        let did = if self.dry_run { "found" } else { "done" };
        terminal.talk(&format!("{done} {did}, {failed} not"));
        Ok(if failed > 0 { Exit::Failed } else { Exit::Ok })
    }
}
