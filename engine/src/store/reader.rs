//! The side of a store for callers outside of the engine: it reads. Only the engine writes.

use std::sync::Arc;

use uuid::Uuid;

use super::{
    Answer, AuditEntry, BackfillRow, Filter, JournalEntry, ListAudit, ListRuns, ListSchedules, ListTicks, Message,
    RunCount, RunField, RunRow, ScheduleRow, Store, TickRow, Unclaimable,
};
use crate::claim::Claim;

/// Reads a store. Each method is that of [`Store`].
#[derive(Clone)]
pub struct StoreReader(Arc<dyn Store>);

impl StoreReader {
    pub(crate) fn of(store: &Arc<dyn Store>) -> Self {
        Self(Arc::clone(store))
    }

    /// See [`Store::run`].
    pub fn run(&self, id: Uuid) -> Answer<Option<RunRow>> {
        self.0.run(id)
    }

    /// See [`Store::journal`].
    pub fn journal(&self, id: Uuid, after_sequence: u64, limit: u32) -> Answer<Vec<JournalEntry>> {
        self.0.journal(id, after_sequence, limit)
    }

    /// See [`Store::inbox`].
    pub fn inbox(&self, run: Uuid, after: u64) -> Answer<Vec<Message>> {
        self.0.inbox(run, after)
    }

    /// See [`Store::list`].
    pub fn list(&self, filter: ListRuns) -> Answer<Vec<RunRow>> {
        self.0.list(filter)
    }

    /// See [`Store::count`].
    pub fn count(&self, filter: Filter<RunField>) -> Answer<Vec<RunCount>> {
        self.0.count(filter)
    }

    /// See [`Store::workflows`].
    pub fn workflows(&self) -> Answer<Vec<String>> {
        self.0.workflows()
    }

    /// See [`Store::unclaimable`].
    pub fn unclaimable(&self, workflows: Vec<(String, u32)>) -> Answer<Vec<Unclaimable>> {
        self.0.unclaimable(workflows)
    }

    /// See [`Store::audit`].
    pub fn audit(&self, filter: ListAudit) -> Answer<Vec<AuditEntry>> {
        self.0.audit(filter)
    }

    /// See [`Store::schedules`].
    pub fn schedules(&self, filter: ListSchedules) -> Answer<Vec<ScheduleRow>> {
        self.0.schedules(filter)
    }

    /// See [`Store::ticks`].
    pub fn ticks(&self, filter: ListTicks) -> Answer<Vec<TickRow>> {
        self.0.ticks(filter)
    }

    /// See [`Store::backfills`].
    pub fn backfills(&self, schedule: Uuid) -> Answer<Vec<BackfillRow>> {
        self.0.backfills(schedule)
    }

    /// See [`Store::backfill`].
    pub fn backfill(&self, id: Uuid) -> Answer<Option<BackfillRow>> {
        self.0.backfill(id)
    }

    /// See [`Store::ownership`].
    pub fn ownership(&self) -> Arc<dyn Claim> {
        self.0.ownership()
    }
}
