//! Runs in memory: how one gets its place, and when its leaving is news to the loop that claims runs.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::Shared;
use crate::authoring::workflow::Definition;
use crate::driver::{self, Beginning, Driver, Exit, Handle, Ordered};
use crate::time::Timestamp;

/// What the loop that claims runs is about to do. Most runs that leave memory are over, or due long after its next look;
/// a claim for each of them would cost the store as much as one of their appends.
#[derive(Debug)]
pub(super) struct Looks {
    /// When it looks next, in microseconds since the Unix epoch; the end of time while it looks.
    next: AtomicI64,
    /// Whether runs may be due that there was no room for.
    wants_room: AtomicBool,
}

impl Default for Looks {
    fn default() -> Self {
        Self { next: AtomicI64::new(i64::MAX), wants_room: AtomicBool::new(false) }
    }
}

impl Looks {
    /// It looks now: what becomes due meanwhile, it may not see. Until it says otherwise runs wait for room.
    pub(super) fn begin(&self) {
        self.next.store(i64::MAX, Ordering::SeqCst);
        self.wants_room.store(true, Ordering::SeqCst);
    }

    /// It has all that is due, or all but what there was no room for.
    pub(super) fn found(&self, all: bool) {
        self.wants_room.store(!all, Ordering::SeqCst);
    }

    /// It looks no later than then.
    pub(super) fn until(&self, next: Timestamp) {
        self.next.store(next.as_micros(), Ordering::SeqCst);
    }

    /// There is a run that has no room in memory.
    pub(super) fn wants_room(&self) {
        self.wants_room.store(true, Ordering::SeqCst);
    }

    /// Whether it need not look because a run left memory.
    fn is_no_news(&self, exit: &Exit) -> bool {
        let sees_it = match exit {
            Exit::Ended(_) | Exit::Released(None) => true,
            Exit::Released(Some(due)) => due.as_micros() >= self.next.load(Ordering::SeqCst),
            Exit::Lost => false,
        };
        sees_it && !self.wants_room.load(Ordering::SeqCst)
    }
}

impl Shared {
    /// Every run in memory, in the order of their ids.
    pub(super) fn handles(&self) -> Vec<Arc<Handle>> {
        let mut handles: Vec<_> = self.lock().iter().map(|(run, handle)| (*run, Arc::clone(handle))).collect();
        handles.sort_unstable_by_key(|(run, _)| *run);
        handles.into_iter().map(|(_, handle)| handle).collect()
    }

    pub(super) fn handle(&self, run: Uuid) -> Option<Arc<Handle>> {
        self.lock().get(&run).map(Arc::clone)
    }

    pub(super) fn is_in_memory(&self, run: Uuid) -> bool {
        self.lock().contains_key(&run)
    }

    pub(super) fn room(&self) -> usize {
        (self.limits.runs_in_flight as usize).saturating_sub(self.lock().len())
    }

    /// A place in memory for a run; none where there is no room, or the run has one.
    pub(super) fn admit(&self, run: Uuid) -> Option<Arc<Handle>> {
        let mut runs = self.lock();
        if runs.len() >= self.limits.runs_in_flight as usize || runs.contains_key(&run) {
            return None;
        }
        Some(self.enter(&mut runs, run))
    }

    /// The same for a run that is claimed: there was room when it was asked for, and nobody else would drive it.
    pub(super) fn admit_claimed(&self, run: Uuid) -> Option<Arc<Handle>> {
        let mut runs = self.lock();
        if runs.contains_key(&run) {
            return None;
        }
        Some(self.enter(&mut runs, run))
    }

    fn enter(&self, runs: &mut HashMap<Uuid, Arc<Handle>>, run: Uuid) -> Arc<Handle> {
        let handle = Arc::new(Handle::default());
        let Unheard { told, orders } = self.claims_on_their_way.take(run);
        if told {
            handle.wish(driver::MESSAGE);
        }
        orders.into_iter().for_each(|order| handle.order(order));
        // A drain may have begun while the run was being started or claimed.
        if self.draining.load(Ordering::Acquire) {
            handle.wish(driver::DRAIN);
        }
        runs.insert(run, Arc::clone(&handle));
        self.away.remove(run);
        handle
    }

    pub(super) fn spawn(
        self: &Arc<Self>,
        run: Uuid,
        handle: Arc<Handle>,
        workflow: Arc<Definition>,
        beginning: Beginning,
    ) {
        let mut place =
            Place { shared: Arc::clone(self), run, handle: Arc::clone(&handle), no_news: false, sure: false };
        tokio::spawn(async move {
            let shared = Arc::clone(&place.shared);
            let exit = match Driver::of(Arc::clone(&shared), handle, workflow, beginning).await {
                Ok(driver) => driver.drive().await,
                Err(exit) => exit,
            };
            place.no_news = shared.looks.is_no_news(&exit);
            place.sure = !matches!(exit, Exit::Lost);
            drop(place);
            match exit {
                Exit::Ended(ended) => {
                    if let Some(origin) = &ended.row.origin {
                        shared.bell.ended(&origin.schedule);
                    }
                    shared.hub.ended(*ended);
                }
                Exit::Lost => shared.look_for_end(run).await,
                Exit::Released(_) => {}
            }
        });
    }

    /// Tells a run that there is something new for it. If it is not in memory, a claim finds it, or has found it and
    /// brings it: then the run hears of this as it comes.
    pub(crate) fn tell(&self, run: Uuid, wish: u16) {
        // Under the lock, so that the run does not leave or come between the look and the wish.
        let runs = self.lock();
        match runs.get(&run) {
            Some(handle) => handle.wish(wish),
            None => {
                self.claims_on_their_way.keep(run);
                drop(runs);
                self.due.notify_one();
            }
        }
    }

    /// Has a run that a replica holds do this. If it is not in memory, the claim that is on its way brings it; the run does it
    /// before anything else. If there is no such claim, the answer never comes.
    pub(super) fn order(&self, run: Uuid, order: Ordered) {
        let runs = self.lock();
        match runs.get(&run) {
            Some(handle) => handle.order(order),
            None => self.claims_on_their_way.keep_order(run, order),
        }
    }

    /// From here on until the answer is dropped, it is noted which runs are told something and are not in memory. The caller
    /// holds the lock of the runs in memory, and asks the store for its claim after this.
    pub(super) fn claim_begins(self: &Arc<Self>) -> OnItsWay {
        self.claims_on_their_way.lock().claims += 1;
        OnItsWay(Arc::clone(self))
    }
}

/// What runs were told while a claim was on its way: the row that it brings may be older than that (S8).
#[derive(Debug, Default)]
pub(super) struct ClaimsOnTheirWay(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    claims: usize,
    runs: HashMap<Uuid, Unheard>,
}

/// What one run was told.
#[derive(Debug, Default)]
struct Unheard {
    /// Whether there is something new in its row.
    told: bool,
    /// What it is to do as soon as it comes.
    orders: Vec<Ordered>,
}

impl ClaimsOnTheirWay {
    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, run: Uuid) {
        let mut noted = self.lock();
        // If no claim is on its way, the next one is made later, and its row says it.
        if noted.claims > 0 {
            noted.runs.entry(run).or_default().told = true;
        }
    }

    /// Keeps it until the run comes. If no claim brings the run, its answer never comes.
    fn keep_order(&self, run: Uuid, order: Ordered) {
        let mut noted = self.lock();
        if noted.claims > 0 {
            noted.runs.entry(run).or_default().orders.push(order);
        }
    }

    fn take(&self, run: Uuid) -> Unheard {
        self.lock().runs.remove(&run).unwrap_or_default()
    }
}

/// A claim whose runs are not all in memory yet.
pub(super) struct OnItsWay(Arc<Shared>);

impl Clone for OnItsWay {
    fn clone(&self) -> Self {
        self.0.claim_begins()
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        let mut noted = self.0.claims_on_their_way.lock();
        noted.claims -= 1;
        if noted.claims == 0 {
            noted.runs.clear();
        }
    }
}

/// A run's place in memory, given up when its task ends in whatever way.
struct Place {
    shared: Arc<Shared>,
    run: Uuid,
    handle: Arc<Handle>,
    no_news: bool,
    /// Whether the store knows that the run is not in memory any more; not after a failure, or a panic of ours.
    sure: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        {
            let mut runs = self.shared.lock();
            runs.remove(&self.run);
            // A claim may have found it already; what it has not looked at is in no row that this brings.
            if self.handle.was_told_from_outside() {
                self.shared.claims_on_their_way.keep(self.run);
            }
        }
        self.shared.trial.end(self.run);
        if !self.sure {
            self.shared.unsure.store(true, Ordering::Release);
        }
        self.shared.left.notify_waiters();
        if !self.no_news || !self.handle.wishes_nothing() {
            self.shared.due.notify_one();
        }
    }
}
