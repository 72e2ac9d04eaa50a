//! SQLite: the store of one replica, in one file, with one thread that writes and three that read.
//!
//! Every commit is durable when it is answered (WAL, `synchronous = FULL`) and carries all that waited for it. A
//! file has one owner at a time: a lock beside it keeps a second process out, and each opening is a new generation
//! that outdates what an earlier one held.

use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use super::{
    Answer, Append, Appended, AuditEntry, AuditedChange, BackfillRow, BulkRequest, ClaimRuns, Claimed, Command,
    CommandKind, Created, Declare, Declared, Filter, JournalEntry, ListAudit, ListRuns, ListSchedules, ListTicks,
    Message as Received, NewRun, Purge, Purged, Refusal, RunCount, RunField, RunRow, ScheduleAnswer, ScheduleCommand,
    ScheduleRow, Settled, Store, StoreError, Tick, TickRow, Ticked, Unclaimable,
};
use crate::claim::Claim;
use crate::time::{Clock, Timestamp};
use database::{Database, Settings};
use files::StoreFiles;
use job::{Operation, job};
use log_backfill::LogBackfill;
use readers::{Readers, Reads};
use shared::Shared;
use writer::{Message, Writer};

mod adoption;
mod audit;
mod backup;
mod cancels;
mod claims;
mod commands;
mod database;
mod doctor;
#[cfg(any(test, feature = "testing"))]
mod faults;
mod files;
mod inbox;
#[cfg(any(test, feature = "testing"))]
mod inline;
mod job;
mod lock;
mod log;
mod log_backfill;
mod look;
mod migrations;
mod old_requests;
mod paths;
mod presence;
mod purges;
mod readers;
mod reads;
mod related_runs;
mod requests;
mod rows;
mod run_lists;
mod runs;
mod schedules;
mod set_back;
mod shared;
mod source;
mod workflows;
mod writer;
mod writes;

pub use backup::backup;
pub use doctor::{Examine, examine};
#[cfg(any(test, feature = "testing"))]
pub use faults::CommitFault;
pub use look::Look;
pub use source::{FencedSource, Source};

/// How a store behaves, beside where it lies.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SqliteOptions {
    /// Waits this long after every commit before it is answered, to see how the engine does on a slower disk.
    /// For benchmarks only.
    pub commit_delay: Option<Duration>,
    /// Opens a copy of a store, or a restored backup, and says in it that the original may have continued: what its runs did
    /// since then is not known.
    pub adopt: bool,
}

/// A store in a SQLite database. Dropping it closes it, and waits until that is done.
pub struct Sqlite(Backend);

enum Backend {
    File(File),
    #[cfg(any(test, feature = "testing"))]
    Memory(inline::Inline),
}

struct File {
    writes: Sender<Message>,
    reads: Reads,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    #[cfg(any(test, feature = "testing"))]
    faults: faults::Faults,
}

impl Sqlite {
    /// Opens the store in this file, made if it is missing, and becomes its owner.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unusable`] where another process has it open, and where the file is not ours, damaged, made by a
    /// newer release, or on a network file system. Nothing is written to such a file.
    pub fn open(path: impl AsRef<Path>, options: SqliteOptions, clock: Clock) -> Result<Self, StoreError> {
        let settings = Settings {
            clock,
            commit_delay: options.commit_delay,
            adopt: options.adopt,
            process: Uuid::new_v4(),
            #[cfg(any(test, feature = "testing"))]
            faults: faults::Faults::default(),
        };
        #[cfg(any(test, feature = "testing"))]
        let faults = settings.faults.clone();
        let files = Arc::new(StoreFiles::take(path.as_ref())?);
        let database = Database::open(&files, &settings, None)?;
        let no_thread = |error: std::io::Error| paths::unusable(path.as_ref(), &format!("no thread for it: {error}"));
        let shared = Arc::new(Shared::new());
        let (readers, reads) = Readers::start(files.clone(), shared.clone()).map_err(no_thread)?;
        let (writes, queue) = mpsc::channel();
        let backfill =
            if database.leaves_log() { Some(LogBackfill::start(files.clone()).map_err(no_thread)?) } else { None };
        let writer = Writer { queue, files, shared: shared.clone(), readers, settings, backfill };
        let thread = std::thread::Builder::new().name("store-writer".to_owned());
        let thread = Mutex::new(Some(thread.spawn(move || writer.run(database)).map_err(no_thread)?));
        Ok(Self(Backend::File(File {
            writes,
            reads,
            shared,
            thread,
            #[cfg(any(test, feature = "testing"))]
            faults,
        })))
    }

    fn write<I, O>(&self, input: I, bytes: usize, operation: Operation<Database, I, O>) -> Answer<O>
    where
        I: Send + 'static,
        O: Send + 'static,
    {
        match &self.0 {
            Backend::File(file) => {
                let (write, answer) = job(input, bytes, operation);
                file.shared.queued();
                // Where no one writes any more the job is dropped, and answers that the store is closed.
                drop(file.writes.send(Message::Write(write)));
                answer
            }
            #[cfg(any(test, feature = "testing"))]
            Backend::Memory(inline) => inline.write(input, operation),
        }
    }

    fn read<I, O>(&self, input: I, operation: Operation<rusqlite::Connection, I, O>) -> Answer<O>
    where
        I: Send + 'static,
        O: Send + 'static,
    {
        match &self.0 {
            Backend::File(file) => file.reads.submit(input, operation),
            #[cfg(any(test, feature = "testing"))]
            Backend::Memory(inline) => inline.read(input, operation),
        }
    }

    fn shared(&self) -> &Shared {
        match &self.0 {
            Backend::File(file) => &file.shared,
            #[cfg(any(test, feature = "testing"))]
            Backend::Memory(inline) => &inline.shared,
        }
    }
}

/// For tests of the engine and of this store.
#[cfg(any(test, feature = "testing"))]
impl Sqlite {
    /// A new store in memory that does everything when it is called, without a thread: under tokio's paused clock
    /// no time passes in it.
    pub fn in_memory(clock: Clock) -> Result<Self, StoreError> {
        let settings = Settings {
            clock,
            commit_delay: None,
            adopt: false,
            process: Uuid::new_v4(),
            faults: faults::Faults::default(),
        };
        Ok(Self(Backend::Memory(inline::Inline::new(&settings)?)))
    }

    /// The same store in memory as its next owner finds it after this one was killed: this one answers
    /// [`StoreError::Closed`] from now on, and what it held can be claimed. The next one has its own clock.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unusable`] for a store in a file, which is dropped and opened instead.
    pub fn reopen_as_new_owner(&self, clock: Clock) -> Result<Self, StoreError> {
        self.reopen(clock, false)
    }

    /// The same as if this were a copy of the store, which the next owner adopts.
    ///
    /// # Errors
    ///
    /// As [`Sqlite::reopen_as_new_owner`].
    pub fn adopt_as_new_owner(&self, clock: Clock) -> Result<Self, StoreError> {
        self.reopen(clock, true)
    }

    fn reopen(&self, clock: Clock, adopt: bool) -> Result<Self, StoreError> {
        match &self.0 {
            Backend::Memory(inline) => Ok(Self(Backend::Memory(inline.succeed(clock, adopt)?))),
            Backend::File(_) => Err(StoreError::Unusable("only a store in memory changes hands in place".to_owned())),
        }
    }

    /// Makes the next commit fail as a broken disk would.
    pub fn fail_next_commit(&self, fault: CommitFault) {
        match &self.0 {
            Backend::File(file) => file.faults.inject(fault),
            Backend::Memory(inline) => inline.fail_next_commit(fault),
        }
    }
}

impl Store for Sqlite {
    fn create(&self, run: NewRun) -> Answer<Created> {
        let bytes = run.entry.len();
        self.write(run, bytes, runs::create)
    }

    fn append(&self, append: Append) -> Answer<Appended> {
        let bytes = append.entry.len();
        self.write(append, bytes, runs::append)
    }

    fn claim(&self, claim: ClaimRuns) -> Answer<Claimed> {
        self.write(claim, 0, claims::claim)
    }

    fn command(&self, command: Command) -> Answer<RunRow> {
        let bytes = match &command.kind {
            CommandKind::Signal(signal) => signal.payload.len(),
            CommandKind::Append(append) => append.entry.len(),
            _ => 0,
        };
        self.write(command, bytes, commands::command)
    }

    fn declare_schedules(&self, declare: Declare) -> Answer<Declared> {
        self.write(declare, 0, schedules::declare)
    }

    fn schedule_command(&self, command: ScheduleCommand) -> Answer<ScheduleRow> {
        self.write(command, 0, schedules::command)
    }

    fn tick(&self, tick: Tick) -> Answer<Ticked> {
        let bytes = tick.start.as_ref().map_or(0, |start| start.run.entry.len());
        self.write(tick, bytes, schedules::tick)
    }

    fn settle_schedule(&self, schedule: Uuid) -> Answer<Settled> {
        self.write(schedule, 0, schedules::settle)
    }

    fn ticks(&self, filter: ListTicks) -> Answer<Vec<TickRow>> {
        self.read(filter, schedules::ticks)
    }

    fn backfills(&self, schedule: Uuid) -> Answer<Vec<BackfillRow>> {
        self.read(schedule, schedules::backfills)
    }

    fn backfill(&self, id: Uuid) -> Answer<Option<BackfillRow>> {
        self.read(id, schedules::backfill)
    }

    fn schedule_answered(&self, change: AuditedChange) -> Answer<Option<ScheduleAnswer>> {
        self.read(change, schedules::answered)
    }

    fn inbox(&self, run: Uuid, after: u64) -> Answer<Vec<Received>> {
        self.read(inbox::Unread { run, after }, inbox::unread)
    }

    fn run(&self, id: Uuid) -> Answer<Option<RunRow>> {
        self.read(id, reads::run)
    }

    fn journal(&self, id: Uuid, after_sequence: u64, limit: u32) -> Answer<Vec<JournalEntry>> {
        self.read(reads::Page { run: id, after: after_sequence, limit }, reads::journal)
    }

    fn list(&self, filter: ListRuns) -> Answer<Vec<RunRow>> {
        self.read(filter, run_lists::list)
    }

    fn count(&self, filter: Filter<RunField>) -> Answer<Vec<RunCount>> {
        self.read(filter, run_lists::count)
    }

    fn workflows(&self) -> Answer<Vec<String>> {
        self.read((), reads::workflow_names)
    }

    fn unclaimable(&self, workflows: Vec<(String, u32)>) -> Answer<Vec<Unclaimable>> {
        self.read(reads::Known(workflows), reads::unclaimable)
    }

    fn purge(&self, purge: Purge) -> Answer<Purged> {
        self.write(purge, 0, purges::purge)
    }

    fn purge_audit(&self, before: Timestamp) -> Answer<u32> {
        self.write(before, 0, purges::audit)
    }

    fn answered(&self, change: AuditedChange) -> Answer<Option<RunRow>> {
        self.read(change, requests::answered)
    }

    fn bulk_request(&self, change: AuditedChange, completed: bool) -> Answer<BulkRequest> {
        self.write((change, completed), 0, requests::bulk)
    }

    fn refused(&self, refusals: Vec<Refusal>) -> Answer<()> {
        self.write(refusals, 0, |db, refusals| audit::refused(db, refusals))
    }

    fn audit(&self, filter: ListAudit) -> Answer<Vec<AuditEntry>> {
        self.read(filter, audit::list)
    }

    fn schedules(&self, filter: ListSchedules) -> Answer<Vec<ScheduleRow>> {
        self.read(filter, schedules::list)
    }

    fn schedules_by_uid(&self, uids: Vec<Uuid>) -> Answer<Vec<ScheduleRow>> {
        self.read(uids, |connection, uids| schedules::all_of(connection, uids))
    }

    fn ownership(&self) -> Arc<dyn Claim> {
        self.shared().claim()
    }

    fn losses(&self) -> watch::Receiver<u64> {
        self.shared().losses()
    }

    fn close(&self) -> Answer<()> {
        let (asked, closed) = oneshot::channel();
        match &self.0 {
            Backend::File(file) => drop(file.writes.send(Message::Close(Some(asked)))),
            #[cfg(any(test, feature = "testing"))]
            Backend::Memory(inline) => inline.close(),
        }
        // No one answers where it was closed before; that is as well.
        Box::pin(async move { closed.await.unwrap_or(Ok(())) })
    }
}

impl Drop for File {
    fn drop(&mut self) {
        drop(self.writes.send(Message::Close(None)));
        if let Some(thread) = shared::lock(&self.thread).take()
            && thread.join().is_err()
        {
            tracing::error!("the writer of the store panicked");
        }
    }
}

impl std::fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Sqlite").field(self.shared()).finish()
    }
}
