//! Claims runs that are due and drives them: the engine's main loop as a background service.

use engine::engine::Engine;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryFutureExt};
use tokio_util::sync::CancellationToken;

use super::{BackgroundService, ServiceError};

pub(super) struct ClaimRuns {
    engine: Engine,
}

impl ClaimRuns {
    pub(super) fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

impl BackgroundService for ClaimRuns {
    fn name(&self) -> &'static str {
        "claim-runs"
    }

    fn run(&self, stop: CancellationToken) -> BoxFuture<'_, Result<(), ServiceError>> {
        self.engine.claim_runs(stop).map_err(ServiceError::from).boxed()
    }
}
