//! Copies of a store: how they are told from the store itself, and what it means to adopt one (semantics.md D1).
//!
//! A store keeps which file it is in, by the number of the file and the time of its making. Both stay the same where a volume
//! moves to another machine, where the file is renamed, and over every restart. A copy is another file.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::time::UNIX_EPOCH;

use rusqlite::{Connection, OptionalExtension, params};

use super::migrations;
use crate::state::State;
use crate::store::{NewRun, StoreError};
use crate::time::Timestamp;

/// The first schema that says which file the store is in.
const SINCE: i64 = 7;

/// The first schema that says where a store was moved.
pub(super) const MOVED_SINCE: i64 = 14;

/// A store that was adopted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Adoption {
    /// When it was adopted.
    pub(super) at: Timestamp,
    /// Until when its original is known not to have done more than it says.
    pub(super) copied_at: Timestamp,
}

/// What tells a file from its copies.
pub(super) fn mark_of(file: &File) -> std::io::Result<Vec<u8>> {
    let found = file.metadata()?;
    // Not every file system knows when a file was made.
    let made = found.created().ok().and_then(|made| made.duration_since(UNIX_EPOCH).ok());
    let made = made.map_or(0, |made| made.as_nanos());
    Ok([&found.ino().to_be_bytes()[..], &made.to_be_bytes()].concat())
}

/// Makes sure that no one continues with a copy as if it were the store. Before anything is written.
pub(super) fn refuse_copy(connection: &Connection, mark: &[u8]) -> Result<(), StoreError> {
    let failed = |error: rusqlite::Error| StoreError::Unusable(error.to_string());
    let version: i64 = migrations::pragma(connection, "user_version").map_err(failed)?;
    // What a newer release wrote is refused for that.
    if version < SINCE || usize::try_from(version).is_ok_and(|version| version > migrations::VERSION) {
        return Ok(());
    }
    if version >= MOVED_SINCE {
        refuse_moved(connection)?;
    }
    let stored = connection.query_row("SELECT file, seen_at FROM store", [], |row| {
        Ok((row.get::<_, Option<Vec<u8>>>(0)?, Timestamp::from_micros(row.get(1)?)))
    });
    match stored.optional().map_err(failed)? {
        Some((Some(stored), seen_at)) if stored != mark => Err(StoreError::Unusable(format!(
            "it is a copy of a store, or a restored backup, of {}: what the original did since then it does not know. Make sure \
             that the original never runs again, then start once with --adopt",
            seen_at.to_second()
        ))),
        _ => Ok(()),
    }
}

/// A store that was copied into another kind of store is its former self: like any copy it may be adopted.
fn refuse_moved(connection: &Connection) -> Result<(), StoreError> {
    let moved = connection.query_row(
        "SELECT moved_to, moved_at FROM store WHERE moved_to IS NOT NULL AND moved_at IS NOT NULL",
        [],
        |row| Ok((row.get::<_, String>(0)?, Timestamp::from_micros(row.get(1)?))),
    );
    match moved.optional().map_err(|error| StoreError::Unusable(error.to_string()))? {
        None => Ok(()),
        Some((to, at)) => Err(StoreError::Unusable(format!(
            "`store copy` moved it to {to} at {}: its runs continue there. To continue with this file instead, make sure that \
             no orchestrator runs on that database, then start once with --adopt",
            at.to_second()
        ))),
    }
}

/// Says in a copy that it is one.
pub(super) fn mark_copy(copy: &Connection) -> rusqlite::Result<()> {
    if migrations::pragma::<i64>(copy, "user_version")? < SINCE {
        return Ok(());
    }
    copy.execute("UPDATE store SET file = x''", []).map(drop)
}

/// Writes down that the former owner of the store may have continued with its runs elsewhere, and says what that means.
pub(super) fn adopt(connection: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    let copied_at: i64 = connection.query_row(
        "SELECT CASE WHEN seen_at > 0 THEN seen_at ELSE coalesce((SELECT max(updated_at) FROM runs), 0) END FROM store",
        [],
        |row| row.get(0),
    )?;
    connection.execute(
        "UPDATE store SET adopted_at = ?1, copied_at = ?2, moved_at = NULL, moved_to = NULL, moved_as = NULL",
        params![now.as_micros(), copied_at],
    )?;
    // One that failed may have been taken up again; one that succeeded does nothing more.
    let runs = connection.execute(
        "UPDATE runs SET copied_at = min(coalesce(copied_at, ?1), ?1) WHERE state <> ?2",
        params![copied_at, State::Succeeded as u8],
    )?;
    let unfinished: i64 =
        connection.query_row("SELECT count(*) FROM runs WHERE ended_at IS NULL", [], |row| row.get(0))?;
    tracing::warn!(
        since = %Timestamp::from_micros(copied_at).to_second(), runs, unfinished,
        "a copy of a store was adopted: what its runs call may have been called since then by the original. Calls of which no \
         level is stated wait for a decision, each, and so do those whose service may have forgotten their key; calls that are \
         repeated under their key are made again. Runs that the original started since then are not known here"
    );
    Ok(())
}

pub(super) fn adoption(connection: &Connection) -> rusqlite::Result<Option<Adoption>> {
    connection.query_row("SELECT adopted_at, copied_at FROM store", [], |row| {
        let (at, copied_at): (Option<i64>, Option<i64>) = (row.get(0)?, row.get(1)?);
        Ok(at.zip(copied_at).map(|(at, copied_at)| Adoption {
            at: Timestamp::from_micros(at),
            copied_at: Timestamp::from_micros(copied_at),
        }))
    })
}

/// A run that is made now may have been made by the original too: as the child of one that it had, or by a tick of the time
/// that the copy does not know.
pub(super) fn inherit(connection: &Connection, adoption: Option<Adoption>, run: &NewRun) -> rusqlite::Result<()> {
    let Some(adoption) = adoption else { return Ok(()) };
    if run.origin.as_ref().is_some_and(|origin| origin.nominal <= adoption.at) {
        connection.execute(
            "UPDATE runs SET copied_at = ?2 WHERE id = ?1",
            params![run.id.as_bytes(), adoption.copied_at.as_micros()],
        )?;
    }
    if let Some(parent) = run.parent {
        connection.execute(
            "UPDATE runs SET copied_at = (SELECT copied_at FROM runs WHERE id = ?2) WHERE id = ?1",
            params![run.id.as_bytes(), parent.run.as_bytes()],
        )?;
    }
    Ok(())
}
