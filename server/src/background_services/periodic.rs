//! A background service that does one thing periodically.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{BackgroundService, ServiceError};

/// Calls a closure periodically. Each round is a new future, without state from the previous one.
///
/// The first round begins immediately. Rounds never overlap: after a slow one, the next begins a period later. A round
/// that fails ends the service, and the supervisor restarts it after a pause.
pub struct Periodic<F> {
    name: &'static str,
    every: Duration,
    round: F,
}

impl<F, R> Periodic<F>
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), ServiceError>> + Send + 'static,
{
    pub fn new(name: &'static str, every: Duration, round: F) -> Self {
        Self { name, every, round }
    }
}

impl<F, R> BackgroundService for Periodic<F>
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), ServiceError>> + Send + 'static,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn run(&self, stop: CancellationToken) -> BoxFuture<'_, Result<(), ServiceError>> {
        async move {
            let mut ticks = interval(self.every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while stop.run_until_cancelled(ticks.tick()).await.is_some() {
                (self.round)().await?;
            }
            Ok(())
        }
        .boxed()
    }
}
