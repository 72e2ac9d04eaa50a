//! Removing what is old: runs with everything that belongs to them, a few at a time, and audit entries.

use rusqlite::params;
use uuid::Uuid;

use super::database::Database;
use super::job::Fault;
use super::{requests, rows};
use crate::store::{Purge, Purged};
use crate::time::Timestamp;

/// At most so many audit entries are dropped in one transaction, so that none waits for it.
const ENTRIES: u32 = 256;

/// Removes a run with its journal and its messages.
pub(super) fn remove(db: &Database, run: Uuid) -> rusqlite::Result<()> {
    requests::keep_removed(db, run)?;
    for sql in
        ["DELETE FROM journal WHERE run = ?1", "DELETE FROM inbox WHERE run = ?1", "DELETE FROM runs WHERE id = ?1"]
    {
        db.connection.prepare_cached(sql)?.execute([run.as_bytes()])?;
    }
    Ok(())
}

/// Reads runs in the order of their creation, which an index has, and not of their ends, which would cost every run an
/// entry when it ends. None that was created later than the others had to end can be old enough.
pub(super) fn purge(db: &mut Database, purge: &Purge) -> Result<Purged, Fault> {
    let mut purged = Purged::default();
    let mut looked_at = 0;
    let mut facts = 0;
    let created_before = first_id(purge.ended_before);
    let workflows: Vec<i64> = db.workflows.up_to(&purge.workflow, u32::MAX).collect();
    let mut found: Vec<(Uuid, i64, u64, bool)> = Vec::new();
    for workflow in workflows {
        let mut statement = db.connection.prepare_cached(
            "SELECT id, ended_at, sequence, pinned FROM runs
             WHERE workflow = ?1 AND state = ?2 AND id > ?3 AND id < ?4 ORDER BY id LIMIT ?5",
        )?;
        let after = purge.after.map_or([0; 16], Uuid::into_bytes);
        let rows = statement.query_map(
            params![workflow, purge.state as u8, after, created_before.into_bytes(), purge.runs],
            |row| {
                Ok((
                    rows::uuid(row, 0)?,
                    row.get::<_, Option<i64>>(1)?.unwrap_or(i64::MAX),
                    rows::count(row, 2)?,
                    row.get(3)?,
                ))
            },
        )?;
        for row in rows {
            found.push(row?);
        }
    }
    found.sort_unstable();
    let all = found.len() < purge.runs as usize;
    for (run, ended_at, length, pinned) in found {
        if looked_at >= purge.runs || facts >= purge.facts {
            return Ok(purged);
        }
        looked_at += 1;
        purged.next = Some(run);
        if ended_at < purge.ended_before.as_micros() && !pinned {
            remove(db, run)?;
            purged.runs += 1;
            facts += length;
        }
    }
    if all {
        purged.next = None;
    }
    Ok(purged)
}

/// The smallest id of a run that was created then: ids begin with the time in milliseconds.
fn first_id(at: Timestamp) -> Uuid {
    let millis = u64::try_from(at.as_micros() / 1_000).unwrap_or(0);
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    Uuid::from_bytes(bytes)
}

/// Drops the oldest entries; they are in the order of their age.
pub(super) fn audit(db: &mut Database, before: &Timestamp) -> Result<u32, Fault> {
    let dropped = db
        .connection
        .prepare_cached(
            "DELETE FROM audit WHERE number IN (SELECT number FROM audit ORDER BY number LIMIT ?2) AND at < ?1",
        )?
        .execute((before.as_micros(), ENTRIES))?;
    Ok(u32::try_from(dropped).unwrap_or(u32::MAX))
}
