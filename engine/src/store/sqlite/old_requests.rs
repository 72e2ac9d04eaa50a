//! Forgets request ids, and what is kept only for their answers, once the promised time is over.

use std::time::Duration;

use rusqlite::Connection;

use crate::time::Timestamp;

/// How long a request id is remembered: the promised 24 hours, and one more for clocks that are set back.
pub(super) const KEPT: Duration = Duration::from_hours(25);

/// How often old ones are looked for.
pub(super) const LOOK_EVERY: Duration = Duration::from_mins(1);

/// At most so many of each are dropped in one transaction, so that other operations do not wait for it.
const DROPPED_TOGETHER: u32 = 256;

/// Drops some that are old enough, oldest first; returns whether there may be more.
pub(super) fn drop_old(connection: &Connection, now: Timestamp) -> rusqlite::Result<bool> {
    let before = now.before(KEPT).as_micros();
    let mut more = false;
    for sql in [
        "DELETE FROM requests
         WHERE rowid IN (SELECT rowid FROM requests ORDER BY rowid LIMIT ?2) AND created_at < ?1",
        "DELETE FROM removed_runs
         WHERE rowid IN (SELECT rowid FROM removed_runs ORDER BY rowid LIMIT ?2) AND removed_at < ?1",
        "DELETE FROM removed_schedules
         WHERE rowid IN (SELECT rowid FROM removed_schedules ORDER BY rowid LIMIT ?2) AND removed_at < ?1",
        "DELETE FROM backfills
         WHERE id IN (SELECT id FROM backfills WHERE schedule = 0 ORDER BY created_at LIMIT ?2) AND ended_at < ?1",
    ] {
        let dropped = connection.prepare_cached(sql)?.execute((before, DROPPED_TOGETHER))?;
        more |= dropped == DROPPED_TOGETHER as usize;
    }
    Ok(more)
}
