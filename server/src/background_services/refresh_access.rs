//! Periodically reads the keys that prove who calls the admin API, which change while the process runs.

use std::time::Duration;

use tracing::{info, warn};
use transport::channel::files::Refreshed;

use super::{BackgroundService, Periodic};
use crate::access::Guard;

/// Issuers publish a key long before they sign with it.
const INTERVAL: Duration = Duration::from_secs(10);

/// The service that keeps keys equal to their files.
pub(super) fn refresh_access(guard: Guard) -> impl BackgroundService {
    Periodic::new("refresh-access", INTERVAL, move || {
        let guard = guard.clone();
        async move {
            match tokio::task::spawn_blocking(move || guard.refresh()).await? {
                Refreshed::Same => {}
                Refreshed::Changed => info!("the keys of the admin API have changed and are in force"),
                Refreshed::Failed(error) => {
                    warn!(%error, "the keys of the admin API cannot be used, those before stay in force");
                }
            }
            Ok(())
        }
    })
}
