//! `orchestrator runs`: one file per verb.

use crate::proto::orchestrator::admin::v1::{Run, RunState};
use clap::Subcommand;

use super::exit::CommandError;
use super::{Exit, Terminal};

mod bulk;
mod cancel;
mod count;
mod input;
mod list;
mod next;
mod resolve;
mod retry;
mod show;
mod signal;
mod start;
mod steer;
mod step;
mod steps;
mod watch;

pub(super) use input::read_input;

#[derive(Debug, Subcommand)]
pub(super) enum Runs {
    /// Start a run.
    Start(start::StartRun),
    /// List runs, newest first.
    List(list::List),
    /// Count runs by workflow and state.
    Count(count::Count),
    /// Show a run with its steps, or one step with its request, response and failed attempts.
    Show(show::Show),
    /// List all steps of a run in the order of their starts, or those that meet a filter.
    Steps(steps::Steps),
    /// Follow a run until it ends; exits with 3 if it does not succeed.
    Watch(watch::Watch),
    /// Cancel a run: it starts nothing new, its effects settle, and its undos are made.
    Cancel(cancel::CancelRun),
    /// Send a run a message; it is kept until the run waits for it.
    Signal(signal::SignalRun),
    /// Continue a failed or blocked run from the step that failed.
    Retry(retry::RetryRun),
    /// Pause a run: it starts nothing new, and what is in flight settles.
    Pause(steer::Pause),
    /// Resume a paused run.
    Resume(steer::Steer),
    /// Make the next attempt of steps in back-off immediately.
    SkipBackOff(steer::SkipBackOff),
    /// End a run immediately: nothing settles and nothing is undone.
    Terminate(steer::Steer),
    /// Delete a run that has ended.
    Delete(steer::Steer),
    /// Protect a run from retention.
    Pin(steer::Steer),
    /// End the protection of a run from retention.
    Unpin(steer::Steer),
    /// Do one thing to every run that matches a filter; exits with 1 if it was not done to all of them.
    Bulk(bulk::Bulk),
    /// Decide whether a call in doubt happened; then the run continues.
    Resolve(resolve::ResolveStep),
}

impl Runs {
    pub(super) async fn run(self, terminal: &mut Terminal<'_>) -> Result<Exit, CommandError> {
        match self {
            Self::Start(start) => start.run(terminal).await,
            Self::List(list) => list.run(terminal).await.map(|()| Exit::Ok),
            Self::Count(count) => count.run(terminal).await.map(|()| Exit::Ok),
            Self::Show(show) => show.run(terminal).await.map(|()| Exit::Ok),
            Self::Steps(steps) => steps.run(terminal).await.map(|()| Exit::Ok),
            Self::Watch(watch) => watch.run(terminal).await,
            Self::Cancel(cancel) => cancel.run(terminal).await.map(|()| Exit::Ok),
            Self::Signal(signal) => signal.run(terminal).await.map(|()| Exit::Ok),
            Self::Retry(retry) => retry.run(terminal).await.map(|()| Exit::Ok),
            Self::Pause(pause) => pause.run(terminal).await.map(|()| Exit::Ok),
            Self::Resume(steer) => steer.run(steer::Verb::Resume, terminal).await.map(|()| Exit::Ok),
            Self::SkipBackOff(skip) => skip.run(terminal).await.map(|()| Exit::Ok),
            Self::Terminate(steer) => steer.run(steer::Verb::Terminate, terminal).await.map(|()| Exit::Ok),
            Self::Delete(steer) => steer.run(steer::Verb::Delete, terminal).await.map(|()| Exit::Ok),
            Self::Pin(steer) => steer.run(steer::Verb::Pin, terminal).await.map(|()| Exit::Ok),
            Self::Unpin(steer) => steer.run(steer::Verb::Unpin, terminal).await.map(|()| Exit::Ok),
            Self::Bulk(bulk) => bulk.run(terminal).await,
            Self::Resolve(resolve) => resolve.run(terminal).await.map(|()| Exit::Ok),
        }
    }
}

/// The exit that a run's end stands for; none while it runs.
fn exit_of(run: &Run) -> Option<Exit> {
    match run.state() {
        RunState::Succeeded => Some(Exit::Ok),
        RunState::Failed | RunState::Cancelled | RunState::Terminated => Some(Exit::RunFailed),
        _ => None,
    }
}
