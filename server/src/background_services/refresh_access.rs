//! Periodically reads the keys and certificates of the listeners, which change while the process runs.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};
use transport::channel::ServedTls;
use transport::channel::files::Refreshed;

use super::{BackgroundService, Periodic};
use crate::access::Guard;

/// Issuers publish a key long before they sign with it, and certificates are replaced long before they run out.
const INTERVAL: Duration = Duration::from_secs(10);

/// The service that keeps keys and certificates equal to their files.
pub(super) fn refresh_access(
    guard: Guard,
    certificates: Vec<(&'static str, Arc<ServedTls>)>,
) -> impl BackgroundService {
    Periodic::new("refresh-access", INTERVAL, move || {
        let (guard, certificates) = (guard.clone(), certificates.clone());
        async move {
            let refresh = move || {
                let mut all = vec![("keys of JWTs", guard.refresh())];
                all.extend(certificates.iter().map(|(listener, tls)| (*listener, tls.refresh())));
                all
            };
            for (of, refreshed) in tokio::task::spawn_blocking(refresh).await? {
                match refreshed {
                    Refreshed::Same => {}
                    Refreshed::Changed => info!(of, "files have changed and are in force"),
                    Refreshed::Failed(error) => warn!(of, %error, "files cannot be used, those before stay in force"),
                }
            }
            Ok(())
        }
    })
}
