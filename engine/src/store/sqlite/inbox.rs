//! Inboxes: a message and the wish for it meet in one transaction, whichever comes first.

use bytes::Bytes;
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::database::Database;
use super::job::Fault;
use super::rows;
use crate::limits::{Limit, comes_near, warn_near};
use crate::state::State;
use crate::store::{Append, Command, Message, RunRow, Signal, StoreError};
use crate::time::Timestamp;

/// Messages of a run that it has not received, after the one of this number.
pub(super) struct Unread {
    pub(super) run: Uuid,
    pub(super) after: u64,
}

pub(super) fn unread(connection: &mut Connection, unread: &Unread) -> Result<Vec<Message>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT number, name, payload, received_at FROM inbox WHERE run = ?1 AND number > ?2 ORDER BY number",
    )?;
    let messages = statement.query_map(params![unread.run.as_bytes(), rows::number(unread.after)], |row| {
        Ok(Message {
            number: rows::count(row, 0)?,
            name: row.get(1)?,
            payload: Bytes::copy_from_slice(row.get_ref(2)?.as_blob()?),
            received_at: Timestamp::from_micros(row.get(3)?),
        })
    })?;
    Ok(messages.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn signal(db: &Database, command: &Command, row: &RunRow, signal: &Signal) -> Result<(), Fault> {
    let state = row.status.state;
    // One that goes to its end has no code that would receive it.
    if state.is_end() || row.status.ending_as.is_some() {
        return Err(StoreError::Precondition { run: row.id, state }.into());
    }
    let waiting: u32 = db
        .connection
        .prepare_cached("SELECT count(*) FROM inbox WHERE run = ?1 AND name <> ?2")?
        .query_row(params![row.id.as_bytes(), Message::CHILD_ENDED], |row| row.get(0))?;
    if waiting >= signal.room {
        return Err(StoreError::InboxFull { run: row.id, room: signal.room }.into());
    }
    put(db, row, &signal.name, &signal.payload, command.now)?;
    let (waiting, room) = (u64::from(waiting) + 1, u64::from(signal.room));
    if comes_near(waiting, room) {
        warn_near(row.id, &row.workflow, Limit::InboxMessages, waiting, room, &signal.name);
    }
    Ok(())
}

/// Adds a message. A run that waits for it and that no replica holds becomes due immediately.
pub(super) fn put(db: &Database, row: &RunRow, name: &str, payload: &Bytes, now: Timestamp) -> rusqlite::Result<()> {
    let number = rows::number(row.messages.saturating_add(1));
    db.connection
        .prepare_cached("INSERT INTO inbox (run, number, name, payload, received_at) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![row.id.as_bytes(), number, name, payload.as_ref(), now.as_micros()])?;
    let wakes = !row.owned && row.status.state != State::Paused && row.status.awaits.iter().any(|known| known == name);
    db.connection
        .prepare_cached(
            "UPDATE runs SET messages = ?2, updated_at = ?3,
                             wake_at = CASE WHEN ?4 THEN ?5 ELSE wake_at END,
                             due_at = CASE WHEN ?4 AND owner IS NULL THEN ?5 ELSE due_at END
             WHERE id = ?1",
        )?
        .execute(params![row.id.as_bytes(), number, db.now.as_micros(), wakes, now.as_micros()])?;
    Ok(())
}

/// Takes what an append has received out of its run's inbox.
pub(super) fn take(db: &Database, append: &Append) -> rusqlite::Result<()> {
    for number in &append.takes {
        db.connection
            .prepare_cached("DELETE FROM inbox WHERE run = ?1 AND number = ?2")?
            .execute(params![append.run.as_bytes(), rows::number(*number)])?;
    }
    Ok(())
}
