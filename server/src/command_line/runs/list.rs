//! `orchestrator runs list`.

use crate::proto::orchestrator::admin::v1::{ListRunsRequest, RunState};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::super::connection::{Output, Server};
use super::super::exit::CommandError;
use super::super::table::{between, table, time};
use super::super::{Terminal, json};

#[derive(Debug, Args)]
pub(in super::super) struct List {
    /// Only runs of this workflow.
    #[arg(long, value_name = "NAME")]
    workflow: Option<String>,
    /// Only runs in this state; may be repeated.
    #[arg(long, value_name = "STATE", value_parser = states(), ignore_case = true)]
    state: Vec<RunState>,
    /// Only runs that meet this, for example 'state = FAILED AND create_time >= "2026-01-31T00:00:00Z"'. Fields: workflow, state,
    /// reason, create_time, update_time, end_time, schedule, parent_run_id, pinned, error.code.
    #[arg(long, value_name = "FILTER", default_value = "")]
    filter: String,
    /// List the oldest first.
    #[arg(long)]
    oldest_first: bool,
    /// How many runs to list.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i32).range(1..=1_000))]
    limit: i32,
    /// Where the next page begins; printed below the previous list.
    #[arg(long, value_name = "TOKEN", default_value = "")]
    page_token: String,
    #[command(flatten)]
    server: Server,
}

/// Reads the name of a state, as the admin API spells it.
pub(super) fn states() -> impl TypedValueParser<Value = RunState> {
    let names = PossibleValuesParser::new(engine::State::ALL.map(engine::State::name));
    names.map(|name| RunState::from_str_name(&name.to_uppercase()).unwrap_or_default())
}

impl List {
    pub(super) async fn run(self, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
        let request = ListRunsRequest {
            page_size: self.limit,
            page_token: self.page_token,
            workflow: self.workflow.unwrap_or_default(),
            states: self.state.into_iter().map(Into::into).collect(),
            filter: self.filter,
            order_by: String::from(if self.oldest_first { "create_time" } else { "" }),
        };
        let page = self.server.runs()?.list_runs(request).await?.into_inner();
        if self.server.output == Output::Json {
            return terminal.line(&json::pretty(&page)?);
        }
        let rows = page.runs.iter().map(|run| {
            let error = run.error.as_ref().map(|error| error.message.clone()).unwrap_or_default();
            [
                run.run_id.clone(),
                run.workflow.clone(),
                run.workflow_version.to_string(),
                run.state().as_str_name().to_owned(),
                time(run.create_time.as_ref()),
                between(run.create_time.as_ref(), run.end_time.as_ref()),
                run.step_count.to_string(),
                if run.reason.is_empty() { error } else { run.reason.clone() },
            ]
        });
        terminal.line(&table(["run", "workflow", "version", "state", "created", "took", "steps", "reason"], rows))?;
        if !page.next_page_token.is_empty() {
            terminal.talk(&format!("more with --page-token {}", page.next_page_token));
        }
        Ok(())
    }
}
