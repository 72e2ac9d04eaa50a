//! Reads the keys that an issuer of JWTs publishes.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::{BackgroundService, ServiceError};
use crate::access::Guard;

pub(super) struct FollowKeys {
    guard: Guard,
}

impl FollowKeys {
    pub(super) fn new(guard: Guard) -> Self {
        Self { guard }
    }
}

impl BackgroundService for FollowKeys {
    fn name(&self) -> &'static str {
        "follow-keys"
    }

    fn run(&self, stop: CancellationToken) -> BoxFuture<'_, Result<(), ServiceError>> {
        async move {
            stop.run_until_cancelled(self.guard.follow_keys()).await;
            Ok(())
        }
        .boxed()
    }
}
