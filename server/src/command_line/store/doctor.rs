//! `orchestrator store doctor`: what slows or endangers a store.

use std::time::Duration;

use clap::Args;
use engine::retention::Retention;
use engine::store::StoreError;
use engine::store::doctor::{Examination, Severity};
use engine::store::sqlite::{Examine, examine};
use engine::time::{Clock, Timestamp};
use postgres_store::doctor as postgres;
use serde::Serialize;

use crate::command_line::configuration_flags::ConfigurationFlags;
use crate::command_line::connection::Output;
use crate::command_line::exit::CommandError;
use crate::command_line::{Exit, Terminal};
use crate::configuration::{Configuration, Store, StoreKind};
use crate::text::plain;

/// The time between two looks at the database's clock.
const CLOCK_SPAN: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(in crate::command_line) struct Doctor {
    /// Read every page of a SQLite file too. Takes about a second for each GiB; the write-ahead log grows meanwhile.
    #[arg(long)]
    integrity: bool,
    /// Text for people, JSON for programs.
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    configuration: ConfigurationFlags,
}

/// What was found, as JSON has it.
#[derive(Debug, Serialize)]
struct Report {
    store: String,
    figures: Vec<Figure>,
    /// The most urgent first.
    findings: Vec<Finding>,
}

#[derive(Debug, Serialize)]
struct Figure {
    name: &'static str,
    value: String,
}

#[derive(Debug, Serialize)]
struct Finding {
    severity: String,
    kind: &'static str,
    says: String,
    remedy: String,
}

impl Doctor {
    pub(super) async fn run(self, terminal: &mut Terminal<'_>) -> Result<Exit, CommandError> {
        let Configuration { store, retention, .. } = self.configuration.load()?.configuration;
        let retention = Retention::from(&retention);
        let (place, examination) = match store.kind {
            StoreKind::Sqlite => {
                let wish = Examine { now: now(), retention, integrity: self.integrity };
                let examination = examine(&store.path, &wish);
                (
                    store.path.display().to_string(),
                    examination.map_err(|error| CommandError::failed(error.to_string()))?,
                )
            }
            StoreKind::Postgres if self.integrity => {
                return Err(CommandError::usage(
                    "--integrity reads the pages of a SQLite file; for a database use pg_amcheck",
                ));
            }
            StoreKind::Postgres => of_database(&store, retention).await?,
        };
        let exit = match examination.worst() {
            Some(Severity::Warning | Severity::Danger) => Exit::Findings,
            Some(Severity::Note) | None => Exit::Ok,
        };
        let report = Report::of(place, examination);
        let text = match self.output {
            Output::Table => report.text(),
            Output::Json => {
                serde_json::to_string_pretty(&report).map_err(|error| CommandError::failed(error.to_string()))?
            }
        };
        terminal.line(&text)?;
        Ok(exit)
    }
}

fn now() -> Timestamp {
    Clock::system().now()
}

/// Looks at the database of the configuration; its name comes first.
async fn of_database(store: &Store, retention: Retention) -> Result<(String, Examination), CommandError> {
    let options = store.database().map_err(|error| CommandError::usage(error.to_string()))?;
    let place = options.place();
    let wish = postgres::Examine { now, retention, clock_span: CLOCK_SPAN };
    match postgres::examine(&options, &wish).await {
        Ok(examination) => Ok((place, examination)),
        Err(StoreError::Unusable(why)) => Err(CommandError::failed(format!("{place}: {why}"))),
        Err(error) => Err(CommandError { exit: Exit::Unreachable, message: format!("{place}: {error}") }),
    }
}

impl Report {
    fn of(store: String, examination: Examination) -> Self {
        let Examination { figures, findings } = examination;
        let figures = figures.into_iter().map(|figure| Figure { name: figure.name, value: figure.value }).collect();
        let findings = findings.into_iter().map(|finding| Finding {
            severity: finding.severity.to_string(),
            kind: finding.kind,
            says: finding.says,
            remedy: finding.remedy,
        });
        Self { store, figures, findings: findings.collect() }
    }

    fn text(&self) -> String {
        let mut lines = vec![format!("{:<16} {}", "store", plain(&self.store))];
        lines.extend(self.figures.iter().map(|figure| format!("{:<16} {}", figure.name, plain(&figure.value))));
        lines.push(String::new());
        if self.findings.is_empty() {
            lines.push("Nothing was found that slows or endangers it.".to_owned());
        }
        for Finding { severity, kind, says, remedy } in &self.findings {
            lines.push(format!("{severity} {kind}: {}", plain(says)));
            lines.push(format!("  {}", plain(remedy)));
        }
        lines.join("\n")
    }
}
