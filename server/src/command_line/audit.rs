//! `orchestrator audit`: who changed what, and why.

use crate::proto::orchestrator::admin::v1::ListAuditEntriesRequest;
use clap::{Args, Subcommand};

use super::connection::{Output, Server};
use super::exit::CommandError;
use super::table::{table, time};
use super::{Exit, Terminal, json};

#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// List changes, newest first.
    List(List),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only changes of this run.
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// Only changes of the schedule with this name.
    #[arg(long, value_name = "NAME", conflicts_with = "run")]
    schedule: Option<String>,
    /// How many changes to list.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i32).range(1..=1_000))]
    limit: i32,
    /// Where the next page begins; printed below the previous list.
    #[arg(long, value_name = "TOKEN", default_value = "")]
    page_token: String,
    #[command(flatten)]
    server: Server,
}

impl Audit {
    pub(super) async fn run(self, terminal: &mut Terminal<'_>) -> Result<Exit, CommandError> {
        let Self::List(list) = self;
        let request = ListAuditEntriesRequest {
            page_size: list.limit,
            page_token: list.page_token,
            run_id: list.run.unwrap_or_default(),
            schedule: list.schedule.unwrap_or_default(),
        };
        let page = list.server.audit()?.list_audit_entries(request).await?.into_inner();
        if list.server.output == Output::Json {
            terminal.line(&json::pretty(&page)?)?;
            return Ok(Exit::Ok);
        }
        let rows = page.audit_entries.into_iter().map(|entry| {
            let why = match (entry.detail.is_empty(), entry.reason.is_empty()) {
                (false, false) => format!("{} ({})", entry.detail, entry.reason),
                _ => entry.detail + &entry.reason,
            };
            let of = if entry.run_id.is_empty() { entry.schedule } else { entry.run_id };
            [time(entry.create_time.as_ref()), entry.caller, entry.method, of, entry.workflow, why]
        });
        terminal.line(&table(["time", "caller", "method", "run or schedule", "workflow", "what and why"], rows))?;
        if !page.next_page_token.is_empty() {
            terminal.talk(&format!("more with --page-token {}", page.next_page_token));
        }
        Ok(Exit::Ok)
    }
}
