//! A look at a store that may be in use by another process: its runs in flight and their journals. Takes no lock, makes
//! nothing, and reads what every schema has had, so that a newer release can look before it brings the schema up.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::files::visit;
use super::paths::unusable;
use super::rows;
use crate::state::State;
use crate::store::{InFlight, LookAtRuns, StoreError};

/// The store in one file, looked at. Each answer is one short snapshot, so that the owner's log is not held.
#[derive(Debug)]
pub struct Look {
    path: PathBuf,
    connection: Connection,
}

impl Look {
    /// Opens the store in this file to read.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] where it is no store, is damaged, or was made by a newer release.
    pub fn at(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { path: path.to_owned(), connection: visit(path)? })
    }

    /// One snapshot for everything that is read.
    fn read<T>(&mut self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let failed = |error: rusqlite::Error| unusable(&self.path, &error);
        let transaction = self.connection.transaction().map_err(failed)?;
        let found = read(&transaction).map_err(failed)?;
        transaction.finish().map_err(failed)?;
        Ok(found)
    }
}

impl LookAtRuns for Look {
    fn count(&mut self) -> Result<u64, StoreError> {
        self.read(|connection| {
            let mut count = 0;
            for workflow in workflows(connection)? {
                let mut statement = connection.prepare_cached(
                    "SELECT count(*) FROM runs INDEXED BY runs_by_state WHERE workflow = ?1 AND state < ?2",
                )?;
                count += statement.query_row((workflow, State::Succeeded as u8), |row| rows::count(row, 0))?;
            }
            Ok(count)
        })
    }

    fn ids(&mut self, after: Option<Uuid>, limit: u32) -> Result<Vec<Uuid>, StoreError> {
        let after = after.map_or([0; 16], Uuid::into_bytes);
        self.read(|connection| {
            let mut ids: Vec<[u8; 16]> = Vec::new();
            for workflow in workflows(connection)? {
                for state in State::ALL.into_iter().filter(|state| !state.is_end()) {
                    oldest(connection, workflow, state, after, limit as usize, &mut ids)?;
                }
            }
            Ok(ids.into_iter().map(Uuid::from_bytes).collect())
        })
    }

    fn run(&mut self, run: Uuid) -> Result<Option<InFlight>, StoreError> {
        self.read(|connection| {
            let found = connection
                .prepare_cached(
                    "SELECT workflows.name, workflows.version, runs.state, runs.sequence
                     FROM runs CROSS JOIN workflows ON workflows.id = runs.workflow WHERE runs.id = ?1 AND state < ?2",
                )?
                .query_row(params![run.as_bytes(), State::Succeeded as u8], |row| {
                    Ok(InFlight {
                        run,
                        workflow: row.get(0)?,
                        version: row.get(1)?,
                        state: rows::state(2, row.get(2)?)?,
                        sequence: rows::count(row, 3)?,
                        entries: Vec::new(),
                    })
                })
                .optional()?;
            let Some(mut found) = found else { return Ok(None) };
            let mut statement = connection.prepare_cached(
                "SELECT sequence, entry FROM journal INDEXED BY journal_by_run WHERE run = ?1 ORDER BY sequence",
            )?;
            let entries = statement.query_map([run.as_bytes()], |row| {
                Ok((rows::count(row, 0)?, Bytes::copy_from_slice(row.get_ref(1)?.as_blob()?)))
            })?;
            found.entries = entries.collect::<rusqlite::Result<_>>()?;
            Ok(Some(found))
        })
    }
}

fn workflows(connection: &Connection) -> rusqlite::Result<Vec<i64>> {
    connection.prepare_cached("SELECT id FROM workflows ORDER BY id")?.query_map([], |row| row.get(0))?.collect()
}

/// Merges the oldest runs of one workflow in one state into `ids`, which stay the oldest `limit` of all so far.
fn oldest(
    connection: &Connection,
    workflow: i64,
    state: State,
    after: [u8; 16],
    limit: usize,
    ids: &mut Vec<[u8; 16]>,
) -> rusqlite::Result<()> {
    // What is younger than a full page of older ones is not worth reading.
    let before = if ids.len() < limit { [u8::MAX; 16] } else { ids.last().copied().unwrap_or([u8::MAX; 16]) };
    let mut statement = connection.prepare_cached(
        "SELECT id FROM runs INDEXED BY runs_by_state
         WHERE workflow = ?1 AND state = ?2 AND id > ?3 AND id <= ?4 ORDER BY id LIMIT ?5",
    )?;
    let found = statement
        .query_map(params![workflow, state as u8, after, before, i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
            row.get::<_, [u8; 16]>(0)
        })?;
    for id in found {
        ids.push(id?);
    }
    ids.sort_unstable();
    ids.truncate(limit);
    Ok(())
}
