//! `orchestrator schedules show`, and how one schedule is printed.

use clap::Args;

use super::super::connection::{Output, Server};
use super::super::exit::CommandError;
use super::super::table::{facts, payload, span, table, time};
use super::super::{Terminal, json};
use super::{preview, ticks, words};
use crate::proto::orchestrator::admin::v1::schedule::InputForm;
use crate::proto::orchestrator::admin::v1::{
    GetScheduleRequest, ListTicksRequest, PreviewScheduleRequest, PreviewScheduleResponse, Schedule,
};

/// Ticks that are shown with a schedule.
const TICKS: i32 = 10;

#[derive(Debug, Args)]
pub(in super::super) struct Show {
    /// Name of the schedule.
    name: String,
    #[command(flatten)]
    server: Server,
}

impl Show {
    pub(super) async fn run(self, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
        let mut client = self.server.schedules()?;
        let schedule = client.get_schedule(GetScheduleRequest { schedule: self.name.clone() }).await?.into_inner();
        if self.server.output == Output::Json {
            return terminal.line(&json::pretty(&schedule)?);
        }
        // One that is retired, or that this release cannot read, has no times.
        let next = if schedule.next_times.is_empty() {
            PreviewScheduleResponse::default()
        } else {
            let request = PreviewScheduleRequest { schedule: self.name.clone(), ..Default::default() };
            client.preview_schedule(request).await?.into_inner()
        };
        let request = ListTicksRequest { schedule: self.name, page_size: TICKS, page_token: String::new() };
        let last = client.list_ticks(request).await?.into_inner();
        terminal.line(&facts_of(&schedule))?;
        let next = preview::rows(next.times, next.clock_changes);
        terminal.line(&format!("\n{}", table(["next", "utc", ""], next)))?;
        terminal.line(&format!("\n{}", ticks::table_of(&last.ticks)))
    }
}

/// What there is to say of a schedule beside its times.
pub(super) fn facts_of(schedule: &Schedule) -> String {
    let spec = schedule.spec.clone().unwrap_or_default();
    let paused = schedule.pause.as_ref().map(|pause| {
        let note = if pause.note.is_empty() { String::new() } else { format!(": {}", pause.note) };
        format!("{} by {}{note}", time(pause.time.as_ref()), pause.caller)
    });
    let last = schedule
        .last_time
        .as_ref()
        .map(|last| format!("{} started {}, {} late", time(Some(last)), schedule.last_run_id, span(schedule.lateness)));
    let success = schedule
        .last_success_time
        .as_ref()
        .map(|at| format!("{} for {}", time(Some(at)), time(schedule.last_success_nominal_time.as_ref())));
    let missed = schedule.last_missed_time.as_ref().map(|last| {
        let skips = match schedule.consecutive_skips {
            0 => String::new(),
            skips => format!(", {skips} skipped in a row"),
        };
        format!("{}, the last at {}{skips}", schedule.missed_count, time(Some(last)))
    });
    let input = match &schedule.input_form {
        Some(InputForm::Input(any)) => payload(Some(any)),
        _ => String::new(),
    };
    facts(&[
        ("Schedule", schedule.schedule.clone()),
        ("Workflow", schedule.workflow.clone()),
        ("State", words::state(schedule)),
        ("From", words::source(schedule).to_owned()),
        ("Rules", words::rules(&spec)),
        ("Excluded", words::excluded(&spec)),
        ("Zone", spec.time_zone.clone()),
        ("Jitter", span(spec.jitter)),
        ("Start", time(spec.start_time.as_ref())),
        ("End", time(spec.end_time.as_ref())),
        ("Policy", schedule.policy.as_ref().map(words::policy).unwrap_or_default()),
        ("Input", input),
        ("Paused", paused.unwrap_or_default()),
        ("Retired", time(schedule.retire_time.as_ref())),
        ("Problem", schedule.problem.clone()),
        ("Last", last.unwrap_or_default()),
        ("Success", success.unwrap_or_default()),
        ("Missed", missed.unwrap_or_default()),
        ("Continues", schedule.open_run_ids.join(", ")),
        ("Etag", schedule.etag.clone()),
    ])
}
