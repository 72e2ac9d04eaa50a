//! The store in memory, for tests under virtual time: the same operations, done when they are called.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use rusqlite::Connection;

use super::database::{Database, Failed, Settings};
use super::faults::{CommitFault, Faults};
use super::job::{Operation, job};
use super::shared::{Shared, lock};
use crate::store::{Answer, StoreError};
use crate::time::Clock;

/// A closed handle owns nothing; generations start at 1.
const CLOSED: i64 = 0;

/// One owner of a database in memory. No thread and no waiting, so that a paused clock stands still meanwhile.
pub(super) struct Inline {
    database: Arc<Mutex<Database>>,
    faults: Faults,
    generation: AtomicI64,
    pub(super) shared: Shared,
}

impl Inline {
    pub(super) fn new(settings: &Settings) -> Result<Self, StoreError> {
        let database = Database::in_memory(settings)?;
        let generation = AtomicI64::new(database.owner.generation);
        let database = Arc::new(Mutex::new(database));
        Ok(Self { database, faults: settings.faults.clone(), generation, shared: Shared::new() })
    }

    /// The same database in the hands of another owner. This one is dead from now on.
    pub(super) fn succeed(&self, clock: Clock, adopt: bool) -> Result<Self, StoreError> {
        let generation = {
            let mut database = lock(&self.database);
            database.change_process(Some(clock), adopt);
            database.change_owner()?;
            database.change_process(None, false);
            database.owner.generation
        };
        self.shared.lose();
        Ok(Self {
            database: self.database.clone(),
            faults: self.faults.clone(),
            generation: AtomicI64::new(generation),
            shared: Shared::new(),
        })
    }

    pub(super) fn fail_next_commit(&self, fault: CommitFault) {
        self.faults.inject(fault);
    }

    pub(super) fn write<I, O>(&self, input: I, operation: Operation<Database, I, O>) -> Answer<O>
    where
        I: Send + 'static,
        O: Send + 'static,
    {
        let (job, answer) = job(input, 0, operation);
        let mut database = lock(&self.database);
        if !self.owns(&database) {
            return answer;
        }
        let mut jobs = [job];
        let done = database.commit(&mut jobs);
        let [job] = jobs;
        match done {
            Ok(()) => job.answer(),
            Err(Failed::Statement(error) | Failed::Owner(error)) => job.fail(error),
            Err(Failed::Damage(what)) => {
                self.shared.damaged(&what);
                job.fail(StoreError::Unusable(what));
            }
            Err(Failed::Connection(error)) => {
                self.shared.lose();
                job.fail(error);
                if database.change_owner().is_ok() {
                    self.generation.store(database.owner.generation, Ordering::SeqCst);
                    self.shared.regain();
                }
            }
        }
        answer
    }

    pub(super) fn read<I, O>(&self, input: I, operation: Operation<Connection, I, O>) -> Answer<O>
    where
        I: Send + 'static,
        O: Send + 'static,
    {
        let (mut job, answer) = job(input, 0, operation);
        let mut database = lock(&self.database);
        if !self.owns(&database) {
            return answer;
        }
        match job.run(&mut database.connection) {
            Ok(()) => job.answer(),
            Err(error) => job.fail(StoreError::Unavailable(error.to_string())),
        }
        answer
    }

    pub(super) fn close(&self) {
        self.shared.lose();
        self.generation.store(CLOSED, Ordering::SeqCst);
    }

    fn owns(&self, database: &Database) -> bool {
        database.owner.generation == self.generation.load(Ordering::SeqCst)
    }
}
