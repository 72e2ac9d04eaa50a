//! Runs in memory: how one gets its place, and when its leaving is news to the loop that claims runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use uuid::Uuid;

use super::Engine;
use crate::authoring::workflow::Definition;
use crate::claim::Claim;
use crate::driver::{Driver, DriverStart, Exit, Residence};
use crate::mailbox::{DRAIN, Mailbox};
use crate::time::Timestamp;

/// What the loop that claims runs is about to do. Most runs that leave memory are over, or due long after its next look;
/// a claim for each of them would cost the store as much as one of their appends.
#[derive(Debug)]
pub(super) struct ClaimPacing {
    /// When it looks next, in microseconds since the Unix epoch; the end of time while it looks.
    next: AtomicI64,
    /// Whether runs may be due that there was no room for.
    wants_room: AtomicBool,
}

impl Default for ClaimPacing {
    fn default() -> Self {
        Self { next: AtomicI64::new(i64::MAX), wants_room: AtomicBool::new(false) }
    }
}

impl ClaimPacing {
    /// It looks now: what becomes due meanwhile, it may not see. Until it says otherwise runs wait for room.
    pub(super) fn claim_started(&self) {
        self.next.store(i64::MAX, Ordering::SeqCst);
        self.wants_room.store(true, Ordering::SeqCst);
    }

    /// It has all that is due, or all but what there was no room for.
    pub(super) fn claimed(&self, all: bool) {
        self.wants_room.store(!all, Ordering::SeqCst);
    }

    /// It looks no later than then.
    pub(super) fn next_claim_at(&self, next: Timestamp) {
        self.next.store(next.as_micros(), Ordering::SeqCst);
    }

    /// There is a run that has no room in memory.
    pub(super) fn request_room(&self) {
        self.wants_room.store(true, Ordering::SeqCst);
    }

    /// Whether it need not look because a run left memory.
    fn can_skip_wakeup(&self, exit: &Exit) -> bool {
        let sees_it = match exit {
            Exit::Ended(_) | Exit::Released(None) => true,
            Exit::Released(Some(due)) => due.as_micros() >= self.next.load(Ordering::SeqCst),
            Exit::Lost => false,
        };
        sees_it && !self.wants_room.load(Ordering::SeqCst)
    }
}

impl Engine {
    pub(super) fn room(&self) -> usize {
        (self.shared.limits.runs_in_flight as usize).saturating_sub(self.shared.runs.len())
    }

    /// A place in memory for a run; none where there is no room, or the run has one.
    pub(super) fn admit(&self, run: Uuid) -> Option<Place> {
        self.enter(run, self.shared.limits.runs_in_flight as usize, None)
    }

    /// The same for a run that is claimed: there was room when it was asked for, and no one else would drive it. The claim is
    /// one that was this replica's before it asked.
    pub(super) fn admit_claimed(&self, run: Uuid, claim: Arc<dyn Claim>) -> Option<Place> {
        self.enter(run, usize::MAX, Some(claim))
    }

    fn enter(&self, run: Uuid, most: usize, claim: Option<Arc<dyn Claim>>) -> Option<Place> {
        let mailbox = self.shared.runs.add(run, most)?;
        // After that: if the claim is lost from here on, the run is found among those that are dropped.
        let claim = claim.unwrap_or_else(|| self.shared.store.ownership());
        // A drain may have begun while the run was being started or claimed. One that begins later finds the run.
        if self.is_draining() {
            mailbox.send(DRAIN);
        }
        self.shared.outage_waiters.remove(run);
        Some(Place { engine: self.clone(), run, mailbox, claim, no_news: false, sure: false })
    }

    pub(super) fn spawn(&self, mut place: Place, workflow: Arc<Definition>, beginning: DriverStart) {
        let residence = Residence { mailbox: Arc::clone(&place.mailbox), claim: Arc::clone(&place.claim) };
        tokio::spawn(async move {
            let (engine, run) = (place.engine.clone(), place.run);
            let exit = match Driver::of(Arc::clone(&engine.shared), residence, workflow, beginning).await {
                Ok(driver) => driver.drive().await,
                Err(exit) => exit,
            };
            place.no_news = engine.loops.claim_pacing.can_skip_wakeup(&exit);
            place.sure = !matches!(exit, Exit::Lost);
            drop(place);
            match exit {
                Exit::Ended(ended) => {
                    if let Some(origin) = &ended.row.origin {
                        engine.loops.bell.ended(&origin.schedule);
                    }
                    engine.shared.watchers.ended(*ended);
                }
                Exit::Lost => engine.look_for_end(run).await,
                Exit::Released(_) => {}
            }
        });
    }
}

/// A run's place in memory, given up when its task ends in whatever way.
pub(super) struct Place {
    engine: Engine,
    run: Uuid,
    mailbox: Arc<Mailbox>,
    claim: Arc<dyn Claim>,
    no_news: bool,
    /// Whether the store knows that the run is not in memory any more; not after a failure, or a panic of ours.
    sure: bool,
}

impl Place {
    /// The store does not have the run, or another claim will bring it.
    pub(super) fn leave_unused(mut self) {
        self.sure = true;
        self.no_news = !self.engine.loops.claim_pacing.wants_room.load(Ordering::SeqCst);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Engine { shared, loops } = &self.engine;
        shared.runs.remove(self.run, &self.mailbox, self.sure);
        shared.quarantine.end(self.run);
        if !self.sure {
            loops.unsure.store(true, Ordering::Release);
        }
        loops.left.notify_waiters();
        if !self.no_news || !self.mailbox.is_empty() {
            shared.due.notify_one();
        }
    }
}
