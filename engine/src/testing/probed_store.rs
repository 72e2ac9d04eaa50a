//! The store as one replica of a world reaches it: operations may time out, and writes pass
//! a probe before and after.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::Probe;
use super::faults::Faults;
use super::others::{OfOthers, Replica};
use crate::store::sqlite::Sqlite;
use crate::store::{
    Answer, Append, Appended, AuditEntry, AuditedChange, BackfillRow, BulkRequest, ClaimRuns, Claimed, Command,
    Created, Declare, Declared, Filter, JournalEntry, ListAudit, ListRuns, ListSchedules, ListTicks,
    Message as Received, NewRun, Purge, Purged, Refusal, RunCount, RunField, RunRow, ScheduleAnswer, ScheduleCommand,
    ScheduleRow, Settled, SharedStore, Store, StoreError, Tick, TickRow, Ticked, Unclaimable,
};
use crate::time::Timestamp;

pub(super) struct ProbedStore {
    pub(super) store: Arc<Sqlite>,
    pub(super) probe: Probe,
    pub(super) faults: Faults,
    /// If this is one of several replicas.
    pub(super) replica: Option<Replica>,
}

impl ProbedStore {
    /// A point of life and death before and after it, and a fault where one is due.
    fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        before: &'static str,
        after: &'static str,
        write: impl FnOnce(&Sqlite) -> Answer<T> + Send + 'static,
        last: bool,
    ) -> Answer<T> {
        let (store, probe) = (Arc::clone(&self.store), self.probe.clone());
        self.faults.on(&self.probe, operation, || {
            Box::pin(async move {
                probe.pass(before).await;
                let answer = write(&store).await;
                if last {
                    probe.kill();
                }
                probe.pass(after).await;
                answer
            })
        })
    }

    fn written(&self, append: Append, last: bool, release: bool, faults: Faults) -> Answer<Appended> {
        let write = move |store: &Sqlite| -> Answer<Appended> {
            let answer = store.append(append);
            Box::pin(async move {
                let appended = answer.await;
                if release {
                    faults.way().await;
                }
                appended
            })
        };
        self.write("append", "before append", "appended", write, last)
    }

    fn read<T: Send + 'static>(&self, operation: &'static str, read: impl FnOnce(&Sqlite) -> Answer<T>) -> Answer<T> {
        self.faults.on(&self.probe, operation, || read(&self.store))
    }
}

impl Store for ProbedStore {
    fn create(&self, mut run: NewRun) -> Answer<Created> {
        let last = self.probe.cuts(|cut| cut.creation(&mut run));
        self.write("create", "before create", "created", move |store| store.create(run), last)
    }

    fn append(&self, mut append: Append) -> Answer<Appended> {
        let last = self.probe.cuts(|cut| cut.append(&mut append));
        let (release, faults) = (append.release, self.faults.clone());
        if let (Some(replica), Some(related_runs)) = (self.replica.clone(), &append.related_runs) {
            let mut told = related_runs.cancels.clone();
            told.extend(related_runs.report.as_ref().map(|report| report.parent));
            let append = self.written(append, last, release, faults);
            return Box::pin(async move {
                let appended = append.await?;
                replica.changes(&told);
                Ok(appended)
            });
        }
        self.written(append, last, release, faults)
    }

    fn claim(&self, mut claim: ClaimRuns) -> Answer<Claimed> {
        if let Some(replica) = &self.replica {
            if replica.keeps_claims_away() {
                let next_due = Some(claim.now.after(Duration::from_millis(500)));
                return Box::pin(std::future::ready(Ok(Claimed { next_due, ..Claimed::default() })));
            }
            // The store knows all replicas as one owner.
            claim.held = None;
        }
        // Claims come by the clock as well; points are numbered by what the run does.
        if self.probe.is_dead() {
            return Box::pin(std::future::pending());
        }
        let (answer, faults) = (self.read("claim", |store| store.claim(claim)), self.faults.clone());
        let replica = self.replica.clone();
        Box::pin(async move {
            let mut claimed = answer.await?;
            if let Some(replica) = replica {
                claimed.suspects = replica.accused(claimed.runs.iter().map(|run| run.id));
            }
            if !claimed.runs.is_empty() {
                faults.claims_come().await;
                faults.way().await;
            }
            Ok(claimed)
        })
    }

    fn command(&self, command: Command) -> Answer<RunRow> {
        let (run, replica) = (command.run, self.replica.clone());
        let answer = self.write("command", "before command", "commanded", |store| store.command(command), false);
        Box::pin(async move {
            let row = answer.await?;
            if let Some(replica) = replica {
                replica.has_commanded(run);
                replica.changes(&[run]);
            }
            Ok(row)
        })
    }

    fn declare_schedules(&self, declare: Declare) -> Answer<Declared> {
        self.read("declare_schedules", |store| store.declare_schedules(declare))
    }

    fn schedule_command(&self, command: ScheduleCommand) -> Answer<ScheduleRow> {
        self.write("schedule", "before schedule", "scheduled", |store| store.schedule_command(command), false)
    }

    fn settle_schedule(&self, schedule: Uuid) -> Answer<Settled> {
        self.write("settle", "before settle", "settled", move |store| store.settle_schedule(schedule), false)
    }

    fn ticks(&self, filter: ListTicks) -> Answer<Vec<TickRow>> {
        self.read("ticks", |store| store.ticks(filter))
    }

    fn backfills(&self, schedule: Uuid) -> Answer<Vec<BackfillRow>> {
        self.read("backfills", |store| store.backfills(schedule))
    }

    fn backfill(&self, id: Uuid) -> Answer<Option<BackfillRow>> {
        self.read("backfill", |store| store.backfill(id))
    }

    fn schedule_answered(&self, change: AuditedChange) -> Answer<Option<ScheduleAnswer>> {
        self.read("schedule_answered", |store| store.schedule_answered(change))
    }

    fn tick(&self, tick: Tick) -> Answer<Ticked> {
        self.write("tick", "before tick", "ticked", |store| store.tick(tick), false)
    }

    fn inbox(&self, run: Uuid, after: u64) -> Answer<Vec<Received>> {
        self.read("inbox", |store| store.inbox(run, after))
    }

    fn run(&self, id: Uuid) -> Answer<Option<RunRow>> {
        self.read("run", |store| store.run(id))
    }

    fn journal(&self, id: Uuid, after_sequence: u64, limit: u32) -> Answer<Vec<JournalEntry>> {
        self.read("journal", |store| store.journal(id, after_sequence, limit))
    }

    fn list(&self, filter: ListRuns) -> Answer<Vec<RunRow>> {
        self.read("list", |store| store.list(filter))
    }

    fn count(&self, filter: Filter<RunField>) -> Answer<Vec<RunCount>> {
        self.read("count", |store| store.count(filter))
    }

    fn workflows(&self) -> Answer<Vec<String>> {
        self.read("workflows", |store| store.workflows())
    }

    fn unclaimable(&self, workflows: Vec<(String, u32)>) -> Answer<Vec<Unclaimable>> {
        self.read("unclaimable", |store| store.unclaimable(workflows))
    }

    fn purge(&self, purge: Purge) -> Answer<Purged> {
        self.write("purge", "before purge", "purged", |store| store.purge(purge), false)
    }

    fn purge_audit(&self, before: Timestamp) -> Answer<u32> {
        self.read("purge_audit", |store| store.purge_audit(before))
    }

    fn answered(&self, change: AuditedChange) -> Answer<Option<RunRow>> {
        self.read("answered", |store| store.answered(change))
    }

    fn bulk_request(&self, change: AuditedChange, completed: bool) -> Answer<BulkRequest> {
        self.read("bulk_request", |store| store.bulk_request(change, completed))
    }

    fn refused(&self, refusals: Vec<Refusal>) -> Answer<()> {
        self.read("refused", |store| store.refused(refusals))
    }

    fn audit(&self, filter: ListAudit) -> Answer<Vec<AuditEntry>> {
        self.read("audit", |store| store.audit(filter))
    }

    fn schedules(&self, filter: ListSchedules) -> Answer<Vec<ScheduleRow>> {
        self.read("schedules", |store| store.schedules(filter))
    }

    fn schedules_by_uid(&self, uids: Vec<Uuid>) -> Answer<Vec<ScheduleRow>> {
        self.read("schedules_by_uid", |store| store.schedules_by_uid(uids))
    }

    fn settles_within(&self) -> Duration {
        self.store.settles_within()
    }

    fn ownership(&self) -> Arc<dyn crate::claim::Claim> {
        self.store.ownership()
    }

    fn losses(&self) -> tokio::sync::watch::Receiver<u64> {
        self.store.losses()
    }

    fn shared(&self) -> Option<Arc<dyn SharedStore>> {
        let replica = self.replica.clone()?;
        Some(Arc::new(OfOthers { store: Arc::clone(&self.store), replica }))
    }

    fn close(&self) -> Answer<()> {
        let answer: Answer<()> = self.store.close();
        Box::pin(async move {
            let closed: Result<(), StoreError> = answer.await;
            closed
        })
    }
}
