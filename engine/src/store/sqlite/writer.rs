//! The thread that writes: everything that waits goes into one commit, and then gets its answers.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::database::{Database, Failed, Owner, Settings};
use super::files::StoreFiles;
use super::job::Job;
use super::log;
use super::log_backfill::LogBackfill;
use super::paths;
use super::readers::Readers;
use super::shared::Shared;
use crate::store::StoreError;

/// The most operations of one commit, and the most bytes after which no more are added.
const BATCH: usize = 1_024;
const BATCH_BYTES: usize = 8 << 20;

/// From so many operations in one commit on, the next commit is held off for twice as long as this one took, or until as
/// many wait again: what comes meanwhile shares it. The processor time of a commit is then spent on three times as many,
/// where that is what is short, and a store with little to do is as quick as before.
const CROWD: usize = 8;
const LONGEST_REST: Duration = Duration::from_millis(2);

/// How often a rest looks whether enough operations wait.
const NAP: Duration = Duration::from_micros(200);

/// Pauses before attempts to open the store again: each twice as long as the one before, also where a store that was
/// opened is lost again soon.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const SOON: Duration = Duration::from_secs(10);

pub(super) enum Message {
    Write(Box<dyn Job<Database>>),
    /// Closes the store after what was queued before, and says so to the caller.
    Close(Option<Closed>),
}

type Closed = oneshot::Sender<Result<(), StoreError>>;
type Batch = Vec<Box<dyn Job<Database>>>;

/// Asks the thread to end.
struct Closing(Option<Closed>);

pub(super) struct Writer {
    pub(super) queue: Receiver<Message>,
    pub(super) files: Arc<StoreFiles>,
    pub(super) shared: Arc<Shared>,
    pub(super) readers: Readers,
    pub(super) settings: Settings,
    /// Where an earlier owner left a long log: its way into the database.
    pub(super) backfill: Option<LogBackfill>,
}

impl Writer {
    /// Serves until the store is closed. Whatever ends this thread, its claim ends with it.
    pub(super) fn run(mut self, database: Database) {
        let claim = Claimed(self.shared.clone());
        let (Closing(asked), closed) = self.serve(database);
        drop(claim);
        // The connection that writes is the last to be closed: it takes the log with it.
        self.readers.stop();
        let closed = closed.map(drop);
        // What was queued too late answers that the store is closed, and the lock is free before anyone hears of it.
        drop(self);
        if let Some(asked) = asked {
            drop(asked.send(closed));
        }
    }

    fn serve(&mut self, mut database: Database) -> (Closing, Result<Database, StoreError>) {
        let mut batch = Batch::with_capacity(BATCH);
        let mut longest_log = log::LONG;
        let mut pauses = Pauses::default();
        loop {
            let closing = self.gather(&mut batch);
            let (size, begun) = (batch.len(), Instant::now());
            let mut done = self.carry(&mut database, &mut batch);
            if size >= CROWD {
                self.rest(size, (begun.elapsed() * 2).min(LONGEST_REST));
            }
            let backfills = self.backfill.as_ref().is_some_and(|backfill| !backfill.is_over());
            if done.is_ok() && (closing.is_some() || !backfills) {
                if self.end_backfill() {
                    done = database.checkpoint_by_itself();
                }
                let limit = if closing.is_some() { 0 } else { longest_log };
                done = done.and_then(|()| self.bound_log(&database, limit)).map(|limit| longest_log = limit);
            }
            if let Err(failed) = done {
                self.shared.lose();
                let error = match &failed {
                    Failed::Statement(error) | Failed::Connection(error) | Failed::Owner(error) => error.clone(),
                    Failed::Damage(what) => {
                        self.shared.damaged(what);
                        damaged(&self.files, what)
                    }
                };
                tracing::error!(%error, "store lost; all claims are void");
                fail(&mut batch, &error);
                let owner = database.owner;
                self.files.presence().closing();
                drop(database);
                self.end_backfill();
                self.readers.apart_while(|| ());
                if let Some(closing) = closing {
                    return (closing, Err(error));
                }
                let lost = matches!(failed, Failed::Owner(_) | Failed::Damage(_));
                let again = if lost { None } else { Some(&owner) };
                match self.recover(again, &error, &mut pauses) {
                    Ok(recovered) => database = recovered,
                    Err(closing) => return (closing, Err(error)),
                }
            } else if let Some(closing) = closing {
                return (closing, Ok(database));
            }
        }
    }

    /// Waits until the log of an earlier owner is in the database; says whether there was one.
    fn end_backfill(&mut self) -> bool {
        self.backfill.take().map(LogBackfill::wait).is_some()
    }

    /// Lets operations come, at most for so long, until so many wait.
    fn rest(&self, enough: usize, longest: Duration) {
        let until = Instant::now() + longest;
        while self.shared.waiting() < enough {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(NAP));
        }
    }

    /// Waits for one operation and takes all that wait behind it.
    fn gather(&self, batch: &mut Batch) -> Option<Closing> {
        let closing = self.take(batch);
        self.shared.taken(batch.len());
        closing
    }

    fn take(&self, batch: &mut Batch) -> Option<Closing> {
        let mut bytes = 0;
        let mut message = self.queue.recv().ok();
        loop {
            match message {
                Some(Message::Write(job)) => {
                    bytes += job.bytes();
                    batch.push(job);
                }
                Some(Message::Close(asked)) => return Some(Closing(asked)),
                None => return Some(Closing(None)),
            }
            if batch.len() >= BATCH || bytes >= BATCH_BYTES {
                return None;
            }
            message = match self.queue.try_recv() {
                Ok(message) => Some(message),
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Disconnected) => None,
            };
        }
    }

    /// What is written to files that no one finds again is not durable.
    fn whole(&self) -> Result<(), Failed> {
        let trouble = self.files.presence().trouble();
        trouble.map_or(Ok(()), |trouble| Err(Failed::Owner(StoreError::Unusable(trouble))))
    }

    /// Commits the batch and answers it; one by one where an operation of it cannot be done. On an error the batch
    /// holds what was not answered.
    fn carry(&self, database: &mut Database, batch: &mut Batch) -> Result<(), Failed> {
        if batch.is_empty() {
            return Ok(());
        }
        // A reader found damage: nothing is acknowledged from then on.
        if let Some(what) = self.shared.damage() {
            return Err(Failed::Damage(what.to_owned()));
        }
        // Before, since a commit hides that the log was cut.
        self.whole()?;
        match database.commit(batch) {
            Ok(()) => {
                self.whole()?;
                if let Some(delay) = self.settings.commit_delay {
                    std::thread::sleep(delay);
                }
                batch.drain(..).for_each(Job::answer);
                Ok(())
            }
            Err(Failed::Statement(error)) if batch.len() == 1 => {
                tracing::error!(%error, "an operation on the store failed");
                fail(batch, &error);
                Ok(())
            }
            Err(Failed::Statement(_)) => {
                let mut rest = std::mem::take(batch).into_iter();
                while let Some(job) = rest.next() {
                    batch.push(job);
                    if let Err(failed) = self.carry(database, batch) {
                        batch.extend(rest);
                        return Err(failed);
                    }
                }
                Ok(())
            }
            Err(failed) => Err(failed),
        }
    }

    /// Brings the log back into the database where it has grown beyond the limit. Gives the next limit.
    fn bound_log(&self, database: &Database, limit: u64) -> Result<u64, Failed> {
        let length = self.files.wal_bytes();
        if length <= limit {
            return Ok(limit);
        }
        if self.readers.shut_while(|| database.empty_log())? {
            self.files.presence().cut();
            return Ok(log::LONG);
        }
        tracing::warn!(length, "another program reads the database, its log cannot be cut");
        Ok(length + log::LONG)
    }

    /// Opens the store again, with growing pauses. Meanwhile everything answers with the error; without an owner to
    /// succeed, for good.
    fn recover(&self, owner: Option<&Owner>, error: &StoreError, pauses: &mut Pauses) -> Result<Database, Closing> {
        let mut told = None;
        pauses.begin();
        loop {
            self.refuse(owner.map(|_| Instant::now() + pauses.next()), error)?;
            let Some(owner) = owner else { continue };
            // No reader of ours is to hold on to the log that has failed.
            match self.readers.apart_while(|| Database::open(&self.files, &self.settings, Some(owner))) {
                Ok(database) => {
                    tracing::info!(generation = database.owner.generation, "store opened again");
                    self.shared.regain();
                    pauses.opened = Some(Instant::now());
                    return Ok(database);
                }
                // Told once, however often it is tried.
                Err(error) if told.as_ref() == Some(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "store cannot be opened again yet");
                    told = Some(error);
                }
            }
        }
    }

    /// Answers everything with the error until then.
    fn refuse(&self, until: Option<Instant>, error: &StoreError) -> Result<(), Closing> {
        loop {
            let message = match until {
                Some(until) => self.queue.recv_timeout(until.saturating_duration_since(Instant::now())),
                None => self.queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match message {
                Ok(Message::Write(job)) => {
                    self.shared.taken(1);
                    job.fail(error.clone());
                }
                Ok(Message::Close(asked)) => return Err(Closing(asked)),
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => return Err(Closing(None)),
            }
        }
    }
}

/// How long the store is left alone before it is opened again.
#[derive(Default)]
struct Pauses {
    last: Duration,
    opened: Option<Instant>,
}

impl Pauses {
    fn begin(&mut self) {
        if self.opened.is_none_or(|at| at.elapsed() > SOON) {
            self.last = Duration::ZERO;
        }
    }

    fn next(&mut self) -> Duration {
        self.last = (self.last * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        self.last
    }
}

fn damaged(files: &StoreFiles, what: &str) -> StoreError {
    paths::unusable(files.path(), &format!("it is damaged ({what}); restore a backup"))
}

fn fail(batch: &mut Batch, error: &StoreError) {
    batch.drain(..).for_each(|job| job.fail(error.clone()));
}

/// Ends the claim when the thread ends, also by a panic.
struct Claimed(Arc<Shared>);

impl Drop for Claimed {
    fn drop(&mut self) {
        self.0.lose();
    }
}
