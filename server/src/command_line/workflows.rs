//! `orchestrator workflows`.

use crate::proto::orchestrator::admin::v1::{
    GetWorkflowRequest, ListWorkflowsRequest, ListWorkflowsResponse, StrandedRuns, Workflow,
};
use clap::{Args, Subcommand};

use super::connection::{Output, Server};
use super::exit::CommandError;
use super::pages::{PAGE_SIZE, all_pages};
use super::table::{facts, span, table, time};
use super::{Exit, Terminal, json};

#[derive(Debug, Subcommand)]
pub(super) enum Workflows {
    /// List the workflows.
    List(List),
    /// Show one workflow: its messages, an example of its input, its schedules.
    Show(Show),
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    name: String,
    #[command(flatten)]
    server: Server,
}

impl Workflows {
    pub(super) async fn run(self, terminal: &mut Terminal<'_>) -> Result<Exit, CommandError> {
        match self {
            Self::List(list) => list.run(terminal).await?,
            Self::Show(show) => show.run(terminal).await?,
        }
        Ok(Exit::Ok)
    }
}

impl List {
    async fn run(self, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
        let mut client = self.server.workflows()?;
        let mut all = ListWorkflowsResponse::default();
        all_pages(async |page_token| {
            let request = ListWorkflowsRequest { page_size: PAGE_SIZE, page_token };
            let page = client.list_workflows(request).await?.into_inner();
            all.workflows.extend(page.workflows);
            all.stranded_runs.extend(page.stranded_runs);
            Ok(page.next_page_token)
        })
        .await?;
        match self.server.output {
            Output::Json => terminal.line(&json::pretty(&all)?),
            Output::Table => {
                let rows = all.workflows.iter().map(|workflow| {
                    let next = workflow.schedules.iter().filter_map(|schedule| schedule.next_time);
                    let next = next.min_by_key(|at| (at.seconds, at.nanos));
                    let every = workflow.schedules.iter().map(|schedule| span(schedule.interval));
                    [
                        workflow.workflow.clone(),
                        workflow.version.to_string(),
                        every.collect::<Vec<_>>().join(", "),
                        time(next.as_ref()),
                        workflow.description.clone(),
                    ]
                });
                terminal.line(&table(["workflow", "version", "every", "next", "description"], rows))?;
                if !all.stranded_runs.is_empty() {
                    terminal.line(&format!("\n{}", stranded(&all.stranded_runs)))?;
                }
                Ok(())
            }
        }
    }
}

/// Runs that cannot continue.
fn stranded(runs: &[StrandedRuns]) -> String {
    let rows = runs.iter().map(|stranded| {
        let StrandedRuns { workflow, workflow_version, run_count, reason } = stranded;
        [workflow.clone(), workflow_version.to_string(), run_count.to_string(), reason.clone()]
    });
    table(["workflow without its code", "version", "runs", "reason"], rows)
}

impl Show {
    async fn run(self, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
        let request = GetWorkflowRequest { workflow: self.name };
        let workflow = self.server.workflows()?.get_workflow(request).await?.into_inner();
        match self.server.output {
            Output::Json => terminal.line(&json::pretty(&workflow)?),
            Output::Table => terminal.line(&shown(&workflow)),
        }
    }
}

fn shown(workflow: &Workflow) -> String {
    let mut text = facts(&[
        ("Workflow", workflow.workflow.clone()),
        ("", workflow.description.clone()),
        ("Version", workflow.version.to_string()),
        ("Input", workflow.input_type.clone()),
        ("Output", workflow.output_type.clone()),
        ("Deadline", span(workflow.default_deadline)),
    ]);
    text.push_str(&format!("\n\nExample of the input:\n{}", workflow.input_example_json));
    for signal in &workflow.signals {
        text.push_str(&format!(
            "\n\nSignal {} takes {}, for example:\n{}",
            signal.signal, signal.message_type, signal.message_example_json
        ));
    }
    if !workflow.schedules.is_empty() {
        let rows = workflow.schedules.iter().map(|schedule| {
            [
                schedule.schedule.clone(),
                span(schedule.interval),
                time(schedule.next_time.as_ref()),
                time(schedule.last_time.as_ref()),
                schedule.last_run_id.clone(),
            ]
        });
        text.push_str("\n\n");
        text.push_str(&table(["schedule", "every", "next", "last", "last run"], rows));
    }
    text
}
