//! Starts the runs of schedules when their time comes.

use engine::engine::Engine;
use engine::store::Schedule;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryFutureExt};
use tokio_util::sync::CancellationToken;

use super::{BackgroundService, ServiceError};

pub(super) struct RunSchedules {
    engine: Engine,
    schedules: Vec<Schedule>,
}

impl RunSchedules {
    pub(super) fn new(engine: Engine, schedules: Vec<Schedule>) -> Self {
        Self { engine, schedules }
    }
}

impl BackgroundService for RunSchedules {
    fn name(&self) -> &'static str {
        "run-schedules"
    }

    fn run(&self, stop: CancellationToken) -> BoxFuture<'_, Result<(), ServiceError>> {
        self.engine.run_schedules(self.schedules.clone(), stop).map_err(ServiceError::from).boxed()
    }
}
