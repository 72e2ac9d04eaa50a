//! `postgres`: runs, replicas and takeovers on a PostgreSQL server of the newest release that can be had, with its own settings
//! for durability, on the same cores as everything else.

use std::time::Duration;

use postgres_store::testing::{self, Release};
use tokio_postgres::{Client, Config};

use crate::How;
use crate::process::{Echo, Options, Orchestrator};
use crate::report::Report;

mod chains;
mod history;
mod idle;
mod reach;
mod takeover;

/// How much is done.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Size {
    /// Runs that have ended in the database of one of the measurements,
    #[arg(long, default_value_t = crate::ENDED_RUNS)]
    ended_runs: usize,
    /// and runs that wait there.
    #[arg(long, default_value_t = crate::SLEEPERS)]
    waiting_runs: usize,
    /// How long a snapshot is held open, in minutes.
    #[arg(long, default_value_t = 10)]
    snapshot_minutes: u64,
    /// Runs in flight at the kill.
    #[arg(long, default_value_t = crate::IN_FLIGHT_AT_KILL)]
    runs_at_kill: usize,
    /// Only these measurements.
    #[arg(long, value_enum)]
    part: Vec<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// `chain` with one replica and with three.
    Chains,
    /// How soon a cancel reaches a run that another replica holds.
    Reach,
    /// What an idle replica asks of the database.
    Idle,
    /// `chain` beside many runs, and while a snapshot is held open.
    History,
    /// What comes after the kill of one replica of two.
    Takeover,
}

impl Size {
    fn has(&self, part: Part) -> bool {
        self.part.is_empty() || self.part.contains(&part)
    }
}

pub(crate) async fn measure(size: &Size, how: &How, report: &mut Report) -> anyhow::Result<()> {
    if size.has(Part::Chains) {
        chains::measure(how, report).await?;
    }
    if size.has(Part::Reach) {
        reach::measure(how, report).await?;
    }
    if size.has(Part::Idle) {
        idle::measure(how, report).await?;
    }
    if size.has(Part::History) {
        let snapshot = Duration::from_secs(60 * size.snapshot_minutes);
        history::measure(size.ended_runs, size.waiting_runs, snapshot, how, report).await?;
    }
    if size.has(Part::Takeover) {
        takeover::measure(size.runs_at_kill, how, report).await?;
    }
    Ok(())
}

/// A new, empty database.
struct Database {
    config: Config,
}

impl Database {
    async fn new() -> Self {
        Self { config: testing::database(Release::Newest).await }
    }

    /// A connection beside those of the replicas.
    async fn connect(&self) -> Client {
        testing::connect(&self.config).await
    }

    /// What tells a replica where it is.
    fn options(&self, how: &How) -> Options {
        let (url, _) = testing::settings(&self.config);
        let set = vec![String::from("store.kind=postgres"), format!("store.url={url}")];
        Options { folder: how.folder.clone(), set, ..Options::default() }
    }

    async fn replica(&self, echo: &Echo, how: &How) -> anyhow::Result<Orchestrator> {
        Orchestrator::start(echo, &self.options(how)).await
    }

    async fn replicas(&self, count: usize, echo: &Echo, how: &How) -> anyhow::Result<Vec<Orchestrator>> {
        let mut replicas = Vec::new();
        for _ in 0..count {
            replicas.push(self.replica(echo, how).await?);
        }
        Ok(replicas)
    }
}

async fn stop(replicas: Vec<Orchestrator>) -> anyhow::Result<()> {
    for replica in replicas {
        replica.stop().await?;
    }
    Ok(())
}
