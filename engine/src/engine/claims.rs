//! The loop that claims what is due: recovery, wake-ups and backlog are the same thing.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Engine;
use crate::authoring::workflow::Definition;
use crate::driver::DriverStart;
use crate::mailbox;
use crate::run_table::OnItsWay;
use crate::store::{ClaimRuns, RunRow, StoreError};

/// Runs claimed at the same time.
const BATCH: u32 = 512;
/// The loop looks no sooner than this after a failure.
const AFTER_FAILURE: Duration = Duration::from_millis(250);

impl Engine {
    /// Claims and drives what is due, until told to stop. One of the engine's loops: a background service.
    ///
    /// # Errors
    /// Where the store fails for good; a failure that may pass is logged and tried again.
    pub async fn claim_runs(&self, stop: CancellationToken) -> Result<(), StoreError> {
        let mut losses = self.shared.store.losses();
        let mut failing = false;
        let mut looked_at = None;
        let engine = self.clone();
        tokio::spawn(async move { engine.tell_stranded().await });
        let _others = self.work_with_others();
        loop {
            self.loops.bump();
            // First, or a claim could find runs again that are still in memory under the claim that was lost.
            if losses.has_changed().unwrap_or(false) {
                losses.mark_unchanged();
                self.drop_all();
            }
            let pause = match self.claim_once(&mut looked_at).await {
                Ok(pause) => {
                    failing = false;
                    pause
                }
                Err(error @ (StoreError::Closed | StoreError::Unusable(_))) => return Err(error),
                Err(error) => {
                    // Told once, however long it lasts.
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "claim failed, it is tried again");
                    }
                    AFTER_FAILURE
                }
            };
            self.loops.claim_pacing.next_claim_at(self.shared.clock.now().after(pause));
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = self.shared.due.notified() => {}
                () = tokio::time::sleep(pause) => {}
                Ok(()) = changed(&mut losses) => {}
            }
        }
    }

    /// One claim; says how long there is nothing to do.
    ///
    /// Runs that a failure has left behind are looked for as well; `looked_at` says when that was done last, so that a
    /// store which fails again and again is not asked all the time.
    async fn claim_once(&self, looked_at: &mut Option<Instant>) -> Result<Duration, StoreError> {
        let longest = self.shared.limits.claim_interval;
        self.loops.claim_pacing.claim_started();
        let room = u32::try_from(self.room()).unwrap_or(u32::MAX).min(BATCH);
        if room == 0 || self.is_draining() {
            return Ok(longest);
        }
        if self.loops.unsure.load(Ordering::Acquire) {
            if let Some(at) = *looked_at {
                tokio::time::sleep_until(at + AFTER_FAILURE).await;
            }
            *looked_at = Some(Instant::now());
        }
        let now = self.shared.clock.now();
        let workflows = self.known();
        let (claiming, on_its_way) = {
            // Writes keep the order of their calls: a run that comes into memory later is created later.
            let runs = self.shared.runs.lock();
            let unsure = self.loops.unsure.swap(false, Ordering::AcqRel);
            let held = unsure.then(|| runs.keys().copied().collect());
            let on_its_way = self.shared.runs.claim_begins();
            (self.shared.store.claim(ClaimRuns { workflows, now, limit: room, held }), on_its_way)
        };
        let claimed = match claiming.await {
            Ok(claimed) => claimed,
            Err(error) => {
                // It may have claimed runs that no one was told of.
                self.loops.unsure.store(true, Ordering::Release);
                return Err(error);
            }
        };
        for row in claimed.runs {
            let Some(workflow) = self.shared.workflows.get(&row.workflow) else { continue };
            let id = row.id;
            match self.admit_claimed(id) {
                Some(place) => self.spawn(place, Arc::clone(workflow), DriverStart::claimed(row)),
                None => self.replace(row, Arc::clone(workflow), on_its_way.clone()),
            }
        }
        drop(on_its_way);
        let now = self.shared.clock.now();
        self.loops.claim_pacing.claimed(claimed.next_due.is_none_or(|due| due > now));
        Ok(claimed.next_due.map_or(longest, |due| due.since(now)).min(longest))
    }

    /// A run that was claimed again is still in memory under an outdated claim: that one goes first.
    fn replace(&self, row: RunRow, workflow: Arc<Definition>, on_its_way: OnItsWay) {
        let (engine, id) = (self.clone(), row.id);
        tokio::spawn(async move {
            loop {
                let left = engine.loops.left.notified();
                tokio::pin!(left);
                left.as_mut().enable();
                match engine.shared.runs.mailbox(id) {
                    Some(outdated) => outdated.send(mailbox::LOST),
                    None => break,
                }
                left.await;
            }
            if let Some(place) = engine.admit_claimed(id) {
                engine.spawn(place, workflow, DriverStart::claimed(row));
            }
            drop(on_its_way);
        });
    }

    /// Every claim is lost: nothing in memory may write any more.
    fn drop_all(&self) {
        let mailboxes = self.shared.runs.mailboxes();
        tracing::error!(runs = mailboxes.len(), "claims lost, runs dropped from memory");
        for mailbox in mailboxes {
            mailbox.send(mailbox::LOST);
        }
    }
}

/// Waits for a change without taking note of it.
async fn changed(losses: &mut watch::Receiver<u64>) -> Result<(), watch::error::RecvError> {
    losses.changed().await?;
    losses.mark_changed();
    Ok(())
}
