//! Looks on a period at the files with certificates and tokens, which change while we run.

use std::sync::Arc;
use std::time::Duration;

use transport::Services;

use super::{BackgroundService, Periodic};

/// A mounted Secret or token is new within a minute or so after it was changed, and good for much longer than this.
const INTERVAL: Duration = Duration::from_secs(10);

/// The service that keeps identities as the files have them.
pub(super) fn refresh_identities(services: Arc<Services>) -> impl BackgroundService {
    Periodic::new("refresh-identities", INTERVAL, move || {
        let services = Arc::clone(&services);
        async move {
            services.refresh_identities().await;
            Ok(())
        }
    })
}
