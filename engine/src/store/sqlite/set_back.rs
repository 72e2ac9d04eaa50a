//! A clock that was set back while the store had no owner (semantics.md C1): what waits is due after the length of its pause, as
//! if that had begun now.

use rusqlite::{Connection, params};

use crate::time::Timestamp;

/// Commits write down the time this often, so that the next owner knows of a clock that is behind it.
pub(super) const SEEN_EVERY: std::time::Duration = std::time::Duration::from_secs(10);

/// Moves what waits, where the last owner's clock was ahead of this one.
pub(super) fn take_back(connection: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    let seen_at: i64 = connection.query_row("SELECT seen_at FROM store", [], |row| row.get(0))?;
    if seen_at <= now.as_micros() {
        return Ok(());
    }
    // The deadline is moved with the times of the journal, since all were written by the same clock.
    let runs = connection.execute(
        "UPDATE runs SET set_back_before = sequence, set_back_by = coalesce(set_back_by, 0) + (updated_at - ?1),
                         set_back_to = ?1, deadline = deadline - (updated_at - ?1),
                         due_at = CASE WHEN due_at > ?1 THEN max(?1, due_at - (updated_at - ?1)) ELSE due_at END,
                         wake_at = CASE WHEN wake_at > ?1 THEN max(?1, wake_at - (updated_at - ?1)) ELSE wake_at END,
                         paused_at = CASE WHEN paused_at > ?1 THEN ?1 ELSE paused_at END,
                         updated_at = ?1
         WHERE ended_at IS NULL AND updated_at > ?1",
        params![now.as_micros()],
    )?;
    let ahead = Timestamp::from_micros(seen_at).since(now);
    tracing::warn!(
        ?ahead, %now, runs,
        "the wall clock was set back since the store was last open: pauses are over after their length, and calls that were \
         started in what is the future now count as beyond the time for which their key is remembered"
    );
    Ok(())
}
