//! Several replicas over one store in memory: each hears what the others change, and asks for what they hold.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

use crate::store::sqlite::Sqlite;
use crate::store::{
    Answer, ChangedRun, ListSchedules, PlaceWish, Recall, RunProgress, ScheduleNews, Share, SharedStore, Store, share,
};
use crate::time::Timestamp;

/// No claim takes a run for this long after it was asked for.
const RECALLED: Duration = Duration::from_secs(5);

/// What the replicas of one world share beside their store.
#[derive(Debug)]
pub(super) struct Replicas {
    inner: Mutex<Inner>,
    changed: Notify,
    began: Instant,
}

impl Default for Replicas {
    fn default() -> Self {
        Self { inner: Mutex::default(), changed: Notify::default(), began: Instant::now() }
    }
}

#[derive(Debug, Default)]
struct Inner {
    /// For each replica: the runs that others changed, and it has not heard of.
    changed: Vec<HashSet<Uuid>>,
    recalled: HashMap<Uuid, (Recall, Instant)>,
    accused: HashSet<Uuid>,
    /// What each replica has of each limit.
    places: HashMap<String, HashMap<usize, Share>>,
}

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Replica {
    pub(super) of: Arc<Replicas>,
    pub(super) number: usize,
}

impl Replicas {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn join(self: &Arc<Self>) -> Replica {
        let mut inner = self.lock();
        inner.changed.push(HashSet::new());
        Replica { of: Arc::clone(self), number: inner.changed.len() - 1 }
    }
}

impl Replica {
    /// This replica changed these runs.
    pub(super) fn changes(&self, runs: &[Uuid]) {
        let mut inner = self.of.lock();
        for (_, changed) in inner.changed.iter_mut().enumerate().filter(|(number, _)| *number != self.number) {
            changed.extend(runs);
        }
        drop(inner);
        self.of.changed.notify_waiters();
    }

    /// This replica wrote a command to a run that no replica held.
    pub(super) fn has_commanded(&self, run: Uuid) {
        self.of.lock().recalled.remove(&run);
    }

    /// Those of these runs that a replica was said to have died of. Each is said once.
    pub(super) fn accused(&self, runs: impl Iterator<Item = Uuid>) -> Vec<Uuid> {
        let mut inner = self.of.lock();
        runs.filter(|run| inner.accused.remove(run)).collect()
    }

    /// Whether claims stay away from runs for a while.
    pub(super) fn keeps_claims_away(&self) -> bool {
        let mut inner = self.of.lock();
        inner.recalled.retain(|_, (_, until)| *until > Instant::now());
        !inner.recalled.is_empty()
    }
}

/// The store as one of several replicas reaches it.
pub(super) struct OfOthers {
    pub(super) store: Arc<Sqlite>,
    pub(super) replica: Replica,
}

impl SharedStore for OfOthers {
    fn changed_by_others(&self) -> Answer<Vec<ChangedRun>> {
        let (store, Replica { of, number }) = (Arc::clone(&self.store), self.replica.clone());
        Box::pin(async move {
            loop {
                let changed = of.changed.notified();
                let runs = std::mem::take(&mut of.lock().changed[number]);
                if runs.is_empty() {
                    changed.await;
                    continue;
                }
                let mut found = Vec::new();
                for run in runs {
                    if let Some(row) = store.run(run).await?.filter(|row| row.owned) {
                        let recall = of.lock().recalled.get(&run).map(|(recall, _)| *recall);
                        found.push(ChangedRun { row, recall });
                    }
                }
                return Ok(found);
            }
        })
    }

    fn recall(&self, run: Uuid, recall: Recall) -> Answer<()> {
        self.replica.of.lock().recalled.insert(run, (recall, Instant::now() + RECALLED));
        self.replica.changes(&[run]);
        Box::pin(std::future::ready(Ok(())))
    }

    fn accuse(&self, runs: Vec<Uuid>) -> Answer<()> {
        self.replica.of.lock().accused.extend(runs);
        Box::pin(std::future::ready(Ok(())))
    }

    fn places(&self, wishes: Vec<PlaceWish>) -> Answer<Vec<u32>> {
        let Replica { of, number } = self.replica.clone();
        let now = Timestamp::from_micros(i64::try_from(of.began.elapsed().as_micros()).unwrap_or(i64::MAX));
        let mut inner = of.lock();
        let held = wishes.into_iter().map(|PlaceWish { limit, total, used, wanted }| {
            let shares = inner.places.entry(limit).or_default();
            let before = shares.remove(&number).unwrap_or_default();
            let others: Vec<Share> = shares.values().copied().collect();
            let held = share(total, now, Share { wanted, ..before }, used, &others);
            let since = if held == before.held { before.since } else { now };
            shares.insert(number, Share { held, wanted, since });
            held
        });
        Box::pin(std::future::ready(Ok(held.collect())))
    }

    fn schedule_news(&self) -> Answer<ScheduleNews> {
        let schedules = self.store.schedules(ListSchedules { limit: u32::MAX, ..ListSchedules::default() });
        Box::pin(async move {
            let rows = schedules.await?.into_iter();
            let schedules = rows.map(|row| (row.schedule.name, row.uid, row.generation)).collect();
            Ok(ScheduleNews { schedules, declare: false })
        })
    }

    fn progress(&self, runs: Vec<Uuid>) -> Answer<Vec<RunProgress>> {
        let store = Arc::clone(&self.store);
        Box::pin(async move {
            let mut progress = Vec::new();
            for run in runs {
                if let Some(row) = store.run(run).await? {
                    progress.push(RunProgress { run, sequence: row.sequence, ended: row.status.state.is_end() });
                }
            }
            Ok(progress)
        })
    }
}
