//! The loop that claims what is due: recovery, wake-ups and backlog are the same thing.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Engine;
use crate::authoring::workflow::Definition;
use crate::claim::Claim;
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
    /// If the store fails for good; a failure that may pass is logged and tried again.
    pub async fn claim_runs(&self, stop: CancellationToken) -> Result<(), StoreError> {
        let mut losses = self.shared.store.losses();
        let mut failing = false;
        let mut looks = Looks::default();
        let engine = self.clone();
        tokio::spawn(async move { engine.tell_stranded().await });
        let _others = self.work_with_others();
        self.accuse().await;
        loop {
            self.loops.bump();
            // First, or a claim could find runs again that are still in memory under the claim that was lost.
            if losses.has_changed().unwrap_or(false) {
                losses.mark_unchanged();
                self.drop_all();
            }
            let pause = match self.claim_once(&mut looks).await {
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
    /// Runs that a failure has left behind are looked for as well.
    async fn claim_once(&self, looks: &mut Looks) -> Result<Duration, StoreError> {
        let longest = self.shared.limits.claim_interval;
        self.loops.claim_pacing.claim_started();
        let room = u32::try_from(self.room()).unwrap_or(u32::MAX).min(BATCH);
        if room == 0 || self.is_draining() {
            return Ok(longest);
        }
        let failed = self.loops.unsure.load(Ordering::Acquire);
        if failed || looks.is_due() {
            looks.begin(failed.then(|| self.shared.store.settles_within())).await;
            self.loops.unsure.store(true, Ordering::Release);
        }
        let now = self.shared.clock.now();
        let workflows = self.known();
        // Before the runs are claimed: a claim that comes later says nothing of them.
        let claim = self.shared.store.ownership();
        let (claiming, on_its_way) = {
            // What is called after a claim that says what is held is done after it: a run that comes into memory later is
            // created later.
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
        if !claimed.suspects.is_empty() {
            self.shared.suspects.lock().unwrap_or_else(PoisonError::into_inner).extend(claimed.suspects);
        }
        for row in claimed.runs {
            let Some(workflow) = self.shared.workflows.get(&row.workflow) else { continue };
            let id = row.id;
            match self.admit_claimed(id, Arc::clone(&claim)) {
                Some(place) => self.spawn(place, Arc::clone(workflow), DriverStart::claimed(row)),
                None => self.replace(row, Arc::clone(workflow), Arc::clone(&claim), on_its_way.clone()),
            }
        }
        drop(on_its_way);
        let now = self.shared.clock.now();
        self.loops.claim_pacing.claimed(claimed.next_due.is_none_or(|due| due > now));
        Ok(claimed.next_due.map_or(longest, |due| due.since(now)).min(longest).min(looks.next_in()))
    }

    /// A run that was claimed again is still in memory under an outdated claim: that one goes first.
    fn replace(&self, row: RunRow, workflow: Arc<Definition>, claim: Arc<dyn Claim>, on_its_way: OnItsWay) {
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
            if let Some(place) = engine.admit_claimed(id, claim) {
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

/// When runs were and will be looked for that a failure has left behind.
#[derive(Default)]
struct Looks {
    last: Option<Instant>,
    /// A write whose answer was lost may be done only after a look: then there is another one.
    next: Option<Instant>,
}

impl Looks {
    fn is_due(&self) -> bool {
        self.next.is_some_and(|next| next <= Instant::now())
    }

    fn next_in(&self) -> Duration {
        self.next.map_or(Duration::MAX, |next| next.duration_since(Instant::now()))
    }

    /// Begins a look, not too soon after the last one: a store that fails again and again is not asked all the time. If
    /// something failed since then, another look follows once that has settled.
    async fn begin(&mut self, settles_within: Option<Duration>) {
        if let Some(last) = self.last {
            tokio::time::sleep_until(last + AFTER_FAILURE).await;
        }
        let now = Instant::now();
        self.last = Some(now);
        self.next = settles_within.filter(|span| !span.is_zero()).map(|span| now + span);
    }
}

/// Waits for a change without taking note of it.
async fn changed(losses: &mut watch::Receiver<u64>) -> Result<(), watch::error::RecvError> {
    losses.changed().await?;
    losses.mark_changed();
    Ok(())
}
