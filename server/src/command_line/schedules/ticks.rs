//! `orchestrator schedules ticks`: what became of each nominal time, and why.

use clap::Args;

use super::super::connection::{Output, Server};
use super::super::exit::CommandError;
use super::super::table::{between, table, time};
use super::super::{Terminal, json};
use super::words;
use crate::proto::orchestrator::admin::v1::{ListTicksRequest, Tick, TickOrigin, TickOutcome};

#[derive(Debug, Args)]
pub(in super::super) struct Ticks {
    /// Name of the schedule.
    name: String,
    /// How many rows to list.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i32).range(1..=1_000))]
    limit: i32,
    /// Where to continue; printed below the list before.
    #[arg(long, value_name = "TOKEN", default_value = "")]
    page_token: String,
    #[command(flatten)]
    server: Server,
}

impl Ticks {
    pub(super) async fn run(self, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
        let request = ListTicksRequest { schedule: self.name, page_size: self.limit, page_token: self.page_token };
        let page = self.server.schedules()?.list_ticks(request).await?.into_inner();
        if self.server.output == Output::Json {
            return terminal.line(&json::pretty(&page)?);
        }
        terminal.line(&table_of(&page.ticks))?;
        if !page.next_page_token.is_empty() {
            terminal.talk(&format!("more with --page-token {}", page.next_page_token));
        }
        Ok(())
    }
}

pub(super) fn table_of(ticks: &[Tick]) -> String {
    let rows = ticks.iter().map(|tick| {
        let times = match tick.count {
            1 => time(tick.first_time.as_ref()),
            count => format!("{} to {} ({count})", time(tick.first_time.as_ref()), time(tick.last_time.as_ref())),
        };
        let late = if tick.outcome() == TickOutcome::Started {
            between(tick.first_time.as_ref(), tick.time.as_ref())
        } else {
            String::new()
        };
        let by = match tick.origin() {
            TickOrigin::Unspecified | TickOrigin::Clock => String::new(),
            TickOrigin::Trigger => "trigger".to_owned(),
            TickOrigin::Backfill => "backfill".to_owned(),
        };
        [times, words::outcome(tick.outcome()).to_owned(), by, tick.run_id.clone(), late, tick.reason.clone()]
    });
    table(["nominal time", "outcome", "by", "run", "late", "why"], rows)
}
