//! Request ids: what makes a repeated request of the API the same request (semantics.md D4).

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::database::Database;
use super::job::Fault;
use super::rows;
use crate::store::{Change, StoreError};

/// How long a request id is remembered: the promised 24 hours, and one more for clocks that are set back.
const KEPT: Duration = Duration::from_hours(25);

/// How often old ones are looked for.
pub(super) const LOOK_EVERY: Duration = Duration::from_mins(1);

/// At most so many are dropped in one transaction, so that none waits for it.
const DROPPED_AT_ONCE: u32 = 256;

/// The run of an earlier request under this id. The id of another request is refused.
pub(super) fn find(connection: &Connection, change: &Change) -> Result<Option<Uuid>, Fault> {
    let Some(key) = &change.asked.request else { return Ok(None) };
    let found = connection
        .prepare_cached("SELECT hash, run FROM requests WHERE id = ?1 AND caller = ?2 AND method = ?3")?
        .query_row(params![key.id.as_bytes(), change.asked.caller, change.action], |row| {
            Ok((row.get::<_, [u8; 32]>(0)?, rows::uuid(row, 1)?))
        })
        .optional()?;
    match found {
        Some((hash, _)) if hash != key.hash => Err(StoreError::RequestMismatch(key.id).into()),
        found => Ok(found.map(|(_, run)| run)),
    }
}

/// The same for a reader.
pub(super) fn answered(connection: &mut Connection, change: &Change) -> Result<Option<Uuid>, Fault> {
    find(connection, change)
}

/// Remembers a request. Of two that came at once the first is kept: only one of them found the run as it was.
pub(super) fn keep(db: &Database, change: &Change, run: Uuid) -> rusqlite::Result<()> {
    let Some(key) = &change.asked.request else { return Ok(()) };
    db.connection
        .prepare_cached(
            "INSERT INTO requests (caller, method, id, hash, run, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            change.asked.caller,
            change.action,
            key.id.as_bytes(),
            key.hash,
            run.as_bytes(),
            db.now.as_micros()
        ])
        .map(drop)
}

/// Drops some that are old enough, oldest first; says whether there may be more.
pub(super) fn drop_old(db: &Database) -> rusqlite::Result<bool> {
    let kept = i64::try_from(KEPT.as_micros()).unwrap_or(i64::MAX);
    let dropped = db
        .connection
        .prepare_cached(
            "DELETE FROM requests
             WHERE rowid IN (SELECT rowid FROM requests ORDER BY rowid LIMIT ?2) AND created_at < ?1",
        )?
        .execute((db.now.as_micros().saturating_sub(kept), DROPPED_AT_ONCE))?;
    Ok(dropped == DROPPED_AT_ONCE as usize)
}
