//! The store itself: each operation of the trait, in its order, on the connections.

use std::sync::Arc;
use std::time::Duration;

use engine::claim::Claim;
use engine::store::support::is_for_caller;
use engine::store::{
    Answer, Append, Appended, AuditEntry, AuditedChange, BackfillRow, BulkRequest, ClaimRuns, Claimed, Command,
    CommandKind, Created, Declare, Declared, Filter, JournalEntry, ListAudit, ListRuns, ListSchedules, ListTicks,
    Message, NewRun, Purge, Purged, Refusal, RelatedRuns, RunCount, RunField, RunRow, ScheduleAnswer, ScheduleCommand,
    ScheduleRow, Settled, SharedStore, Store, StoreError, Tick, TickRow, Ticked, Unclaimable,
};
use engine::time::{Clock, Timestamp};
use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::again::again;
use crate::batch::{self, Queued};
use crate::clock::DatabaseClock;
use crate::hints::Hints;
use crate::lease::{self, Heartbeat};
use crate::options::PostgresOptions;
use crate::order::{After, Order, Turn};
use crate::others::Others;
use crate::pool::{Connection, Connections};
use crate::session::Fault;
use crate::work::{Operation, Work};
use crate::workflow_numbers::{Named, Workflows};
use crate::{
    audit, claims, commands, durability, home, housekeeping, inbox, limits, migrations, purges, reads, requests,
    run_lists, runs, schedules,
};

/// How long it may take to open the store. Each statement has less, a migration too.
const OPEN: Duration = Duration::from_secs(90);

/// A store in a PostgreSQL database, which other replicas may use at the same time.
///
/// Each of its writes is a task, so that dropping an answer takes nothing back. Writes of one run keep the order of their calls,
/// and a claim shows what was written before it was called.
pub struct Postgres {
    work: Arc<Work>,
    order: Arc<Order>,
    queue: mpsc::UnboundedSender<Queued>,
    others: Arc<Others>,
    clock: Arc<DatabaseClock>,
    hints: Arc<Hints>,
    /// Reads for callers: they leave connections to the engine.
    for_callers: Arc<Semaphore>,
    runtime: Handle,
    stop: CancellationToken,
}

impl Postgres {
    /// Opens the store in this database, made if it is empty, and takes a lease.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] where the database is not reached, and [`StoreError::Unusable`] for what waiting does not mend:
    /// a newer release made it, it does not let this user in, it is not trusted, or a file cannot be used.
    pub async fn open(options: PostgresOptions) -> Result<Self, StoreError> {
        let opened = tokio::time::timeout(OPEN, Self::begin(options)).await;
        let late = |_| Err(Fault::NoConnection(format!("not open within {OPEN:?}")));
        opened.unwrap_or_else(late).map_err(Fault::into_answer_of_open)
    }

    async fn begin(options: PostgresOptions) -> Result<Self, Fault> {
        let connection = Connection::open(&options).await?;
        limits::check(&connection, &options).await?;
        durability::check(&connection, options.allow_data_loss).await?;
        again(|| home::refuse_copy(&connection, options.adopt)).await?;
        again(|| migrations::apply(&connection)).await?;
        again(|| home::settle(&connection, options.adopt)).await?;
        let heartbeat = Heartbeat::begin(options.clone(), connection).await?;
        let work = Arc::new(Work {
            connections: Connections::new(&options)?,
            leases: Arc::clone(&heartbeat.leases),
            workflows: Workflows::default(),
            options,
        });
        let order: Arc<Order> = Arc::default();
        let stop = CancellationToken::new();
        let hints = Hints::begin(&work.options, &work.leases, &stop);
        let (queue, queued) = mpsc::unbounded_channel();
        // Reads for callers have at most half of the connections.
        let at_once = (work.options.connections / 2).max(1);
        tokio::spawn(batch::group(queued, Arc::clone(&work)));
        tokio::spawn(Arc::clone(&heartbeat.leases).watch(stop.clone()));
        let clock = Arc::clone(&heartbeat.clock);
        tokio::spawn(heartbeat.keep(stop.clone()));
        tokio::spawn(housekeeping::keep(Arc::clone(&work), stop.clone()));
        Ok(Self {
            for_callers: Arc::new(Semaphore::new(at_once)),
            others: Arc::new(Others::new(Arc::clone(&work), Arc::clone(&order), Arc::clone(&hints))),
            clock,
            hints,
            work,
            order,
            queue,
            runtime: Handle::current(),
            stop,
        })
    }

    /// The database's clock, which all replicas go by.
    pub fn clock(&self) -> Clock {
        let (wall, steady) = (Arc::clone(&self.clock), Arc::clone(&self.clock));
        Clock::from_sources(move || wall.wall(), move || steady.steady())
    }

    /// Does a write when its turn comes, whoever waits for it.
    fn spawn<O, F>(&self, after: After, write: impl FnOnce(Arc<Work>) -> F) -> Answer<O>
    where
        O: Send + 'static,
        F: Future<Output = Result<O, StoreError>> + Send + 'static,
    {
        let Some(turn) = self.order.enter(after) else { return closed() };
        let write = write(Arc::clone(&self.work));
        let task = self.runtime.spawn(in_turn(turn, write));
        async move { task.await.unwrap_or(Err(StoreError::Closed)) }.boxed()
    }

    fn write<I, O>(&self, after: After, named: Vec<Named>, input: I, operation: Operation<I, O>) -> Answer<O>
    where
        I: Send + Sync + 'static,
        O: Send + 'static,
    {
        self.spawn(after, |work| async move {
            work.resolve(&named).await?;
            work.transaction(&input, operation).await
        })
    }

    /// The same for a write that changes these runs, which others may hold: their replicas are told.
    fn write_to<I, O>(
        &self,
        after: After,
        named: Vec<Named>,
        (input, runs): (I, Vec<Uuid>),
        operation: Operation<I, O>,
    ) -> Answer<O>
    where
        I: Send + Sync + 'static,
        O: Send + 'static,
    {
        let hints = Arc::clone(&self.hints);
        self.spawn(after, |work| async move {
            work.resolve(&named).await?;
            let done = work.transaction(&input, operation).await?;
            hints.tell(runs);
            Ok(done)
        })
    }

    /// Reads on a connection of the pool. Reads of the engine do not stand behind those of callers.
    fn read<I, O>(&self, input: I, operation: Operation<I, O>) -> Answer<O>
    where
        I: Send + Sync + 'static,
        O: Send + 'static,
    {
        if self.order.is_closed() {
            return closed();
        }
        let (work, for_callers) = (Arc::clone(&self.work), Arc::clone(&self.for_callers));
        let limited = is_for_caller();
        async move {
            let _place = if limited { for_callers.acquire_owned().await.ok() } else { None };
            work.repeated(&input, operation).await.map_err(Fault::into_answer)
        }
        .boxed()
    }

    /// Sends an operation to be grouped with others, and waits for its answer.
    fn grouped<O: Send + 'static>(
        &self,
        of: Uuid,
        named: Vec<Named>,
        queued: impl FnOnce(oneshot::Sender<Result<O, StoreError>>) -> Queued + Send + 'static,
    ) -> Answer<O> {
        let queue = self.queue.clone();
        self.spawn(After::Same(of), |work| async move {
            work.resolve(&named).await?;
            let (waiter, answer) = oneshot::channel();
            drop(queue.send(queued(waiter)));
            answer.await.unwrap_or(Err(StoreError::Closed))
        })
    }
}

/// For tests.
#[cfg(any(test, feature = "testing"))]
impl Postgres {
    /// Stops as a process does that is killed: the database hears nothing of it, and the lease stays until it expires.
    pub fn die(&self) {
        self.stop.cancel();
        self.work.leases.lose();
        self.work.connections.close();
        self.order.shut();
    }

    /// The id of the lease that it has at the moment.
    pub fn lease(&self) -> Uuid {
        self.work.leases.current().id
    }

    /// The buckets in which it looks for due runs.
    pub fn buckets(&self) -> Vec<i16> {
        self.work.leases.buckets().to_vec()
    }
}

async fn in_turn<O>(mut turn: Turn, write: impl Future<Output = Result<O, StoreError>>) -> Result<O, StoreError> {
    turn.comes().await;
    write.await
}

fn closed<O: Send + 'static>() -> Answer<O> {
    async { Err(StoreError::Closed) }.boxed()
}

fn named(run: &NewRun) -> Named {
    (run.workflow.clone(), run.workflow_version)
}

/// The workflows of the children that are created with it.
fn of_children(related_runs: Option<&RelatedRuns>) -> Vec<Named> {
    related_runs.map_or_else(Vec::new, |related_runs| related_runs.children.iter().map(named).collect())
}

impl Store for Postgres {
    fn create(&self, run: NewRun) -> Answer<Created> {
        let (id, workflows) = (run.id, vec![named(&run)]);
        if run.status.state.is_end() {
            return self.write(After::Same(id), workflows, run, |session, run| runs::create(session, run).boxed());
        }
        self.grouped(id, workflows, move |waiter| Queued::Create(Box::new(run), waiter))
    }

    fn append(&self, append: Append) -> Answer<Appended> {
        let run = append.run;
        if runs::is_plain(&append) {
            return self.grouped(run, Vec::new(), move |waiter| Queued::Append(Box::new(append), waiter));
        }
        let workflows = of_children(append.related_runs.as_deref());
        let told = append.related_runs.as_deref().map_or_else(Vec::new, |related_runs| {
            let parent = related_runs.report.as_ref().map(|report| report.parent);
            related_runs.cancels.iter().copied().chain(parent).collect()
        });
        self.write_to(After::Same(run), workflows, (append, told), |session, append| {
            runs::append(session, append).boxed()
        })
    }

    fn claim(&self, claim: ClaimRuns) -> Answer<Claimed> {
        // What is not in memory is given back: nothing may come into memory meanwhile.
        let after = if claim.held.is_some() { After::AllAndBefore } else { After::All };
        self.spawn(after, |work| async move {
            let look = work.repeated(&claim, |session, claim| claims::look(session, claim).boxed()).await;
            if let Some(nothing) = look.map_err(Fault::into_answer)?.nothing(&claim) {
                return Ok(nothing);
            }
            work.transaction(&claim, |session, claim| claims::claim(session, claim).boxed()).await
        })
    }

    fn command(&self, command: Command) -> Answer<RunRow> {
        let workflows = match &command.kind {
            CommandKind::Append(append) => of_children(append.related_runs.as_deref()),
            _ => Vec::new(),
        };
        let told = vec![command.run];
        self.write_to(After::Same(command.run), workflows, (command, told), |session, command| {
            commands::command(session, command).boxed()
        })
    }

    fn declare_schedules(&self, declare: Declare) -> Answer<Declared> {
        self.write(After::All, Vec::new(), declare, |session, declare| schedules::declare(session, declare).boxed())
    }

    fn schedule_command(&self, command: ScheduleCommand) -> Answer<ScheduleRow> {
        self.write(After::All, Vec::new(), command, |session, command| schedules::command(session, command).boxed())
    }

    fn tick(&self, tick: Tick) -> Answer<Ticked> {
        let workflows = tick.start.iter().map(|start| named(&start.run)).collect();
        self.write(After::Same(tick.schedule), workflows, tick, |session, tick| schedules::tick(session, tick).boxed())
    }

    fn settle_schedule(&self, schedule: Uuid) -> Answer<Settled> {
        self.write(After::Same(schedule), Vec::new(), schedule, |session, uid| schedules::settle(session, uid).boxed())
    }

    fn ticks(&self, filter: ListTicks) -> Answer<Vec<TickRow>> {
        self.read(filter, |session, filter| schedules::ticks(session, filter).boxed())
    }

    fn backfills(&self, schedule: Uuid) -> Answer<Vec<BackfillRow>> {
        self.read(schedule, |session, schedule| schedules::backfills(session, schedule).boxed())
    }

    fn backfill(&self, id: Uuid) -> Answer<Option<BackfillRow>> {
        self.read(id, |session, id| schedules::backfill(session, id).boxed())
    }

    fn schedule_answered(&self, change: AuditedChange) -> Answer<Option<ScheduleAnswer>> {
        self.read(change, |session, change| schedules::answered(session, change).boxed())
    }

    fn inbox(&self, run: Uuid, after: u64) -> Answer<Vec<Message>> {
        self.read((run, after), |session, unread| inbox::unread(session, unread).boxed())
    }

    fn run(&self, id: Uuid) -> Answer<Option<RunRow>> {
        self.read(id, |session, id| reads::run(session, id).boxed())
    }

    fn journal(&self, id: Uuid, after_sequence: u64, limit: u32) -> Answer<Vec<JournalEntry>> {
        let page = reads::Page { run: id, after: after_sequence, limit };
        self.read(page, |session, page| reads::journal(session, page).boxed())
    }

    fn list(&self, filter: ListRuns) -> Answer<Vec<RunRow>> {
        self.read(filter, |session, filter| run_lists::list(session, filter).boxed())
    }

    fn count(&self, filter: Filter<RunField>) -> Answer<Vec<RunCount>> {
        self.read(filter, |session, filter| run_lists::count(session, filter).boxed())
    }

    fn workflows(&self) -> Answer<Vec<String>> {
        self.read((), |session, nothing| reads::workflow_names(session, nothing).boxed())
    }

    fn unclaimable(&self, workflows: Vec<(String, u32)>) -> Answer<Vec<Unclaimable>> {
        self.read(workflows, |session, known| reads::unclaimable(session, known).boxed())
    }

    fn purge(&self, purge: Purge) -> Answer<Purged> {
        self.write(After::None, Vec::new(), purge, |session, purge| purges::purge(session, purge).boxed())
    }

    fn purge_audit(&self, before: Timestamp) -> Answer<u32> {
        self.write(After::None, Vec::new(), before, |session, before| purges::audit(session, before).boxed())
    }

    fn answered(&self, change: AuditedChange) -> Answer<Option<RunRow>> {
        self.read(change, |session, change| requests::answer(session, change).boxed())
    }

    fn bulk_request(&self, change: AuditedChange, completed: bool) -> Answer<BulkRequest> {
        self.write(After::None, Vec::new(), (change, completed), |session, request| {
            requests::bulk(session, request).boxed()
        })
    }

    fn refused(&self, refusals: Vec<Refusal>) -> Answer<()> {
        self.write(After::None, Vec::new(), refusals, |session, refusals| audit::refused(session, refusals).boxed())
    }

    fn audit(&self, filter: ListAudit) -> Answer<Vec<AuditEntry>> {
        self.read(filter, |session, filter| audit::list(session, filter).boxed())
    }

    fn schedules(&self, filter: ListSchedules) -> Answer<Vec<ScheduleRow>> {
        self.read(filter, |session, filter| schedules::list(session, filter).boxed())
    }

    fn schedules_by_uid(&self, uids: Vec<Uuid>) -> Answer<Vec<ScheduleRow>> {
        self.read(uids, |session, uids| schedules::all_of(session, uids).boxed())
    }

    fn ownership(&self) -> Arc<dyn Claim> {
        self.work.leases.current()
    }

    fn settles_within(&self) -> Duration {
        self.work.settles_within()
    }

    fn shared(&self) -> Option<Arc<dyn SharedStore>> {
        Some(Arc::clone(&self.others) as Arc<dyn SharedStore>)
    }

    fn losses(&self) -> watch::Receiver<u64> {
        self.work.leases.losses()
    }

    fn close(&self) -> Answer<()> {
        let (work, order, stop) = (Arc::clone(&self.work), Arc::clone(&self.order), self.stop.clone());
        async move {
            if order.is_closed() {
                return Ok(());
            }
            order.close().await;
            stop.cancel();
            let ended = work.repeated(&(), |session, ()| lease::end(session).boxed()).await;
            // No one is told of a loss: whoever closes the store has let its runs go.
            work.leases.current().lose();
            work.connections.close();
            ended.map_err(Fault::into_answer)
        }
        .boxed()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres").field("lease", &self.work.leases.current()).finish_non_exhaustive()
    }
}
