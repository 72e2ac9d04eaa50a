//! `orchestrator schedules create|update`, and the flags that say a spec and a policy.

use std::time::Duration;

use clap::Args;
use prost_types::FieldMask;
use uuid::Uuid;

use super::super::connection::{Output, Server};
use super::super::exit::CommandError;
use super::super::runs::read_input;
use super::super::{Terminal, json};
use super::times::Times;
use super::{show, words};
use crate::duration::parse as parse_duration;
use crate::proto::orchestrator::admin::v1::schedule::InputForm;
use crate::proto::orchestrator::admin::v1::{
    CatchUp, CreateScheduleRequest, OverlapPolicy, Schedule, SchedulePolicy, UpdateScheduleRequest,
};

/// How its ticks are dealt with.
#[derive(Debug, Args)]
struct How {
    /// What a tick does while runs of the schedule continue: SKIP if left out.
    #[arg(long, value_enum, ignore_case = true)]
    overlap: Option<words::Overlap>,
    /// For ALLOW_N: runs at the same time. For BUFFER_ALL: ticks that wait.
    #[arg(long)]
    overlap_limit: Option<i32>,
    /// Which ticks are made up for after an outage: LAST if left out.
    #[arg(long, value_enum, ignore_case = true)]
    catch_up: Option<words::Missed>,
    /// Those that are older are not; 24h if left out.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    catch_up_window: Option<Duration>,
    /// So many at most, for ALL; 100 if left out.
    #[arg(long)]
    catch_up_limit: Option<i32>,
    /// After so many runs the schedule is over.
    #[arg(long)]
    run_limit: Option<i64>,
    /// A run that fails pauses the schedule.
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    pause_on_failure: Option<bool>,
    /// How long a run may take; the workflow's own if left out.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    deadline: Option<Duration>,
}

#[derive(Debug, Args)]
struct Definition {
    /// Name of the schedule.
    name: String,
    /// The input of each run as JSON; `@FILE` reads it from a file, `-` from stdin. The empty message if left out.
    #[arg(long, value_name = "JSON|@FILE|-")]
    input: Option<String>,
    #[command(flatten)]
    times: Times,
    #[command(flatten)]
    how: How,
    /// Check everything and store nothing.
    #[arg(long)]
    dry_run: bool,
    /// Why; kept in the audit trail.
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Args)]
pub(in super::super) struct Create {
    /// Name of the workflow whose runs it starts.
    #[arg(long, value_name = "NAME")]
    workflow: String,
    #[command(flatten)]
    definition: Definition,
}

#[derive(Debug, Args)]
pub(in super::super) struct Update {
    /// Name of the workflow whose runs it starts.
    #[arg(long, value_name = "NAME")]
    workflow: Option<String>,
    /// Refuse where the schedule has another etag by now.
    #[arg(long, default_value = "")]
    etag: String,
    #[command(flatten)]
    definition: Definition,
}

impl How {
    fn policy(&self) -> SchedulePolicy {
        SchedulePolicy {
            overlap: self.overlap.map_or(OverlapPolicy::Unspecified, OverlapPolicy::from).into(),
            overlap_limit: self.overlap_limit.unwrap_or_default(),
            catch_up: self.catch_up.map_or(CatchUp::Unspecified, CatchUp::from).into(),
            catch_up_window: self.catch_up_window.and_then(|window| window.try_into().ok()),
            catch_up_limit: self.catch_up_limit.unwrap_or_default(),
            run_limit: self.run_limit.unwrap_or_default(),
            pause_on_failure: self.pause_on_failure.unwrap_or_default(),
            deadline: self.deadline.and_then(|deadline| deadline.try_into().ok()),
        }
    }

    fn mask(&self) -> impl Iterator<Item = &'static str> {
        let said = [
            ("policy.overlap", self.overlap.is_some()),
            ("policy.overlap_limit", self.overlap_limit.is_some() || self.overlap.is_some()),
            ("policy.catch_up", self.catch_up.is_some()),
            ("policy.catch_up_window", self.catch_up_window.is_some()),
            ("policy.catch_up_limit", self.catch_up_limit.is_some()),
            ("policy.run_limit", self.run_limit.is_some()),
            ("policy.pause_on_failure", self.pause_on_failure.is_some()),
            ("policy.deadline", self.deadline.is_some()),
        ];
        said.into_iter().filter_map(|(path, said)| said.then_some(path))
    }
}

impl Definition {
    fn schedule(&self, workflow: String) -> Result<Schedule, CommandError> {
        let input = self.input.as_deref().map(read_input).transpose()?;
        Ok(Schedule {
            schedule: self.name.clone(),
            workflow,
            input_form: input.map(InputForm::InputJson),
            spec: Some(self.times.spec()),
            policy: Some(self.how.policy()),
            ..Schedule::default()
        })
    }

    fn print(&self, schedule: &Schedule, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
        match self.server.output {
            Output::Json => terminal.line(&json::pretty(schedule)?),
            Output::Table => terminal.line(&show::facts_of(schedule)),
        }
    }
}

impl Create {
    pub(super) async fn run(self, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
        let request = CreateScheduleRequest {
            schedule: Some(self.definition.schedule(self.workflow)?),
            request_id: Uuid::new_v4().to_string(),
            validate_only: self.definition.dry_run,
            reason: self.definition.reason.clone(),
        };
        let schedule = self.definition.server.schedules()?.create_schedule(request).await?.into_inner();
        self.definition.print(&schedule, terminal)
    }
}

impl Update {
    pub(super) async fn run(self, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
        let definition = self.definition;
        let said = [("workflow", self.workflow.is_some()), ("input", definition.input.is_some())];
        let said = said.into_iter().filter_map(|(path, said)| said.then_some(path));
        let paths: Vec<String> =
            said.chain(definition.times.mask()).chain(definition.how.mask()).map(str::to_owned).collect();
        if paths.is_empty() {
            return Err(CommandError::usage(
                "nothing to change; name it with flags, as --cron or --overlap".to_owned(),
            ));
        }
        let schedule = definition.schedule(self.workflow.unwrap_or_default())?;
        let request = UpdateScheduleRequest {
            schedule: Some(Schedule { etag: self.etag, ..schedule }),
            update_mask: Some(FieldMask { paths }),
            request_id: Uuid::new_v4().to_string(),
            validate_only: definition.dry_run,
            reason: definition.reason.clone(),
        };
        let schedule = definition.server.schedules()?.update_schedule(request).await?.into_inner();
        definition.print(&schedule, terminal)
    }
}
