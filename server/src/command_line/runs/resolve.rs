//! `orchestrator runs resolve`.

use crate::proto::google::rpc;
use crate::proto::orchestrator::admin::v1::resolve_step_request::Decision;
use crate::proto::orchestrator::admin::v1::{GetRunRequest, ResolveStepRequest};
use clap::{ArgGroup, Args};
use engine::Code;
use uuid::Uuid;

use super::super::connection::{Output, Server};
use super::super::exit::CommandError;
use super::super::{Terminal, json};
use super::show;

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("decision").required(true))]
pub(in super::super) struct ResolveStep {
    id: String,
    /// Path of the step that needs a decision, as `runs show` prints it.
    step: String,
    /// Make the call once more under its key; refused until the attempt in doubt is certainly over.
    #[arg(long, group = "decision")]
    ask_again: bool,
    /// The call happened, and this was the method's response.
    #[arg(long, value_name = "JSON", group = "decision")]
    happened: Option<String>,
    /// The call did not happen; the step fails with this code (for example ABORTED) and message.
    #[arg(long, num_args = 2, value_names = ["CODE", "MESSAGE"], group = "decision")]
    failed: Option<Vec<String>>,
    /// Why; kept in the run's journal.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    server: Server,
}

impl ResolveStep {
    pub(super) async fn run(self, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
        let decision = match (self.happened, self.failed) {
            (Some(json), _) => Decision::ResponseJson(json),
            (_, Some(failed)) => Decision::Failure(failure(&failed)?),
            _ => Decision::AskAgain(()),
        };
        let mut client = self.server.runs()?;
        // The decision is about the step as it is seen now; where it moves on meanwhile, it is refused.
        let look = GetRunRequest { run_id: self.id.clone(), step: self.step.clone(), ..GetRunRequest::default() };
        let run = client.get_run(look).await?.into_inner();
        let step = run.steps.into_iter().find(|step| step.path == self.step);
        let step = step.ok_or_else(|| CommandError::usage(format!("run {} has no step {:?}", self.id, self.step)))?;
        let request = ResolveStepRequest {
            run_id: self.id,
            request_id: Uuid::new_v4().to_string(),
            reason: self.reason,
            step: self.step,
            incarnation: step.incarnation,
            attempts: step.attempts,
            decision: Some(decision),
        };
        let run = client.resolve_step(request).await?.into_inner();
        match self.server.output {
            Output::Json => terminal.line(&json::pretty(&run)?),
            Output::Table => terminal.line(&show::facts_of(&run)),
        }
    }
}

fn failure(words: &[String]) -> Result<rpc::Status, CommandError> {
    let [name, message] = words else { return Err(CommandError::usage("--failed: expected CODE MESSAGE")) };
    let code = (1..=16).map(Code::from_i32).find(|code| code.name() == name);
    let code = code
        .ok_or_else(|| CommandError::usage(format!("--failed: {name:?} is no code; expected for example ABORTED")))?;
    Ok(rpc::Status { code: code as i32, message: message.clone(), details: Vec::new() })
}
