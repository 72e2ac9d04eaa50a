//! Brings the schema of a store to what this release needs: numbered files, applied once each, in one transaction.

use rusqlite::{Connection, TransactionBehavior};

use crate::store::StoreError;

/// Marks a database file as ours ("Gura" in ASCII).
pub(super) const APPLICATION_ID: i32 = 0x4775_7261;

/// File `n` of this list brings a store from version `n` to `n + 1`. Released files never change.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_runs.sql"),
    include_str!("migrations/0002_audit.sql"),
    include_str!("migrations/0003_inbox.sql"),
    include_str!("migrations/0004_children.sql"),
    include_str!("migrations/0005_pauses_and_pins.sql"),
    include_str!("migrations/0006_schedules.sql"),
    include_str!("migrations/0007_clocks_and_copies.sql"),
    include_str!("migrations/0008_requests.sql"),
    include_str!("migrations/0009_answers.sql"),
    include_str!("migrations/0010_audit_of_schedules.sql"),
    include_str!("migrations/0011_zone_database.sql"),
    include_str!("migrations/0012_origins_of_runs.sql"),
    include_str!("migrations/0013_times_of_backfills.sql"),
    include_str!("migrations/0014_moved.sql"),
    include_str!("migrations/0015_refusals.sql"),
    include_str!("migrations/0016_lists_of_runs.sql"),
];

/// The schema that this release reads and writes.
pub(super) const VERSION: usize = MIGRATIONS.len();

/// Applies what is missing. The caller holds the lock of the database; nothing is written to a newer or foreign one.
pub(super) fn apply(connection: &mut Connection) -> Result<(), StoreError> {
    let failed = |error: rusqlite::Error| StoreError::Unusable(format!("its schema cannot be brought up: {error}"));
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let application: i32 = pragma(&transaction, "application_id").map_err(failed)?;
    let version: i64 = pragma(&transaction, "user_version").map_err(failed)?;
    let tables: i64 =
        transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    let fresh = tables == 0 && application == 0 && version == 0;
    if !fresh {
        check(application, version)?;
    }
    let version = usize::try_from(version).unwrap_or_default();
    if version == VERSION {
        return Ok(());
    }
    for migration in &MIGRATIONS[version..] {
        transaction.execute_batch(migration).map_err(failed)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
    transaction.pragma_update(None, "user_version", i64::try_from(VERSION).unwrap_or(i64::MAX)).map_err(failed)?;
    transaction.commit().map_err(failed)?;
    tracing::info!(from = version, to = VERSION, "store schema brought up");
    Ok(())
}

/// Refuses a database that another program or a newer release made.
pub(super) fn check(application: i32, version: i64) -> Result<(), StoreError> {
    if application != APPLICATION_ID {
        return Err(StoreError::Unusable(format!(
            "it is a SQLite database of another program (application_id {application:#x}, expected {APPLICATION_ID:#x})"
        )));
    }
    if usize::try_from(version).is_ok_and(|version| version <= VERSION) {
        return Ok(());
    }
    Err(StoreError::Unusable(format!(
        "its schema has version {version}, made by a newer release; this one knows versions up to {VERSION}"
    )))
}

pub(super) fn pragma<T: rusqlite::types::FromSql>(connection: &Connection, name: &str) -> rusqlite::Result<T> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}
