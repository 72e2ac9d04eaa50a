//! Removing what is old: runs with everything that belongs to them, a few at a time, and audit entries.

use engine::store::{Purge, Purged};
use engine::time::Timestamp;
use uuid::Uuid;

use crate::session::{Fault, Session, params};
use crate::{requests, rows};

/// At most so many audit entries are dropped in one transaction, so that none waits for it.
const ENTRIES: i64 = 256;

/// Removes ended runs with their journals and their messages.
pub(crate) async fn remove(session: &Session<'_>, runs: &[Uuid]) -> Result<(), Fault> {
    requests::keep_removed(session, runs).await?;
    for statement in [
        "DELETE FROM journal WHERE run = ANY($1)",
        "DELETE FROM inbox WHERE run = ANY($1)",
        "DELETE FROM restored_runs WHERE run = ANY($1)",
        "DELETE FROM ended WHERE id = ANY($1)",
    ] {
        session.execute(statement, params![runs.to_vec()]).await?;
    }
    Ok(())
}

/// Reads runs in the order of their creation, which an index has, and not of their ends. None that was created later than the
/// others had to end can be old enough.
pub(crate) async fn purge(session: &Session<'_>, purge: &Purge) -> Result<Purged, Fault> {
    let found = session
        .rows(
            "SELECT ended.id, ended.ended_at, ended.sequence, ended.pinned
             FROM workflows, LATERAL (
                 SELECT * FROM ended
                 WHERE ended.workflow = workflows.id AND ended.state = $2 AND ended.id > $3 AND ended.id < $4
                 ORDER BY ended.id LIMIT $5) AS ended
             WHERE workflows.name = $1 ORDER BY ended.id LIMIT $5",
            params![
                purge.workflow,
                rows::of_state(purge.state),
                purge.after.unwrap_or_default(),
                first_id(purge.ended_before),
                i64::from(purge.runs)
            ],
        )
        .await?;
    let all = found.len() < purge.runs as usize;
    let (mut purged, mut facts, mut removed) = (Purged::default(), 0, Vec::new());
    for row in &found {
        if facts >= purge.facts {
            break;
        }
        let run: Uuid = row.try_get(0)?;
        purged.next = Some(run);
        let ended_at = rows::time(row, 1)?;
        if ended_at.is_some_and(|at| at < purge.ended_before) && !row.try_get::<_, bool>(3)? {
            removed.push(run);
            facts += rows::count(row, 2)?;
        }
    }
    if all && found.last().map(|row| row.try_get(0)).transpose()? == purged.next {
        purged.next = None;
    }
    remove(session, &removed).await?;
    purged.runs = u32::try_from(removed.len()).unwrap_or(u32::MAX);
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
pub(crate) async fn audit(session: &Session<'_>, before: &Timestamp) -> Result<u32, Fault> {
    let dropped = session
        .execute(
            "DELETE FROM audit WHERE number IN (SELECT number FROM audit ORDER BY number LIMIT $2) AND at < $1",
            params![before.as_micros(), ENTRIES],
        )
        .await?;
    Ok(u32::try_from(dropped).unwrap_or(u32::MAX))
}
