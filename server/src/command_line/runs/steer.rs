//! `orchestrator runs pause|resume|skip-back-off|terminate|delete|pin|unpin`: verbs that take a run and a reason.

use crate::proto::orchestrator::admin::v1::{
    DeleteRunRequest, PauseRunRequest, PinRunRequest, ResumeRunRequest, Run, SkipBackOffRequest, TerminateRunRequest,
    UnpinRunRequest,
};
use clap::Args;
use uuid::Uuid;

use super::super::connection::{Output, Server};
use super::super::exit::CommandError;
use super::super::{Terminal, json};
use super::show;

#[derive(Debug, Args)]
pub(in super::super) struct Steer {
    id: String,
    /// Why; kept in the audit trail.
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Args)]
pub(in super::super) struct Pause {
    #[command(flatten)]
    steer: Steer,
    /// Move the run's deadline by the time that the pause takes.
    #[arg(long)]
    stop_clock: bool,
}

#[derive(Debug, Args)]
pub(in super::super) struct SkipBackOff {
    #[command(flatten)]
    steer: Steer,
    /// Path of the step. Default: every step that waits for its next attempt.
    #[arg(long, value_name = "STEP", default_value = "")]
    step: String,
}

/// A verb that needs nothing more.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Verb {
    Resume,
    Terminate,
    Delete,
    Pin,
    Unpin,
}

impl Steer {
    pub(super) async fn run(self, verb: Verb, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
        let (run_id, reason) = (self.id.clone(), self.reason.clone());
        let (request_id, mut client) = (Uuid::new_v4().to_string(), self.server.runs()?);
        let run = match verb {
            Verb::Resume => client.resume_run(ResumeRunRequest { run_id, request_id, reason }).await?,
            Verb::Terminate => client.terminate_run(TerminateRunRequest { run_id, request_id, reason }).await?,
            Verb::Pin => client.pin_run(PinRunRequest { run_id, request_id, reason }).await?,
            Verb::Unpin => client.unpin_run(UnpinRunRequest { run_id, request_id, reason }).await?,
            Verb::Delete => {
                client.delete_run(DeleteRunRequest { run_id, request_id, reason }).await?;
                terminal.talk(&format!("run {} is deleted", self.id));
                return Ok(());
            }
        };
        self.print(&run.into_inner(), terminal)
    }

    fn print(&self, run: &Run, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
        match self.server.output {
            Output::Json => terminal.line(&json::pretty(run)?),
            Output::Table => terminal.line(&show::facts_of(run)),
        }
    }
}

impl Pause {
    pub(super) async fn run(self, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
        let request = PauseRunRequest {
            run_id: self.steer.id.clone(),
            request_id: Uuid::new_v4().to_string(),
            reason: self.steer.reason.clone(),
            stop_clock: self.stop_clock,
        };
        let run = self.steer.server.runs()?.pause_run(request).await?.into_inner();
        self.steer.print(&run, terminal)
    }
}

impl SkipBackOff {
    pub(super) async fn run(self, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
        let request = SkipBackOffRequest {
            run_id: self.steer.id.clone(),
            request_id: Uuid::new_v4().to_string(),
            reason: self.steer.reason.clone(),
            step: self.step,
        };
        let run = self.steer.server.runs()?.skip_back_off(request).await?.into_inner();
        self.steer.print(&run, terminal)
    }
}
