//! What a replica does because other replicas write to the same store: it hears what they ask of runs that it holds, asks
//! for runs that they hold, and follows those that are watched here.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Engine, EngineError};
use crate::mailbox::{CANCEL, DRAIN, GIVE_UP, MESSAGE, PAUSE, STOP_CLOCK};
use crate::run_command::RunCommand;
use crate::store::{ChangedRun, Recall, SharedStore, StoreError};

/// Runs that are watched here and held elsewhere are looked at this often.
const FOLLOWED: Duration = Duration::from_millis(200);
/// Between attempts after a failure of the store.
const AFTER_FAILURE: Duration = Duration::from_millis(250);
/// A run is asked for again after this.
const RECALLED: Duration = Duration::from_secs(1);

/// When a command last asked for a run.
#[derive(Debug, Default)]
pub(super) struct Recalled(Option<Instant>);

impl Engine {
    /// Begins the loops that other replicas make necessary, if there can be any. They end with the answer.
    pub(super) fn work_with_others(&self) -> Option<tokio_util::sync::DropGuard> {
        let shared = self.shared.store.shared()?;
        let stop = CancellationToken::new();
        let (engine, store, stopped) = (self.clone(), Arc::clone(&shared), stop.clone());
        tokio::spawn(async move { stopped.run_until_cancelled(engine.hear(&*store)).await });
        let (engine, stopped) = (self.clone(), stop.clone());
        tokio::spawn(async move { stopped.run_until_cancelled(engine.follow(&*shared)).await });
        Some(stop.drop_guard())
    }

    /// Tells the other replicas which runs the process before this one died of: one of them may claim these. What cannot be told
    /// is known here.
    pub(super) async fn accuse(&self) {
        let Some(store) = self.shared.store.shared() else { return };
        let suspects: Vec<Uuid> = self.shared.suspects.lock().unwrap_or_else(PoisonError::into_inner).drain().collect();
        if suspects.is_empty() {
            return;
        }
        if let Err(error) = store.accuse(suspects.clone()).await {
            tracing::warn!(%error, "other replicas were not told which runs this one died of");
            self.shared.suspects.lock().unwrap_or_else(PoisonError::into_inner).extend(suspects);
        }
    }

    /// Tells runs in memory what others did to them.
    async fn hear(&self, store: &dyn SharedStore) {
        loop {
            match store.changed_by_others().await {
                Ok(changed) => {
                    if changed.is_empty() {
                        self.shared.due.notify_one();
                    }
                    changed.iter().for_each(|changed| self.hear_of(changed));
                }
                Err(StoreError::Closed | StoreError::Unusable(_)) => return,
                Err(error) => {
                    tracing::debug!(%error, "changes by other replicas not read");
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            }
        }
    }

    fn hear_of(&self, changed: &ChangedRun) {
        let ChangedRun { row, recall } = changed;
        let mut mail = if row.messages > 0 { MESSAGE } else { 0 };
        if row.cancel_requested.is_some() {
            mail |= CANCEL;
        }
        if let Some(paused) = &row.paused {
            mail |= PAUSE | if paused.stops_clock { STOP_CLOCK } else { 0 };
        }
        mail |= match recall {
            Some(Recall::Settled) => DRAIN,
            Some(Recall::Now) => DRAIN | GIVE_UP,
            None => 0,
        };
        if mail != 0 {
            self.shared.tell(row.id, mail);
        }
    }

    /// Asks the replica that holds a run to give it back, so that a command can be written to it. False if this store has
    /// one replica only.
    pub(super) async fn recall(
        &self,
        run: Uuid,
        command: &RunCommand,
        recalled: &mut Recalled,
    ) -> Result<bool, EngineError> {
        let Some(store) = self.shared.store.shared() else { return Ok(false) };
        if self.shared.runs.contains(run) || recalled.0.is_some_and(|at| at.elapsed() < RECALLED) {
            return Ok(true);
        }
        recalled.0 = Some(Instant::now());
        let recall = if matches!(command, RunCommand::Terminate) { Recall::Now } else { Recall::Settled };
        store.recall(run, recall).await?;
        Ok(true)
    }

    /// Tells those who watch a run here, or wait for its end, what it does elsewhere.
    async fn follow(&self, store: &dyn SharedStore) {
        let mut known: HashMap<Uuid, u64> = HashMap::new();
        loop {
            let added = self.shared.watchers.added();
            let elsewhere: Vec<Uuid> =
                self.shared.watchers.runs().into_iter().filter(|run| !self.shared.runs.contains(*run)).collect();
            known.retain(|run, _| elsewhere.contains(run));
            if elsewhere.is_empty() {
                // A run that is watched may leave this replica; that is not news here.
                let _later = tokio::time::timeout(FOLLOWED * 5, added).await;
                continue;
            }
            match store.progress(elsewhere).await {
                Ok(runs) => {
                    for progress in runs {
                        let before = known.insert(progress.run, progress.sequence);
                        if progress.ended {
                            self.look_for_end(progress.run).await;
                        } else if before.is_some_and(|before| before < progress.sequence) {
                            self.shared.watchers.changed(progress.run, progress.sequence);
                        }
                    }
                }
                Err(StoreError::Closed | StoreError::Unusable(_)) => return,
                Err(error) => tracing::debug!(%error, "runs that others hold not read"),
            }
            tokio::time::sleep(FOLLOWED).await;
        }
    }
}
