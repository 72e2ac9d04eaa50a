//! Inboxes: a message and the wish for it meet in one transaction, whichever comes first.

use bytes::Bytes;
use engine::state::State;
use engine::store::support::warn_of_inbox;
use engine::store::{Append, Command, Message, RunRow, Signal, StoreError};
use engine::time::Timestamp;
use uuid::Uuid;

use crate::rows;
use crate::session::{Fault, Session, params};

/// The messages of a run that it has not received, after the one of this number.
pub(crate) async fn unread(session: &Session<'_>, (run, after): &(Uuid, u64)) -> Result<Vec<Message>, Fault> {
    let found = session
        .rows(
            "SELECT number, name, payload, received_at FROM inbox WHERE run = $1 AND number > $2 ORDER BY number",
            params![run, rows::number(*after)],
        )
        .await?;
    let message = |row: &tokio_postgres::Row| {
        Ok(Message {
            number: rows::count(row, 0)?,
            name: row.try_get(1)?,
            payload: Bytes::copy_from_slice(row.try_get(2)?),
            received_at: rows::instant(row, 3)?,
        })
    };
    found.iter().map(message).collect()
}

/// Puts a message into the inbox of a run that is locked.
pub(crate) async fn signal(
    session: &Session<'_>,
    command: &Command,
    row: &RunRow,
    signal: &Signal,
) -> Result<(), Fault> {
    let state = row.status.state;
    if takes_none(row) {
        return Err(StoreError::Precondition { run: row.id, state }.into());
    }
    let waiting: i64 = session
        .one("SELECT count(*) FROM inbox WHERE run = $1 AND name <> $2", params![row.id, Message::CHILD_ENDED])
        .await?
        .try_get(0)?;
    if waiting >= i64::from(signal.room) {
        return Err(StoreError::InboxFull { run: row.id, room: signal.room }.into());
    }
    put(session, row, &signal.name, &signal.payload, command.now).await?;
    warn_of_inbox(row, waiting.unsigned_abs() + 1, signal);
    Ok(())
}

/// Whether a run goes to its end, so that it receives no message any more.
fn takes_none(row: &RunRow) -> bool {
    row.status.state.is_end() || row.status.ending_as.is_some()
}

/// Adds a message. A run that waits for it and that no replica holds becomes due immediately.
pub(crate) async fn put(
    session: &Session<'_>,
    row: &RunRow,
    name: &str,
    payload: &Bytes,
    now: Timestamp,
) -> Result<(), Fault> {
    let number = rows::number(row.messages.saturating_add(1));
    session
        .execute(
            "INSERT INTO inbox (run, number, name, payload, received_at) VALUES ($1, $2, $3, $4, $5)",
            params![row.id, number, name, &payload[..], now.as_micros()],
        )
        .await?;
    let wakes = !row.owned && row.status.state != State::Paused && row.status.awaits.iter().any(|known| known == name);
    session
        .execute(
            "UPDATE live SET messages = $2, updated_at = $3, rung_at = $3,
                             wake_at = CASE WHEN $4 THEN $5 ELSE wake_at END,
                             due_at = CASE WHEN $4 AND owner IS NULL THEN $5 ELSE due_at END
             WHERE id = $1",
            params![row.id, number, session.now.as_micros(), wakes, now.as_micros()],
        )
        .await
        .map(drop)
}

/// Takes what an append has received out of its run's inbox.
pub(crate) async fn take(session: &Session<'_>, append: &Append) -> Result<(), Fault> {
    if append.takes.is_empty() {
        return Ok(());
    }
    let numbers: Vec<i64> = append.takes.iter().map(|number| rows::number(*number)).collect();
    session
        .execute("DELETE FROM inbox WHERE run = $1 AND number = ANY($2)", params![append.run, numbers])
        .await
        .map(drop)
}
