//! `orchestrator schedules pause|resume|delete|trigger`.

use clap::Args;
use uuid::Uuid;

use super::super::connection::{Output, Server};
use super::super::exit::CommandError;
use super::super::{Exit, Terminal, json};
use super::{show, words};
use crate::proto::orchestrator::admin::v1::{
    DeleteScheduleRequest, OverlapPolicy, PauseScheduleRequest, ResumeScheduleRequest, TickOutcome,
    TriggerScheduleRequest,
};

#[derive(Debug, Args)]
pub(in super::super) struct Steer {
    /// Name of the schedule.
    name: String,
    /// Why; kept in the audit trail, and shown as the note of a pause.
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    server: Server,
}

#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Verb {
    Delete,
    Pause,
    Resume,
}

#[derive(Debug, Args)]
pub(in super::super) struct Trigger {
    #[command(flatten)]
    steer: Steer,
    /// What it does while runs of the schedule continue; the schedule's own policy if left out.
    #[arg(long, value_enum, ignore_case = true)]
    overlap: Option<words::Overlap>,
    /// For ALLOW_N and BUFFER_ALL: how many.
    #[arg(long, default_value_t = 0)]
    overlap_limit: i32,
    /// A UUID; the same id triggers once. Made up if left out.
    #[arg(long, value_name = "UUID")]
    request_id: Option<Uuid>,
}

impl Steer {
    pub(super) async fn run(self, verb: Verb, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
        let (schedule, reason) = (self.name.clone(), self.reason);
        let (request_id, mut client) = (Uuid::new_v4().to_string(), self.server.schedules()?);
        let schedule = match verb {
            Verb::Pause => client.pause_schedule(PauseScheduleRequest { schedule, request_id, reason }).await?,
            Verb::Resume => client.resume_schedule(ResumeScheduleRequest { schedule, request_id, reason }).await?,
            Verb::Delete => {
                let request = DeleteScheduleRequest { schedule, etag: String::new(), request_id, reason };
                client.delete_schedule(request).await?;
                terminal.talk(&format!("schedule {} is deleted", self.name));
                return Ok(());
            }
        };
        match self.server.output {
            Output::Json => terminal.line(&json::pretty(&schedule.into_inner())?),
            Output::Table => terminal.line(&show::facts_of(&schedule.into_inner())),
        }
    }
}

impl Trigger {
    pub(super) async fn run(self, terminal: &mut Terminal<'_>) -> Result<Exit, CommandError> {
        let request = TriggerScheduleRequest {
            schedule: self.steer.name,
            overlap: self.overlap.map_or(OverlapPolicy::Unspecified, OverlapPolicy::from).into(),
            overlap_limit: self.overlap_limit,
            request_id: self.request_id.unwrap_or_else(Uuid::new_v4).to_string(),
            reason: self.steer.reason,
        };
        let answer = self.steer.server.schedules()?.trigger_schedule(request).await?.into_inner();
        if self.steer.server.output == Output::Json {
            terminal.line(&json::pretty(&answer)?)?;
        } else {
            terminal.row(&answer.run_id)?;
        }
        match answer.outcome() {
            TickOutcome::Started | TickOutcome::Unspecified => Ok(Exit::Ok),
            TickOutcome::Buffered => {
                terminal.talk("it waits for the end of an earlier run");
                Ok(Exit::Ok)
            }
            other => {
                terminal.talk(&format!("nothing was started: {}", words::outcome(other)));
                Ok(Exit::Failed)
            }
        }
    }
}
