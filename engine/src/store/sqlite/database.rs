//! The connection that writes, who it writes for, and the transaction that carries many operations.

use std::time::Duration;

use rusqlite::{Connection, ErrorCode};
use uuid::Uuid;

use super::job::Job;
use super::log;
use super::place::{self, Place};
use super::requests;
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
    settings: Settings,
    leaves_log: bool,
    requests_looked_at: Timestamp,
}

/// What stays the same from one opening of a store to the next.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) clock: Clock,
    pub(super) commit_delay: Option<Duration>,
    /// Drawn once: all openings by this handle have it in common.
    pub(super) process: Uuid,
    #[cfg(any(test, feature = "testing"))]
    pub(super) faults: super::faults::Faults,
}

/// One opening of a store (semantics.md D1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    store: [u8; 16],
    /// Grows with every opening: runs held under a smaller number are held by nobody.
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
}

impl Database {
    /// Opens the store that lies there and makes this opening its owner; with `expected`, only where the owner before
    /// it was of this process.
    ///
    /// What a stranger left in a long log stays there, see [`Database::leaves_log`].
    pub(super) fn open(place: &Place, settings: &Settings, expected: Option<&Owner>) -> Result<Self, StoreError> {
        let leaves_log = expected.is_none() && place.wal_bytes() > log::LONG;
        if leaves_log {
            place.renew_log()?;
        }
        Self::own(place.writer()?, settings, expected, leaves_log).map_err(|error| match error {
            StoreError::Unusable(why) => place::unusable(place.path(), &why),
            other => other,
        })
    }

    /// A new database in memory.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn in_memory(settings: &Settings) -> Result<Self, StoreError> {
        let mut connection = Connection::open_in_memory().map_err(unusable)?;
        place::settle(&connection).map_err(unusable)?;
        super::migrations::apply(&mut connection)?;
        Self::own(connection, settings, None, false)
    }

    fn own(
        connection: Connection,
        settings: &Settings,
        expected: Option<&Owner>,
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
            if !place::empty_log(&connection).map_err(unusable)? && expected.is_some() {
                return Err(StoreError::Unusable("another program reads it, its log cannot be emptied".to_owned()));
            }
            place::checkpoint_by_itself(&connection).map_err(unusable)?;
        }
        let settings = settings.clone();
        let now = settings.clock.now();
        let owner = succeed(&connection, &settings).map_err(unusable)?;
        let workflows = Workflows::load(&connection).map_err(unusable)?;
        Ok(Self { connection, workflows, now, owner, settings, leaves_log, requests_looked_at: Timestamp::default() })
    }

    /// Whether there is a long log that somebody else is to move into the database; until
    /// [`Database::checkpoint_by_itself`] no commit does.
    pub(super) fn leaves_log(&self) -> bool {
        self.leaves_log
    }

    /// From now on commits keep the log short.
    pub(super) fn checkpoint_by_itself(&self) -> Result<(), Failed> {
        place::checkpoint_by_itself(&self.connection).map_err(connection_failed)
    }

    /// The next owner is a process with another clock.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn change_clock(&mut self, clock: Clock) {
        self.settings.clock = clock;
    }

    /// The same database under a new owner, as after a crash. A transaction that is open is taken back.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn change_owner(&mut self) -> Result<(), StoreError> {
        if !self.connection.is_autocommit() {
            self.statement("ROLLBACK").map_err(unusable)?;
        }
        self.owner = succeed(&self.connection, &self.settings).map_err(unusable)?;
        self.workflows = Workflows::load(&self.connection).map_err(unusable)?;
        Ok(())
    }

    /// Cuts the log, if no other program reads it; no read of ours may go on meanwhile.
    pub(super) fn empty_log(&self) -> Result<bool, Failed> {
        place::empty_log(&self.connection).map_err(connection_failed)
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
        if self.now.since(self.requests_looked_at) >= requests::LOOK_EVERY {
            let more = requests::drop_old(self).map_err(statement_failed)?;
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

/// Writes the next owner down.
fn succeed(connection: &Connection, settings: &Settings) -> rusqlite::Result<Owner> {
    connection.query_row(
        "INSERT INTO store (one, id, created_at, generation, owner) VALUES (1, ?1, ?2, 1, ?3)
         ON CONFLICT (one) DO UPDATE SET generation = generation + 1, owner = excluded.owner
         RETURNING id, generation, owner",
        (Uuid::new_v4().as_bytes(), settings.clock.now().as_micros(), settings.process.as_bytes()),
        owner,
    )
}

fn stored_owner(connection: &Connection) -> rusqlite::Result<Owner> {
    connection.prepare_cached("SELECT id, generation, owner FROM store")?.query_row([], owner)
}

fn owner(row: &rusqlite::Row<'_>) -> rusqlite::Result<Owner> {
    Ok(Owner { store: row.get(0)?, generation: row.get(1)?, process: row.get(2)? })
}

fn connection_failed(error: rusqlite::Error) -> Failed {
    Failed::Connection(StoreError::Unavailable(error.to_string()))
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
