//! Request ids: what makes a repeated request of the API the same request (semantics.md D4).

use std::time::Duration;

use rusqlite::{OptionalExtension, params};
use uuid::Uuid;

use super::database::Database;
use super::job::Fault;
use super::rows;
use crate::store::{RequestKey, StoreError};

/// How long a request id is remembered: the promised 24 hours, and one more for clocks that are set back.
const KEPT: Duration = Duration::from_hours(25);

/// How often old ones are looked for.
pub(super) const LOOK_EVERY: Duration = Duration::from_mins(1);

/// At most so many are dropped in one transaction, so that none waits for it.
const DROPPED_AT_ONCE: u32 = 256;

/// The run of an earlier request under this id. The id of another request is refused.
pub(super) fn find(db: &Database, key: &RequestKey) -> Result<Option<Uuid>, Fault> {
    let found = db
        .connection
        .prepare_cached("SELECT hash, run FROM requests WHERE id = ?1 AND caller = ?2 AND method = ?3")?
        .query_row(params![key.id.as_bytes(), key.caller, key.method], |row| {
            Ok((row.get::<_, [u8; 32]>(0)?, rows::uuid(row, 1)?))
        })
        .optional()?;
    match found {
        Some((hash, _)) if hash != key.hash => Err(StoreError::RequestMismatch(key.id).into()),
        found => Ok(found.map(|(_, run)| run)),
    }
}

/// Remembers a request. It must not be there yet.
pub(super) fn keep(db: &Database, key: &RequestKey, run: Uuid) -> rusqlite::Result<()> {
    db.connection
        .prepare_cached(
            "INSERT INTO requests (caller, method, id, hash, run, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![key.caller, key.method, key.id.as_bytes(), key.hash, run.as_bytes(), db.now.as_micros()])
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
