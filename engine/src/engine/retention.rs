//! The loop that removes what is older than it is kept for, in small bites, so that runs hardly notice.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Engine;
use crate::retention::{Kept, Retention};
use crate::store::{Purge, RunRow, StoreError};
use crate::time::Timestamp;

/// Between two looks at the store.
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// After a failure that may pass.
const AFTER_FAILURE: Duration = Duration::from_secs(10);
/// Runs that one write looks at,
const RUNS: u32 = 200;
/// and facts after which it removes no more of them.
const FACTS: u64 = 2_000;
/// The store rests after a write for so many times what it took, and so a busy one for longer,
const RESTS: u32 = 9;
/// but at least and at most for so long.
const LEAST_REST: Duration = Duration::from_millis(20);
const LONGEST_REST: Duration = Duration::from_secs(1);

/// What one look removed.
#[derive(Default)]
struct Removed {
    runs: u64,
    audit_entries: u64,
}

impl Retention {
    /// When the run may be removed; `None` if it continues, is pinned, or is kept for ever.
    pub fn expiry(&self, row: &RunRow) -> Option<Timestamp> {
        let ended_at = row.ended_at.filter(|_| !row.pinned)?;
        Some(ended_at.after(self.of(&row.workflow, row.status.state)?))
    }
}

impl Engine {
    /// How long what is over is kept.
    pub fn retention(&self) -> &Retention {
        &self.loops.retention
    }

    /// Removes runs and audit entries that are older than they are kept for, until told to stop. One of the engine's
    /// loops: a background service.
    ///
    /// # Errors
    /// If the store fails for good; a failure that may pass is logged and tried again.
    pub async fn purge_runs(&self, stop: CancellationToken) -> Result<(), StoreError> {
        loop {
            let mut removed = Removed::default();
            let pause = match self.purge_once(&stop, &mut removed).await {
                Ok(()) => LOOK_EVERY,
                Err(error @ (StoreError::Closed | StoreError::Unusable(_))) => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "purge failed");
                    AFTER_FAILURE
                }
            };
            let Removed { runs, audit_entries } = removed;
            if runs + audit_entries > 0 {
                tracing::info!(runs, audit_entries, "removed what is no longer kept");
            }
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return Ok(());
            }
        }
    }

    /// Removes all that is old enough now.
    async fn purge_once(&self, stop: &CancellationToken, removed: &mut Removed) -> Result<(), StoreError> {
        let retention = self.retention();
        for workflow in self.shared.store.workflows().await? {
            for state in Kept::ENDS {
                let Some(kept) = retention.of(&workflow, state) else { continue };
                let ended_before = self.shared.clock.now().before(kept);
                let mut after = None;
                loop {
                    if self.is_draining() {
                        return Ok(());
                    }
                    let began = Instant::now();
                    let workflow = workflow.clone();
                    let purge = Purge { workflow, state, ended_before, after, runs: RUNS, facts: FACTS };
                    let purged = self.shared.store.purge(purge).await?;
                    removed.runs += u64::from(purged.runs);
                    if !rest(began, stop).await {
                        return Ok(());
                    }
                    after = purged.next;
                    if after.is_none() {
                        break;
                    }
                }
            }
        }
        self.purge_audit(stop, removed).await
    }

    async fn purge_audit(&self, stop: &CancellationToken, removed: &mut Removed) -> Result<(), StoreError> {
        let Some(kept) = self.retention().audit else { return Ok(()) };
        let before = self.shared.clock.now().before(kept);
        while !self.is_draining() {
            let began = Instant::now();
            let dropped = self.shared.store.purge_audit(before).await?;
            removed.audit_entries += u64::from(dropped);
            if dropped == 0 || !rest(began, stop).await {
                break;
            }
        }
        Ok(())
    }
}

/// Leaves the store to others after a write; says whether to continue then.
async fn rest(began: Instant, stop: &CancellationToken) -> bool {
    let rest = began.elapsed().saturating_mul(RESTS).clamp(LEAST_REST, LONGEST_REST);
    stop.run_until_cancelled(tokio::time::sleep(rest)).await.is_some()
}
