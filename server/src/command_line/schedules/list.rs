//! `orchestrator schedules list`.

use clap::Args;
use prost_types::Timestamp;

use super::super::connection::{Output, Server};
use super::super::exit::CommandError;
use super::super::table::{table, time};
use super::super::{Terminal, json};
use super::words;
use crate::proto::orchestrator::admin::v1::ListSchedulesRequest;

#[derive(Debug, Args)]
pub(in super::super) struct List {
    /// Only schedules of this workflow.
    #[arg(long, value_name = "NAME", default_value = "")]
    workflow: String,
    /// Only schedules that should have started a run at any time and did not.
    #[arg(long, conflicts_with = "missed_since")]
    missed: bool,
    /// Only schedules that should have started a run at this time or later and did not.
    #[arg(long, value_name = "TIME", value_parser = words::parse_time)]
    missed_since: Option<Timestamp>,
    /// How many schedules to list.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i32).range(1..=1_000))]
    limit: i32,
    /// Where to continue; printed below the list before.
    #[arg(long, value_name = "TOKEN", default_value = "")]
    page_token: String,
    #[command(flatten)]
    server: Server,
}

impl List {
    pub(super) async fn run(self, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
        let request = ListSchedulesRequest {
            page_size: self.limit,
            page_token: self.page_token,
            workflow: self.workflow,
            missed_since: self.missed.then(Timestamp::default).or(self.missed_since),
        };
        let page = self.server.schedules()?.list_schedules(request).await?.into_inner();
        if self.server.output == Output::Json {
            return terminal.line(&json::pretty(&page)?);
        }
        let rows = page.schedules.iter().map(|schedule| {
            let next = schedule.next_times.first().map(|next| next.local_time.clone()).unwrap_or_default();
            let spec = schedule.spec.clone().unwrap_or_default();
            let zone = if spec.time_zone == "UTC" { String::new() } else { format!(" in {}", spec.time_zone) };
            [
                schedule.schedule.clone(),
                schedule.workflow.clone(),
                words::state(schedule),
                next,
                time(schedule.last_time.as_ref()),
                time(schedule.last_success_time.as_ref()),
                schedule.missed_count.to_string(),
                words::source(schedule).to_owned(),
                words::rules(&spec) + &zone,
            ]
        });
        let header = ["schedule", "workflow", "state", "next", "last", "last success", "missed", "from", "rules"];
        terminal.line(&table(header, rows))?;
        if !page.next_page_token.is_empty() {
            terminal.talk(&format!("more with --page-token {}", page.next_page_token));
        }
        Ok(())
    }
}
