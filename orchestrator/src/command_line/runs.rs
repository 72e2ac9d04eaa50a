//! `orchestrator runs`: one file per verb.

use clap::Subcommand;
use clients::orchestrator::admin::v1::{Run, RunState};

use super::exit::CommandError;
use super::{Exit, Terminal};

mod cancel;
mod input;
mod list;
mod resolve;
mod retry;
mod show;
mod signal;
mod start;
mod watch;

#[derive(Debug, Subcommand)]
pub(super) enum Runs {
    /// Start a run.
    Start(start::StartRun),
    /// List runs, newest first.
    List(list::List),
    /// Show a run with its steps.
    Show(show::Show),
    /// Follow a run until it ends; exits with 3 where it does not succeed.
    Watch(watch::Watch),
    /// Ask a run to end; after the answer it starts nothing new.
    Cancel(cancel::CancelRun),
    /// Send a run a message; it is kept until the run waits for it.
    Signal(signal::SignalRun),
    /// Go on with a failed or blocked run from the step that failed.
    Retry(retry::RetryRun),
    /// Decide what became of a call that may or may not have happened; then the run goes on.
    Resolve(resolve::ResolveStep),
}

impl Runs {
    pub(super) async fn run(self, terminal: &mut Terminal<'_>) -> Result<Exit, CommandError> {
        match self {
            Self::Start(start) => start.run(terminal).await,
            Self::List(list) => list.run(terminal).await.map(|()| Exit::Ok),
            Self::Show(show) => show.run(terminal).await.map(|()| Exit::Ok),
            Self::Watch(watch) => watch.run(terminal).await,
            Self::Cancel(cancel) => cancel.run(terminal).await.map(|()| Exit::Ok),
            Self::Signal(signal) => signal.run(terminal).await.map(|()| Exit::Ok),
            Self::Retry(retry) => retry.run(terminal).await.map(|()| Exit::Ok),
            Self::Resolve(resolve) => resolve.run(terminal).await.map(|()| Exit::Ok),
        }
    }
}

/// The exit that a run's end stands for; none while it goes on.
fn exit_of(run: &Run) -> Option<Exit> {
    match run.state() {
        RunState::Succeeded => Some(Exit::Ok),
        RunState::Failed | RunState::Cancelled | RunState::Terminated => Some(Exit::RunFailed),
        _ => None,
    }
}
