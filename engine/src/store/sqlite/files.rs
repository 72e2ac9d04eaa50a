//! The files of a store, and what must be true before SQLite opens them.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::adoption;
use super::lock::Lock;
use super::paths::{beside, resolve, unusable};
use super::presence::Presence;
use super::{log, migrations};
use crate::store::StoreError;

/// Network file systems: their locks and their caches do not keep what SQLite's WAL needs (statfs magic numbers).
#[cfg(target_os = "linux")]
const NETWORK: &[(u64, &str)] = &[
    (0x6969, "NFS"),
    (0x517B, "SMB"),
    (0xFE53_4D42, "SMB2"),
    (0xFF53_4D42, "CIFS"),
    (0x0102_1997, "9p"),
    (0x5346_414F, "AFS"),
    (0x00C3_6400, "Ceph"),
];

/// How long a statement waits for another program that has the file locked.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of a database's header, up to and with its application id.
const HEADER: usize = 72;

/// A database file that this process has to itself.
#[derive(Debug)]
pub(super) struct StoreFiles {
    path: PathBuf,
    presence: Presence,
    /// What tells the file from its copies.
    mark: Vec<u8>,
    /// Released when dropped, after all connections are closed.
    _lock: Lock,
}

impl StoreFiles {
    /// Takes the files, or says why it cannot be a store. Writes nothing to a file that is not ours.
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        let path = resolve(path)?;
        refuse_network(&path)?;
        let lock = Lock::take(&path)?;
        refuse_foreign(&path, lock.file())?;
        let presence = Presence::new(&path, lock.id());
        let mark = adoption::mark_of(lock.file()).map_err(|error| unusable(&path, &error))?;
        Ok(Self { path, presence, mark, _lock: lock })
    }

    pub(super) fn mark(&self) -> &[u8] {
        &self.mark
    }

    /// Looks whether the files are still in their place.
    pub(super) fn presence(&self) -> &Presence {
        &self.presence
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn log(&self) -> PathBuf {
        beside(&self.path, "-wal")
    }

    /// Length of the write-ahead log; zero where there is none.
    pub(super) fn wal_bytes(&self) -> u64 {
        std::fs::metadata(self.log()).map_or(0, |file| file.len())
    }

    /// Makes sure that what an earlier owner left in the log is on the disk. Before SQLite opens the database.
    pub(super) fn renew_log(&self) -> Result<(), StoreError> {
        log::renew_last_commit(&self.log()).map_err(|error| unusable(&self.path, &format!("its log: {error}")))
    }

    /// Copies the log into the database, as far as no one who reads stands in the way, while others write.
    pub(super) fn backfill(&self) -> rusqlite::Result<()> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
    }

    /// The connection that writes, with the schema this release needs. It leaves the log as it is until it is told
    /// otherwise. Where it `refuses_copies`, nothing is written to one.
    pub(super) fn writer(&self, refuses_copies: bool) -> Result<Connection, StoreError> {
        let failed = |error: rusqlite::Error| unusable(&self.path, &error);
        // Taking the files made the database. Where it is gone now, a new one would be another store.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&self.path, flags).map_err(failed)?;
        // Until the file is known to be ours, closing it must not move its log into it.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
        connection.busy_timeout(PATIENCE).map_err(failed)?;
        let named = |error: StoreError| match error {
            StoreError::Unusable(why) => unusable(&self.path, &why),
            other => other,
        };
        if refuses_copies {
            adoption::refuse_copy(&connection, &self.mark).map_err(named)?;
        }
        migrations::apply(&mut connection).map_err(named)?;
        let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(failed)?;
        if mode != "wal" {
            return Err(unusable(&self.path, &format!("it cannot have a write-ahead log (journal mode {mode})")));
        }
        // What is deleted is written over, since it may be about a person.
        // No mmap: an I/O error on mapped pages would be a signal instead of an answer.
        connection
            .execute_batch(
                "PRAGMA synchronous = FULL;
                 PRAGMA wal_autocheckpoint = 0;
                 PRAGMA secure_delete = ON;
                 PRAGMA cache_size = -16384;",
            )
            .map_err(failed)?;
        settle(&connection).map_err(failed)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(failed)?;
        Ok(connection)
    }

    /// A connection that only reads.
    pub(super) fn reader(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(PATIENCE)?;
        connection.execute_batch("PRAGMA cache_size = -2048;")?;
        settle(&connection)?;
        Ok(connection)
    }
}

/// A connection to a store that another process may own: it reads, takes no lock of ours, and makes nothing.
pub(super) fn visit(path: &Path) -> Result<Connection, StoreError> {
    let failed = |error: rusqlite::Error| unusable(path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(PATIENCE).map_err(failed)?;
    let application = migrations::pragma(&connection, "application_id").map_err(failed)?;
    let version = migrations::pragma(&connection, "user_version").map_err(failed)?;
    migrations::check(application, version).map_err(|error| match error {
        StoreError::Unusable(why) => unusable(path, &why),
        other => other,
    })?;
    Ok(connection)
}

/// Moves the whole log into the database and cuts it; says whether that was possible. Waits for no one: who reads
/// meanwhile is another program, and it may read for long.
pub(super) fn empty_log(connection: &Connection) -> rusqlite::Result<bool> {
    connection.busy_timeout(Duration::ZERO)?;
    let busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    connection.busy_timeout(PATIENCE)?;
    Ok(!busy)
}

/// Lets every commit that finds the log this long move it into the database, as far as readers allow.
pub(super) fn checkpoint_by_itself(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("PRAGMA wal_autocheckpoint = 3000;")
}

/// Settings that all connections share, the one in memory too.
pub(super) fn settle(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(64);
    // Without the planner's stability guarantee a statement may be planned again each time its parameters are bound.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.execute_batch("PRAGMA foreign_keys = OFF; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;")
}

/// Looks at the header without SQLite, which could change a foreign file by opening it.
fn refuse_foreign(path: &Path, mut file: &File) -> Result<(), StoreError> {
    let mut header = [0; HEADER];
    let length = file.metadata().map_err(|error| unusable(path, &error))?.len();
    if length == 0 {
        return Ok(());
    }
    let whole = file.read_exact(&mut header).is_ok();
    if !whole || !header.starts_with(b"SQLite format 3\0") {
        return Err(unusable(path, &"it is not a SQLite database"));
    }
    let number = |at: usize| i32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    migrations::check(number(68), i64::from(number(60))).map_err(|error| match error {
        StoreError::Unusable(why) => unusable(path, &why),
        other => other,
    })
}

#[cfg(target_os = "linux")]
fn refuse_network(path: &Path) -> Result<(), StoreError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let system = rustix::fs::statfs(folder).map_err(|error| unusable(path, &error))?;
    // The type of the number differs by platform; all its magic is in the low half.
    let magic = system.f_type as u64 & 0xFFFF_FFFF;
    match NETWORK.iter().find(|(number, _)| *number == magic) {
        Some((_, name)) => Err(unusable(
            path,
            &format!("it lies on a network file system ({name}), where SQLite cannot be kept safe; use a local disk"),
        )),
        None => Ok(()),
    }
}

#[cfg(not(target_os = "linux"))]
fn refuse_network(_: &Path) -> Result<(), StoreError> {
    Ok(())
}
