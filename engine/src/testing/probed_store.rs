//! The store as one replica of a world reaches it: writes pass a probe before and after.

use std::sync::Arc;

use uuid::Uuid;

use super::Probe;
use crate::store::sqlite::Sqlite;
use crate::store::{
    Answer, Append, Appended, AuditEntry, Change, ClaimRuns, Claimed, Command, Created, JournalEntry, ListAudit,
    ListRuns, Message as Received, NewRun, Purge, Purged, RunRow, Schedule, ScheduleRow, Store, StoreError, Tick,
    Ticked, Unclaimable,
};
use crate::time::Timestamp;

pub(super) struct ProbedStore {
    pub(super) store: Arc<Sqlite>,
    pub(super) probe: Probe,
}

impl ProbedStore {
    fn write<T: Send + 'static>(
        &self,
        before: &'static str,
        after: &'static str,
        write: impl FnOnce(&Sqlite) -> Answer<T> + Send + 'static,
        last: bool,
    ) -> Answer<T> {
        let (store, probe) = (Arc::clone(&self.store), self.probe.clone());
        Box::pin(async move {
            probe.pass(before).await;
            let answer = write(&store).await;
            if last {
                probe.kill();
            }
            probe.pass(after).await;
            answer
        })
    }
}

impl Store for ProbedStore {
    fn create(&self, mut run: NewRun) -> Answer<Created> {
        let last = self.probe.cuts(|cut| cut.creation(&mut run));
        self.write("before create", "created", move |store| store.create(run), last)
    }

    fn append(&self, mut append: Append) -> Answer<Appended> {
        let last = self.probe.cuts(|cut| cut.append(&mut append));
        self.write("before append", "appended", move |store| store.append(append), last)
    }

    fn claim(&self, claim: ClaimRuns) -> Answer<Claimed> {
        // Claims come by the clock as well; points are numbered by what the run does.
        if self.probe.is_dead() { Box::pin(std::future::pending()) } else { self.store.claim(claim) }
    }

    fn command(&self, command: Command) -> Answer<RunRow> {
        self.write("before command", "commanded", |store| store.command(command), false)
    }

    fn declare_schedules(&self, schedules: Vec<Schedule>) -> Answer<Vec<ScheduleRow>> {
        self.store.declare_schedules(schedules)
    }

    fn tick(&self, tick: Tick) -> Answer<Ticked> {
        self.write("before tick", "ticked", |store| store.tick(tick), false)
    }

    fn inbox(&self, run: Uuid, after: u64) -> Answer<Vec<Received>> {
        self.store.inbox(run, after)
    }

    fn run(&self, id: Uuid) -> Answer<Option<RunRow>> {
        self.store.run(id)
    }

    fn journal(&self, id: Uuid, after_sequence: u64, limit: u32) -> Answer<Vec<JournalEntry>> {
        self.store.journal(id, after_sequence, limit)
    }

    fn list(&self, filter: ListRuns) -> Answer<Vec<RunRow>> {
        self.store.list(filter)
    }

    fn workflows(&self) -> Answer<Vec<String>> {
        self.store.workflows()
    }

    fn unclaimable(&self, workflows: Vec<(String, u32)>) -> Answer<Vec<Unclaimable>> {
        self.store.unclaimable(workflows)
    }

    fn purge(&self, purge: Purge) -> Answer<Purged> {
        self.write("before purge", "purged", |store| store.purge(purge), false)
    }

    fn purge_audit(&self, before: Timestamp) -> Answer<u32> {
        self.store.purge_audit(before)
    }

    fn answered(&self, change: Change) -> Answer<Option<Uuid>> {
        self.store.answered(change)
    }

    fn audit(&self, filter: ListAudit) -> Answer<Vec<AuditEntry>> {
        self.store.audit(filter)
    }

    fn schedules(&self) -> Answer<Vec<ScheduleRow>> {
        self.store.schedules()
    }

    fn ownership(&self) -> Arc<dyn crate::claim::Claim> {
        self.store.ownership()
    }

    fn losses(&self) -> tokio::sync::watch::Receiver<u64> {
        self.store.losses()
    }

    fn close(&self) -> Answer<()> {
        let answer: Answer<()> = self.store.close();
        Box::pin(async move {
            let closed: Result<(), StoreError> = answer.await;
            closed
        })
    }
}
