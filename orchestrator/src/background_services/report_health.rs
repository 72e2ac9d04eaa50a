//! Looks at the store and the engine on a period and reports what probes shall see.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use engine::engine::Engine;
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::{BackgroundService, Periodic};
use crate::health::Reporter;

/// How long the store may take to answer.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the engine's loops may stand still before the process counts as stuck.
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// The service that keeps `readiness` and `liveness` true.
pub(super) fn report_health(engine: Engine, reporter: Arc<Reporter>, every: Duration) -> impl BackgroundService {
    let progress = Arc::new(Mutex::new(Progress { count: engine.progress(), changed: Instant::now() }));
    Periodic::new("report-health", every, move || {
        let (engine, reporter, progress) = (engine.clone(), reporter.clone(), progress.clone());
        async move {
            let answered = timeout(STORE_TIMEOUT, engine.store().schedules()).await;
            let reachable = match answered {
                Ok(Ok(_)) => true,
                Ok(Err(error)) => {
                    warn!(%error, "store is not reachable");
                    false
                }
                Err(_) => {
                    warn!(timeout = ?STORE_TIMEOUT, "store does not answer");
                    false
                }
            };
            reporter.set_store_reachable(reachable);
            let standstill = progress.lock().unwrap_or_else(PoisonError::into_inner).standstill(engine.progress());
            reporter.set_live(standstill < STUCK_AFTER);
            Ok(())
        }
    })
}

/// The last count of loop turns that differed from the one before, and when it was seen.
struct Progress {
    count: u64,
    changed: Instant,
}

impl Progress {
    fn standstill(&mut self, count: u64) -> Duration {
        if count != self.count {
            *self = Self { count, changed: Instant::now() };
        }
        self.changed.elapsed()
    }
}
