//! The connection that writes, who it writes for, and the transaction that carries many operations.

use std::time::Duration;

use rusqlite::{Connection, ErrorCode};
use uuid::Uuid;

use super::adoption::{self, Adoption};
use super::files::{self, StoreFiles};
use super::job::Job;
use super::log;
use super::old_requests;
use super::paths;
use super::set_back;
use super::workflows::Workflows;
use crate::store::StoreError;
use crate::time::{Clock, Timestamp};

/// What operations work on.
pub(super) struct Database {
    pub(super) connection: Connection,
    pub(super) workflows: Workflows,
    /// The time of the transaction that is open.
    pub(super) now: Timestamp,
    pub(super) owner: Owner,
    /// Where the store is a copy that was adopted.
    pub(super) adoption: Option<Adoption>,
    /// When the time was written down last.
    seen_at: Timestamp,
    settings: Settings,
    leaves_log: bool,
    requests_looked_at: Timestamp,
}

/// What stays the same from one opening of a store to the next.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) clock: Clock,
    pub(super) commit_delay: Option<Duration>,
    /// Whether the store may be a copy, whose original has continued.
    pub(super) adopt: bool,
    /// Drawn once: all openings by this handle have it in common.
    pub(super) process: Uuid,
    #[cfg(any(test, feature = "testing"))]
    pub(super) faults: super::faults::Faults,
}

impl Settings {
    /// Of a process that opens a store once, and is no orchestrator.
    pub(super) fn of_one_opening(clock: Clock) -> Self {
        Self {
            clock,
            commit_delay: None,
            adopt: false,
            process: Uuid::new_v4(),
            #[cfg(any(test, feature = "testing"))]
            faults: super::faults::Faults::default(),
        }
    }
}

/// One opening of a store (semantics.md D1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    store: [u8; 16],
    /// Grows with every opening: runs held under a smaller number are held by no one.
    pub(super) generation: i64,
    /// Drawn by the process: a copy that is opened elsewhere under the same number is told apart.
    process: [u8; 16],
}

/// Why a transaction was not committed.
#[derive(Debug)]
pub(super) enum Failed {
    /// One statement failed, and the disk is not to blame: its neighbours would go through without it.
    Statement(StoreError),
    /// Whether the transaction stands is unknown; the connection is not to be used again (semantics.md D2).
    Connection(StoreError),
    /// The store has another owner. Nothing was written, and nothing ever will be from here.
    Owner(StoreError),
    /// Something of the database is damaged.
    Damage(String),
}

impl Database {
    /// Opens the store that lies there and makes this opening its owner; with `expected`, only where the owner before
    /// it was of this process.
    ///
    /// What a stranger left in a long log stays there, see [`Database::leaves_log`].
    pub(super) fn open(files: &StoreFiles, settings: &Settings, expected: Option<&Owner>) -> Result<Self, StoreError> {
        let leaves_log = expected.is_none() && files.wal_bytes() > log::LONG;
        if leaves_log {
            files.renew_log()?;
        }
        if let Some(trouble) = files.presence().trouble() {
            return Err(StoreError::Unusable(trouble));
        }
        // Only the first opening adopts.
        let first = expected.is_none();
        let writer = files.writer(first && !settings.adopt)?;
        let opened =
            Self::own(writer, settings, expected, Some(files.mark()), leaves_log).map_err(|error| match error {
                StoreError::Unusable(why) => paths::unusable(files.path(), &why),
                other => other,
            })?;
        files.presence().opened();
        Ok(opened)
    }

    /// A new database in memory.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn in_memory(settings: &Settings) -> Result<Self, StoreError> {
        let mut connection = Connection::open_in_memory().map_err(unusable)?;
        files::settle(&connection).map_err(unusable)?;
        super::migrations::apply(&mut connection)?;
        Self::own(connection, settings, None, None, false)
    }

    fn own(
        connection: Connection,
        settings: &Settings,
        expected: Option<&Owner>,
        mark: Option<&[u8]>,
        leaves_log: bool,
    ) -> Result<Self, StoreError> {
        if let Some(expected) = expected {
            // The generation may be one that this process drew without learning that it was written.
            let found = stored_owner(&connection).map_err(unusable)?;
            if (found.store, found.process) != (expected.store, expected.process) {
                return Err(StoreError::Unusable("it was replaced, or has another owner by now".to_owned()));
            }
        }
        // Nothing is built on a log that an earlier owner left and that was not renewed: after a failed fsync it may be
        // readable and yet not on the disk. Where this process knows of no failure, what another program reads may stay.
        if !leaves_log {
            if !files::empty_log(&connection).map_err(unusable)? && expected.is_some() {
                return Err(StoreError::Unusable("another program reads it, its log cannot be emptied".to_owned()));
            }
            files::checkpoint_by_itself(&connection).map_err(unusable)?;
        }
        let settings = settings.clone();
        let now = settings.clock.now();
        let adopts = settings.adopt && expected.is_none();
        let owner = succeed(&connection, &settings, mark, adopts).map_err(unusable)?;
        let workflows = Workflows::load(&connection).map_err(unusable)?;
        let adoption = adoption::adoption(&connection).map_err(unusable)?;
        let (seen_at, requests_looked_at) = (now, Timestamp::default());
        Ok(Self { connection, workflows, now, owner, adoption, seen_at, settings, leaves_log, requests_looked_at })
    }

    /// Whether there is a long log that somebody else is to move into the database; until
    /// [`Database::checkpoint_by_itself`] no commit does.
    pub(super) fn leaves_log(&self) -> bool {
        self.leaves_log
    }

    /// From now on commits keep the log short.
    pub(super) fn checkpoint_by_itself(&self) -> Result<(), Failed> {
        files::checkpoint_by_itself(&self.connection).map_err(connection_failed)
    }

    /// The next owner is a process with another clock, and other wishes.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn change_process(&mut self, clock: Option<Clock>, adopt: bool) {
        if let Some(clock) = clock {
            self.settings.clock = clock;
        }
        self.settings.adopt = adopt;
    }

    /// The same database under a new owner, as after a crash. A transaction that is open is taken back.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn change_owner(&mut self) -> Result<(), StoreError> {
        if !self.connection.is_autocommit() {
            self.statement("ROLLBACK").map_err(unusable)?;
        }
        self.owner = succeed(&self.connection, &self.settings, None, self.settings.adopt).map_err(unusable)?;
        self.adoption = adoption::adoption(&self.connection).map_err(unusable)?;
        self.seen_at = self.settings.clock.now();
        self.workflows = Workflows::load(&self.connection).map_err(unusable)?;
        Ok(())
    }

    /// Cuts the log, if no other program reads it; no read of ours may continue meanwhile.
    pub(super) fn empty_log(&self) -> Result<bool, Failed> {
        files::empty_log(&self.connection).map_err(connection_failed)
    }

    /// Runs the jobs in one transaction, in order. On failure none of them is done, as far as one can know.
    pub(super) fn commit(&mut self, jobs: &mut [Box<dyn Job<Self>>]) -> Result<(), Failed> {
        self.now = self.settings.clock.now();
        self.statement("BEGIN IMMEDIATE").map_err(connection_failed)?;
        if let Err(failed) = self.work(jobs) {
            self.workflows.forget();
            // SQLite may have rolled back already; what cannot be rolled back is not used again.
            let rolled_back = self.connection.is_autocommit() || self.statement("ROLLBACK").is_ok();
            return Err(match failed {
                Failed::Statement(error) if !rolled_back => Failed::Connection(error),
                failed => failed,
            });
        }
        self.workflows.keep();
        #[cfg(any(test, feature = "testing"))]
        if let Some(why) = self.settings.faults.before_commit() {
            return Err(Failed::Connection(StoreError::Unavailable(why)));
        }
        self.statement("COMMIT").map_err(connection_failed)?;
        #[cfg(any(test, feature = "testing"))]
        if let Some(why) = self.settings.faults.after_commit() {
            return Err(Failed::Connection(StoreError::Unavailable(why)));
        }
        Ok(())
    }

    fn work(&mut self, jobs: &mut [Box<dyn Job<Self>>]) -> Result<(), Failed> {
        let stored = stored_owner(&self.connection).map_err(connection_failed)?;
        if stored != self.owner {
            return Err(Failed::Owner(StoreError::Unusable(format!(
                "it has another owner by now (generation {}, this one is {})",
                stored.generation, self.owner.generation
            ))));
        }
        for job in jobs {
            job.run(self).map_err(statement_failed)?;
        }
        if self.now.since(self.seen_at) >= set_back::SEEN_EVERY {
            let seen = self.connection.prepare_cached("UPDATE store SET seen_at = ?1").map_err(statement_failed);
            seen?.execute([self.now.as_micros()]).map_err(statement_failed)?;
            self.seen_at = self.now;
        }
        if self.now.since(self.requests_looked_at) >= old_requests::LOOK_EVERY {
            let more = old_requests::drop_old(&self.connection, self.now).map_err(statement_failed)?;
            if !more {
                self.requests_looked_at = self.now;
            }
        }
        Ok(())
    }

    fn statement(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([]).map(drop)
    }
}

fn unusable(error: rusqlite::Error) -> StoreError {
    StoreError::Unusable(error.to_string())
}

/// Writes the next owner down, and what it finds different from what the one before it knew.
fn succeed(connection: &Connection, settings: &Settings, mark: Option<&[u8]>, adopts: bool) -> rusqlite::Result<Owner> {
    let now = settings.clock.now();
    let transaction = connection.unchecked_transaction()?;
    let owner = transaction.query_row(
        "INSERT INTO store (one, id, created_at, generation, owner, file) VALUES (1, ?1, ?2, 1, ?3, ?4)
         ON CONFLICT (one) DO UPDATE SET generation = generation + 1, owner = excluded.owner, file = excluded.file
         RETURNING id, generation, owner",
        (Uuid::new_v4().as_bytes(), now.as_micros(), settings.process.as_bytes(), mark),
        owner,
    )?;
    if adopts {
        adoption::adopt(&transaction, now)?;
    }
    set_back::take_back(&transaction, now)?;
    transaction.execute("UPDATE store SET seen_at = ?1", [now.as_micros()])?;
    transaction.commit()?;
    Ok(owner)
}

fn stored_owner(connection: &Connection) -> rusqlite::Result<Owner> {
    connection.prepare_cached("SELECT id, generation, owner FROM store")?.query_row([], owner)
}

fn owner(row: &rusqlite::Row<'_>) -> rusqlite::Result<Owner> {
    Ok(Owner { store: row.get(0)?, generation: row.get(1)?, process: row.get(2)? })
}

fn connection_failed(error: rusqlite::Error) -> Failed {
    if is_damage(&error) {
        return Failed::Damage(error.to_string());
    }
    Failed::Connection(StoreError::Unavailable(error.to_string()))
}

/// Whether this says that the file is not what SQLite wrote: opening it again does not mend that.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Tells a statement that cannot be done from a disk that cannot be written.
fn statement_failed(error: rusqlite::Error) -> Failed {
    let code = error.sqlite_error_code();
    let harmless = [ErrorCode::ConstraintViolation, ErrorCode::TypeMismatch, ErrorCode::TooBig];
    match code {
        Some(code) if !harmless.contains(&code) => connection_failed(error),
        _ => Failed::Statement(StoreError::Unavailable(error.to_string())),
    }
}
