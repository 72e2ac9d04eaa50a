//! Deletes runs and audit entries whose retention time is over.

use engine::engine::Engine;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryFutureExt};
use tokio_util::sync::CancellationToken;

use super::{BackgroundService, ServiceError};

pub(super) struct PurgeRuns {
    engine: Engine,
}

impl PurgeRuns {
    pub(super) fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

impl BackgroundService for PurgeRuns {
    fn name(&self) -> &'static str {
        "purge-runs"
    }

    fn run(&self, stop: CancellationToken) -> BoxFuture<'_, Result<(), ServiceError>> {
        self.engine.purge_runs(stop).map_err(ServiceError::from).boxed()
    }
}
