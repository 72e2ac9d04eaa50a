//! `orchestrator schedules backfill|backfills|cancel-backfill`.

use std::time::Duration;

use clap::Args;
use prost_types::Timestamp;
use uuid::Uuid;

use super::super::connection::{Output, Server};
use super::super::exit::CommandError;
use super::super::table::{table, time};
use super::super::{Terminal, json};
use super::words;
use crate::proto::orchestrator::admin::v1::{
    Backfill, BackfillScheduleRequest, CancelBackfillRequest, GetBackfillRequest, ListBackfillsRequest,
};

/// How often `--wait` looks.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(in super::super) struct Start {
    /// Name of the schedule.
    name: String,
    /// Nominal times from this on.
    #[arg(long, value_name = "TIME", value_parser = words::parse_time)]
    from: Timestamp,
    /// Nominal times before this.
    #[arg(long, value_name = "TIME", value_parser = words::parse_time)]
    until: Timestamp,
    /// Runs of it at the same time, at most. Other runs of the schedule do not count.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    at_once: i32,
    /// Starts in a minute, at most; 0 if there is no bound.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i32).range(0..=60_000))]
    per_minute: i32,
    /// Say what it would do, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Wait for its end, and say how far it has come. Ctrl-C stops the waiting, not the backfill.
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
    /// A UUID; the same id makes one backfill. Made up if left out.
    #[arg(long, value_name = "UUID")]
    request_id: Option<Uuid>,
    /// Why; kept in the audit trail.
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Args)]
pub(in super::super) struct List {
    /// Name of the schedule.
    name: String,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Args)]
pub(in super::super) struct Cancel {
    /// Name of the schedule.
    name: String,
    /// Id of the backfill.
    id: Uuid,
    /// Why; kept in the audit trail.
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    server: Server,
}

impl Start {
    pub(super) async fn run(self, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
        let request = BackfillScheduleRequest {
            schedule: self.name,
            start_time: Some(self.from),
            end_time: Some(self.until),
            max_at_once: self.at_once,
            max_per_minute: self.per_minute,
            validate_only: self.dry_run,
            request_id: self.request_id.unwrap_or_else(Uuid::new_v4).to_string(),
            reason: self.reason,
        };
        let mut client = self.server.schedules()?;
        let mut backfill = client.backfill_schedule(request.clone()).await?.into_inner();
        if self.wait {
            let request = GetBackfillRequest { schedule: request.schedule, backfill_id: backfill.backfill_id.clone() };
            let mut said = -1;
            while backfill.done_time.is_none() {
                let done = backfill.started_count + backfill.passed_count;
                if done != said {
                    terminal.talk(&format!("{done} of {}", backfill.total_count));
                    said = done;
                }
                tokio::time::sleep(LOOK).await;
                backfill = client.get_backfill(request.clone()).await?.into_inner();
            }
        }
        if self.dry_run && self.server.output == Output::Table {
            return terminal.line(&format!("it would start {} runs", backfill.total_count));
        }
        print(&self.server, &backfill, terminal)
    }
}

impl List {
    pub(super) async fn run(self, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
        let request = ListBackfillsRequest { schedule: self.name, page_size: 1_000, ..Default::default() };
        let answer = self.server.schedules()?.list_backfills(request).await?.into_inner();
        match self.server.output {
            Output::Json => terminal.line(&json::pretty(&answer)?),
            Output::Table => terminal.line(&table_of(&answer.backfills)),
        }
    }
}

impl Cancel {
    pub(super) async fn run(self, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
        let request = CancelBackfillRequest {
            schedule: self.name,
            backfill_id: self.id.to_string(),
            request_id: Uuid::new_v4().to_string(),
            reason: self.reason,
        };
        let backfill = self.server.schedules()?.cancel_backfill(request).await?.into_inner();
        print(&self.server, &backfill, terminal)
    }
}

fn print(server: &Server, backfill: &Backfill, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
    match server.output {
        Output::Json => terminal.line(&json::pretty(backfill)?),
        Output::Table => terminal.line(&table_of(std::slice::from_ref(backfill))),
    }
}

fn table_of(backfills: &[Backfill]) -> String {
    let rows = backfills.iter().map(|backfill| {
        let state = match (backfill.cancelled, &backfill.done_time) {
            (true, _) => "CANCELLED",
            (false, Some(_)) => "DONE",
            (false, None) => "RUNNING",
        };
        let done = backfill.started_count + backfill.passed_count;
        [
            backfill.backfill_id.clone(),
            state.to_owned(),
            time(backfill.start_time.as_ref()),
            time(backfill.end_time.as_ref()),
            format!("{done} of {}", backfill.total_count),
            backfill.open_count.to_string(),
        ]
    });
    table(["backfill", "state", "from", "until", "done", "running"], rows)
}
