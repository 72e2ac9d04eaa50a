//! Periodically reads the files with certificates and tokens, which change while the process runs.

use std::sync::Arc;
use std::time::Duration;

use transport::Services;

use super::{BackgroundService, Periodic};

/// Kubernetes updates a mounted Secret or token within about a minute, and it is valid for much longer than this.
const INTERVAL: Duration = Duration::from_secs(10);

/// The service that keeps credentials equal to their files.
pub(super) fn refresh_identities(services: Arc<Services>) -> impl BackgroundService {
    Periodic::new("refresh-identities", INTERVAL, move || {
        let services = Arc::clone(&services);
        async move {
            services.refresh_identities().await;
            Ok(())
        }
    })
}
