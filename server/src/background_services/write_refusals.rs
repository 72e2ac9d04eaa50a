//! Periodically writes refused calls to the audit trail.

use std::time::Duration;

use engine::engine::Engine;

use super::{BackgroundService, Periodic};
use crate::access::Guard;

/// What a process that is killed has not written is not known. So often costs a commit each, however many calls are refused.
const INTERVAL: Duration = Duration::from_secs(5);

/// The service that writes them.
pub(super) fn write_refusals(guard: Guard, engine: Engine) -> impl BackgroundService {
    Periodic::new("write-refusals", INTERVAL, move || {
        let (guard, engine) = (guard.clone(), engine.clone());
        async move {
            guard.write_refusals(&engine).await;
            Ok(())
        }
    })
}
