//! What a round measures: an orchestrator that is started again and again over one store, and the service behind it.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use crate::filled::schedules::{add, daily};
use crate::process::{Echo, Options, Orchestrator, STORE};

/// The orchestrator, its store and its service.
pub(super) struct Subject {
    pub(super) echo: Echo,
    pub(super) folder: Arc<TempDir>,
    pub(super) options: Options,
}

impl Subject {
    /// The orchestrator over the store of this round.
    pub(super) async fn start(&self, set: &[String]) -> anyhow::Result<Orchestrator> {
        let options = Options { set: set.to_vec(), ..self.options.clone() };
        Orchestrator::start_over(&self.echo, &options, Arc::clone(&self.folder)).await
    }

    /// One over an empty store.
    pub(super) async fn start_empty(&self) -> anyhow::Result<Orchestrator> {
        Orchestrator::start(&self.echo, &self.options).await
    }

    pub(super) async fn add(
        &self,
        created: engine::Timestamp,
        schedules: impl Iterator<Item = engine::store::Schedule>,
    ) -> anyhow::Result<()> {
        add(&self.folder.path().join(STORE), created, schedules).await
    }

    /// Adds schedules that are due so far apart from each other, from then on.
    pub(super) async fn add_due(
        &self,
        name: &str,
        count: usize,
        apart: Duration,
        first: engine::Timestamp,
    ) -> anyhow::Result<()> {
        let schedules = (0..count).map(|number| {
            let at = first.after(apart * u32::try_from(number).unwrap_or(u32::MAX));
            daily(format!("bench.{name}-{number}"), at)
        });
        self.add(engine::time::Clock::system().now(), schedules).await
    }
}
