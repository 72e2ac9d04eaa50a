//! `orchestrator audit`: who changed what, and why.

use crate::proto::orchestrator::admin::v1::{AuditEntry, ListAuditEntriesRequest};
use clap::{Args, Subcommand};

use super::connection::{Output, Server};
use super::exit::CommandError;
use super::pages::{PAGE_SIZE, all_pages};
use super::table::{table, time};
use super::{Exit, Terminal, json};

#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// List changes and refused calls, newest first.
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
    /// Only entries that meet this, for example 'method = CancelRun AND create_time >= "2026-01-31T00:00:00Z"'. Fields: caller,
    /// claimed_caller, method, create_time, run_id, workflow, schedule, refused_count.
    #[arg(long, value_name = "FILTER", default_value = "")]
    filter: String,
    /// List all that there are, with `--output json` each on a line of its own.
    #[arg(long, conflicts_with_all = ["limit", "page_token"])]
    all: bool,
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
            filter: list.filter,
        };
        if list.all {
            return export(&list.server, request, terminal).await;
        }
        let page = list.server.audit()?.list_audit_entries(request).await?.into_inner();
        if list.server.output == Output::Json {
            terminal.line(&json::pretty(&page)?)?;
            return Ok(Exit::Ok);
        }
        terminal.line(&table(COLUMNS, page.audit_entries.into_iter().map(row)))?;
        if !page.next_page_token.is_empty() {
            terminal.talk(&format!("more with --page-token {}", page.next_page_token));
        }
        Ok(Exit::Ok)
    }
}

const COLUMNS: [&str; 6] = ["time", "caller", "method", "run or schedule", "workflow", "what and why"];

fn row(entry: AuditEntry) -> [String; 6] {
    let why = match (entry.detail.is_empty(), entry.reason.is_empty()) {
        (false, false) => format!("{} ({})", entry.detail, entry.reason),
        _ => entry.detail + &entry.reason,
    };
    let why = if entry.refused_count > 0 { format!("refused {} times: {why}", entry.refused_count) } else { why };
    let of = if entry.run_id.is_empty() { entry.schedule } else { entry.run_id };
    let caller = match entry.claimed_caller.as_str() {
        "" => entry.caller,
        claimed => format!("{} ({claimed})", entry.caller),
    };
    [time(entry.create_time.as_ref()), caller, entry.method, of, entry.workflow, why]
}

/// Every entry, page by page: as JSON each on its own line, so that it is read while it comes.
async fn export(
    server: &Server,
    request: ListAuditEntriesRequest,
    terminal: &mut Terminal<'_>,
) -> Result<Exit, CommandError> {
    let mut client = server.audit()?;
    let mut rows = Vec::new();
    let is_json = server.output == Output::Json;
    all_pages(async |page_token| {
        let request = ListAuditEntriesRequest { page_size: PAGE_SIZE, page_token, ..request.clone() };
        let page = client.list_audit_entries(request).await?.into_inner();
        for entry in page.audit_entries {
            if is_json { terminal.line(&json::line(&entry)?)? } else { rows.push(row(entry)) }
        }
        Ok(page.next_page_token)
    })
    .await?;
    if !is_json {
        terminal.line(&table(COLUMNS, rows))?;
    }
    Ok(Exit::Ok)
}
