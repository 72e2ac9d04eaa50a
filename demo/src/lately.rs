//! Polls recent runs over the orchestrator's admin API, like any client.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::Context;
use clients::guras::orchestration::journals::v1::AnalyzeEmotionsResponse;
use clients::guras::orchestration::notifications::v1::SendDueResponse;
use prost::{Message, Name};
use server::proto::orchestrator::admin::v1::run_service_client::RunServiceClient;
use server::proto::orchestrator::admin::v1::{GetRunRequest, ListRunsRequest, Run, RunState, RunView};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use transport::channel::Direct;

use crate::plan::Plan;

const PAUSE: Duration = Duration::from_millis(400);
/// A frozen orchestrator does not answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// The runs of one request; more than are started between two requests.
const PAGE: i32 = 100;
/// Runs that are shown.
const MOST: usize = 8;

/// What is known of the runs.
#[derive(Clone, Default)]
pub(crate) struct Runs {
    /// Whether the admin API answered the last request.
    pub(crate) answers: bool,
    /// The newest, newest first, those that ended with their output.
    pub(crate) newest: Vec<Run>,
    /// How many runs are in which state.
    pub(crate) states: BTreeMap<RunState, usize>,
    /// A run with something to see in it; the first one that was found.
    pub(crate) example: Option<String>,
}

/// Asks until it is dropped.
pub(crate) struct Lately {
    runs: watch::Receiver<Runs>,
    task: JoinHandle<()>,
}

impl Lately {
    pub(crate) fn follow(plan: &Plan) -> anyhow::Result<Self> {
        let server = transport::channel::connect(&plan.server()).context("no address of an orchestrator")?;
        let (sender, runs) = watch::channel(Runs::default());
        let mut memory =
            Memory { client: RunServiceClient::new(server), states: HashMap::new(), ended: HashMap::new() };
        let task = tokio::spawn(async move {
            loop {
                let asked = timeout(PATIENCE, memory.ask()).await;
                sender.send_modify(|runs| match asked {
                    Ok(Ok(newest)) => memory.note(newest, runs),
                    Ok(Err(_)) | Err(_) => runs.answers = false,
                });
                tokio::time::sleep(PAUSE).await;
            }
        });
        Ok(Self { runs, task })
    }

    pub(crate) fn now(&self) -> Runs {
        self.runs.borrow().clone()
    }
}

impl Drop for Lately {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Memory {
    client: RunServiceClient<Direct>,
    /// Every run that was seen.
    states: HashMap<String, RunState>,
    /// Runs that ended, with their output; only those that are shown.
    ended: HashMap<String, Run>,
}

impl Memory {
    async fn ask(&mut self) -> Result<Vec<Run>, tonic::Status> {
        let list = ListRunsRequest { page_size: PAGE, ..ListRunsRequest::default() };
        let mut runs = self.client.list_runs(list).await?.into_inner().runs;
        self.states.extend(runs.iter().map(|run| (run.run_id.clone(), run.state())));
        for run_id in self.slow(&runs) {
            let view = RunView::Basic.into();
            let get = GetRunRequest { run_id: run_id.clone(), view, ..GetRunRequest::default() };
            let run = self.client.get_run(get).await?.into_inner();
            self.states.insert(run_id, run.state());
        }
        runs.truncate(MOST);
        self.ended.retain(|id, _| runs.iter().any(|run| run.run_id == *id));
        for run in runs.iter_mut().filter(|run| run.end_time.is_some()) {
            if let Some(known) = self.ended.get(&run.run_id) {
                *run = known.clone();
                continue;
            }
            // One step is as few as can be asked for.
            let get = GetRunRequest { run_id: run.run_id.clone(), max_steps: 1, ..GetRunRequest::default() };
            *run = self.client.get_run(get).await?.into_inner();
            self.ended.insert(run.run_id.clone(), run.clone());
        }
        Ok(runs)
    }

    /// Runs that had not ended when they were last seen and are too old for the list.
    fn slow(&self, listed: &[Run]) -> Vec<String> {
        let open = self.states.iter().filter(|(_, state)| !has_ended(**state)).map(|(id, _)| id);
        open.filter(|id| listed.iter().all(|run| run.run_id != **id)).cloned().collect()
    }

    fn note(&self, newest: Vec<Run>, runs: &mut Runs) {
        runs.answers = true;
        runs.states.clear();
        for state in self.states.values() {
            *runs.states.entry(*state).or_default() += 1;
        }
        if runs.example.is_none() {
            runs.example = newest.iter().find(|run| did_something(run)).map(|run| run.run_id.clone());
        }
        runs.newest = newest;
    }
}

pub(crate) fn has_ended(state: RunState) -> bool {
    matches!(state, RunState::Succeeded | RunState::Failed | RunState::Cancelled | RunState::Terminated)
}

fn did_something(run: &Run) -> bool {
    output::<SendDueResponse>(run).is_some_and(|output| output.sent > 0)
}

fn output<M: Message + Name + Default>(run: &Run) -> Option<M> {
    run.output.as_ref()?.to_msg().ok()
}

/// The result of a run, in a few words.
pub(crate) fn outcome(run: &Run) -> String {
    if let Some(error) = &run.error {
        return error.message.clone();
    }
    let counts = if let Some(output) = output::<SendDueResponse>(run) {
        vec![
            ("notified", output.sent),
            ("pushed", output.pushes),
            ("without device", output.skipped),
            ("failed", output.failed),
        ]
    } else if let Some(output) = output::<AnalyzeEmotionsResponse>(run) {
        vec![
            ("saved", output.saved),
            ("unreadable", output.unparsable),
            ("unmatched", output.unmatched),
            ("gone", output.gone),
            ("failed", output.failed),
        ]
    } else {
        return run.reason.clone();
    };
    let counts = counts.into_iter().filter(|(_, count)| *count > 0).map(|(what, count)| format!("{count} {what}"));
    let counts: Vec<String> = counts.collect();
    if counts.is_empty() { "nothing to do".to_owned() } else { counts.join(", ") }
}
