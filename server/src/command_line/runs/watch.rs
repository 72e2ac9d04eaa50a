//! `orchestrator runs watch`.

use std::collections::HashMap;
use std::time::Duration;

use crate::proto::orchestrator::admin::v1::{Run, RunView, WatchRunRequest};
use clap::Args;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::super::connection::{Output, Server};
use super::super::exit::CommandError;
use super::super::table::error;
use super::super::{Exit, Terminal, json};
use super::{exit_of, show};

/// How long an orchestrator that went away is tried again, and how often.
const PATIENCE: Duration = Duration::from_secs(30);
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(in super::super) struct Watch {
    id: String,
    #[command(flatten)]
    server: Server,
}

impl Watch {
    pub(super) async fn run(self, terminal: &mut Terminal<'_>) -> Result<Exit, CommandError> {
        let mut printer = Printer { output: self.server.output, last: None, steps: HashMap::new() };
        let mut heard = Instant::now();
        loop {
            match self.follow(&mut printer, &mut heard, terminal).await? {
                Followed::Ended(exit) => return Ok(exit),
                Followed::Lost(status) if heard.elapsed() > PATIENCE => return Err(status.into()),
                Followed::Lost(_) => tokio::time::sleep(RECONNECT_PAUSE).await,
            }
        }
    }

    async fn follow(
        &self,
        printer: &mut Printer,
        heard: &mut Instant,
        terminal: &mut Terminal<'_>,
    ) -> Result<Followed, CommandError> {
        let request = WatchRunRequest { run_id: self.id.clone(), view: RunView::Full.into(), max_steps: 10_000 };
        let mut client = self.server.runs()?;
        let mut stream = match client.watch_run(request).await {
            Ok(answer) => answer.into_inner(),
            // Only an orchestrator that was there before is waited for.
            Err(status) if printer.last.is_none() => return Err(status.into()),
            Err(status) => return lost(status),
        };
        loop {
            match stream.message().await {
                Ok(Some(run)) => {
                    *heard = Instant::now();
                    printer.print(&run, terminal)?;
                    if let Some(exit) = exit_of(&run) {
                        return Ok(Followed::Ended(exit));
                    }
                }
                Ok(None) => return Ok(Followed::Lost(Status::unavailable("the stream ended before the run"))),
                Err(status) => return lost(status),
            }
        }
    }
}

enum Followed {
    Ended(Exit),
    /// The orchestrator went away; the run continues.
    Lost(Status),
}

fn lost(status: Status) -> Result<Followed, CommandError> {
    match status.code() {
        Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled => Ok(Followed::Lost(status)),
        _ => Err(status.into()),
    }
}

/// Prints what is new.
struct Printer {
    output: Output,
    last: Option<Run>,
    /// What was printed of each step.
    steps: HashMap<String, String>,
}

impl Printer {
    fn print(&mut self, run: &Run, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
        if self.last.as_ref() == Some(run) {
            return Ok(());
        }
        if self.output == Output::Json {
            terminal.line(&json::line(run)?)?;
        } else {
            for step in &run.steps {
                let error = step.error.as_ref().map(error).unwrap_or_default();
                let state = step.state().as_str_name();
                let line = format!("  {state:<14} {} {error}", step.path);
                if self.steps.get(&step.path) != Some(&line) {
                    terminal.row(line.trim_end())?;
                    self.steps.insert(step.path.clone(), line);
                }
            }
            if self.last.as_ref().is_none_or(|last| last.state() != run.state()) {
                terminal.row(format!("{:<16} {}", run.state().as_str_name(), run.reason).trim_end())?;
            }
            if exit_of(run).is_some() {
                terminal.line(&format!("\n{}", show::facts_of(run)))?;
            }
        }
        self.last = Some(run.clone());
        Ok(())
    }
}
