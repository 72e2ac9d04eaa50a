//! Periodically checks the store and the engine, and reports the result to the health service.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use engine::engine::Engine;
use engine::store::{ListSchedules, StoreReader};
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::{BackgroundService, Periodic};
use crate::health::Reporter;

/// How long the store may take to answer.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the engine's loops may make no progress before the process counts as stuck.
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// The service that updates `readiness` and `liveness`.
pub(super) fn report_health(engine: Engine, reporter: Arc<Reporter>, every: Duration) -> impl BackgroundService {
    let progress = Arc::new(Mutex::new(Progress { count: engine.progress(), changed: Instant::now() }));
    let failing = Arc::new(AtomicBool::new(false));
    Periodic::new("report-health", every, move || {
        let (engine, reporter, progress) = (engine.clone(), reporter.clone(), progress.clone());
        let failing = failing.clone();
        async move {
            let trouble = trouble_with(&engine.store()).await;
            let reachable = trouble.is_none();
            match trouble {
                // Told once, however long it lasts.
                Some(trouble) if !failing.swap(true, Ordering::Relaxed) => {
                    warn!(error = trouble, "store is not reachable")
                }
                None if failing.swap(false, Ordering::Relaxed) => info!("store is reachable again"),
                _ => {}
            }
            reporter.set_store_reachable(reachable);
            let standstill = progress.lock().unwrap_or_else(PoisonError::into_inner).standstill(engine.progress());
            reporter.set_live(standstill < STUCK_AFTER);
            Ok(())
        }
    })
}

/// Why the store cannot be used at the moment. It must answer and accept writes: a full disk can still be read.
async fn trouble_with(store: &StoreReader) -> Option<String> {
    match timeout(STORE_TIMEOUT, store.schedules(ListSchedules { limit: 1, ..ListSchedules::default() })).await {
        Ok(Ok(_)) if store.ownership().is_held() => None,
        Ok(Ok(_)) => Some("it cannot be written to".to_owned()),
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("it has not answered within {STORE_TIMEOUT:?}")),
    }
}

/// The last count of loop turns that differed from the previous one, and when it was observed.
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
