//! `orchestrator upgrade`: which runs in flight this program can continue, told from a store that another one may serve.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use engine::store::{StoreError, sqlite};
use engine::upgrade::{self, CheckedRun, Incompatibility};
use serde::Serialize;

use super::configuration_flags::ConfigurationFlags;
use super::connection::Output;
use super::exit::CommandError;
use super::table::table;
use super::{Exit, Terminal};
use crate::app::App;
use crate::configuration::{Loaded, StoreKind};
use crate::text::plain;

/// How often the progress of a long check is printed.
const PROGRESS: Duration = Duration::from_secs(2);

#[derive(Debug, Subcommand)]
pub(super) enum Upgrade {
    /// Replay every run in flight with the code of this program. Nothing is sent, and nothing is written.
    ///
    /// Reads the store of the configuration, which other orchestrators may use, or a backup of a SQLite file (`--store FILE`).
    /// Exits with 6 if a run that can continue now could not continue. A run that is BLOCKED and would stay so is listed, and
    /// changes nothing of the exit.
    Check(Check),
}

#[derive(Debug, Args)]
pub(super) struct Check {
    /// How many runs that could not continue to name; all are counted.
    #[arg(long, value_name = "RUNS", default_value_t = 100)]
    limit: usize,
    /// Tables for people, JSON for programs.
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    configuration: ConfigurationFlags,
}

/// What was found, as JSON has it.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    runs: u64,
    workflows: Vec<Workflow>,
    /// Runs that could not continue, the oldest first.
    findings: Vec<Finding>,
    /// The number of further ones.
    findings_omitted: u64,
    /// Runs that are BLOCKED already and would stay so, the oldest first.
    stay_blocked: Vec<Finding>,
    /// The number of further ones.
    stay_blocked_omitted: u64,
}

/// What happens to the runs of one workflow and version.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Workflow {
    workflow: String,
    version: u32,
    runs: u64,
    continues: u64,
    /// Would wait for a release that has their code.
    waits: u64,
    /// Would be BLOCKED.
    blocks: u64,
    /// Are BLOCKED already, and would stay so.
    stays_blocked: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    run_id: String,
    workflow: String,
    version: u32,
    state: &'static str,
    reason: String,
}

impl Upgrade {
    pub(super) fn run(self, app: &App, terminal: &mut Terminal<'_>) -> Result<Exit, CommandError> {
        let Self::Check(Check { limit, output, configuration }) = self;
        let Loaded { configuration, own, .. } = configuration.load()?;
        let workflows = (app.workflows)(&own).map_err(|error| CommandError::failed(error.to_string()))?;
        let limits = (&configuration.limits).into();
        let (place, check) = match configuration.store.kind {
            StoreKind::Sqlite => {
                let path = &configuration.store.path;
                let look = sqlite::Look::at(path).map_err(failed)?;
                (path.display().to_string(), upgrade::UpgradeCheck::of(look, &workflows, limits))
            }
            StoreKind::Postgres => {
                let options = configuration.store.database();
                let options = options.map_err(|error| CommandError::usage(error.to_string()))?;
                let place = options.place();
                let look = postgres_store::Look::at(&options).map_err(|error| of_database(&place, error))?;
                (place, upgrade::UpgradeCheck::of(look, &workflows, limits))
            }
        };
        let report = report(check, limit, terminal)?;
        match output {
            Output::Json => {
                let json = serde_json::to_string_pretty(&report);
                terminal.line(&json.map_err(|error| CommandError::failed(error.to_string()))?)?;
            }
            Output::Table => show(&report, terminal)?,
        }
        Ok(conclude(&report, &place, terminal))
    }
}

fn of_database(place: &str, error: StoreError) -> CommandError {
    match error {
        StoreError::Unusable(why) => CommandError::failed(format!("{place}: {why}")),
        error => CommandError { exit: Exit::Unreachable, message: format!("{place}: {error}") },
    }
}

fn failed(error: StoreError) -> CommandError {
    CommandError::failed(error.to_string())
}

fn report(
    mut check: upgrade::UpgradeCheck<'_>,
    limit: usize,
    terminal: &mut Terminal<'_>,
) -> Result<Report, CommandError> {
    let all = check.runs().map_err(failed)?;
    let mut report = Report::default();
    let mut workflows: BTreeMap<(String, u32), Workflow> = BTreeMap::new();
    let mut told = Instant::now();
    for checked in check {
        let checked = checked.map_err(failed)?;
        report.runs += 1;
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            terminal.talk(&format!("checked {} of {all} runs", report.runs));
        }
        let key = (checked.workflow.clone(), checked.version);
        count(workflows.entry(key).or_default(), &checked);
        let Some(reason) = checked.obstacle.as_ref().map(ToString::to_string) else { continue };
        let (named, omitted) = if checked.stands_still() {
            (&mut report.stay_blocked, &mut report.stay_blocked_omitted)
        } else {
            (&mut report.findings, &mut report.findings_omitted)
        };
        if named.len() == limit {
            *omitted += 1;
            continue;
        }
        let CheckedRun { run, workflow, version, state, .. } = checked;
        named.push(Finding { run_id: run.to_string(), workflow, version, state: state.name(), reason });
    }
    report.workflows =
        workflows.into_iter().map(|((workflow, version), counts)| Workflow { workflow, version, ..counts }).collect();
    Ok(report)
}

fn count(counts: &mut Workflow, checked: &CheckedRun) {
    counts.runs += 1;
    *match &checked.obstacle {
        None => &mut counts.continues,
        Some(_) if checked.stands_still() => &mut counts.stays_blocked,
        Some(Incompatibility::MissingCode(_)) => &mut counts.waits,
        Some(Incompatibility::Blocked(_)) => &mut counts.blocks,
    } += 1;
}

fn show(report: &Report, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
    let rows = report.workflows.iter().map(|counts| {
        let Workflow { workflow, version, runs, continues, waits, blocks, stays_blocked } = counts;
        let [runs, continues, waits, blocks, stays] =
            [runs, continues, waits, blocks, stays_blocked].map(u64::to_string);
        [workflow.clone(), version.to_string(), runs, continues, waits, blocks, stays]
    });
    terminal.line(&table(["workflow", "version", "runs", "continue", "wait", "block", "stay blocked"], rows))?;
    for Finding { run_id, workflow, version, state, reason } in report.findings.iter().chain(&report.stay_blocked) {
        let (workflow, reason) = (plain(workflow), plain(reason));
        terminal.line(&format!("\n{run_id}  {workflow} (version {version})  {state}\n  {reason}"))?;
    }
    Ok(())
}

fn conclude(report: &Report, store: &str, terminal: &mut Terminal<'_>) -> Exit {
    let found = report.findings.len() as u64 + report.findings_omitted;
    if report.findings_omitted > 0 {
        terminal.talk(&format!("{} more are named with --limit {found}", report.findings_omitted));
    }
    let (runs, blocked) = (report.runs, report.stay_blocked.len() as u64 + report.stay_blocked_omitted);
    let blocked = if blocked == 0 { String::new() } else { format!(", and {blocked} that are BLOCKED stay so") };
    terminal.talk(&format!("{store}: of {runs} runs in flight {found} cannot continue{blocked}"));
    if found == 0 { Exit::Ok } else { Exit::Findings }
}
