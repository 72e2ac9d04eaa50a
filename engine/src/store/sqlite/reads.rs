//! Reads beside the writer: one run, one page of a journal, names.

use bytes::Bytes;
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::job::Fault;
use super::rows;
use crate::state::State;
use crate::store::{JOURNAL_PAGE_BYTES, JournalEntry, RunRow, Unclaimable};

/// A page of a run's journal.
pub(super) struct Page {
    pub(super) run: Uuid,
    pub(super) after: u64,
    pub(super) limit: u32,
}

/// Workflows whose runs can be claimed, each up to a version.
pub(super) struct Known(pub(super) Vec<(String, u32)>);

pub(super) fn run(connection: &mut Connection, id: &Uuid) -> Result<Option<RunRow>, Fault> {
    Ok(rows::find(connection, *id)?)
}

pub(super) fn journal(connection: &mut Connection, page: &Page) -> Result<Vec<JournalEntry>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT sequence, epoch, entry FROM journal INDEXED BY journal_by_run
         WHERE run = ?1 AND sequence > ?2 ORDER BY sequence LIMIT ?3",
    )?;
    let mut rows = statement.query(params![page.run.as_bytes(), rows::number(page.after), page.limit])?;
    let (mut entries, mut bytes) = (Vec::new(), 0);
    while bytes < JOURNAL_PAGE_BYTES
        && let Some(row) = rows.next()?
    {
        let entry = Bytes::copy_from_slice(row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?);
        bytes += entry.len();
        entries.push(JournalEntry { sequence: rows::count(row, 0)?, epoch: rows::count(row, 1)?, entry });
    }
    Ok(entries)
}

pub(super) fn workflow_names(connection: &mut Connection, (): &()) -> Result<Vec<String>, Fault> {
    let mut statement = connection.prepare_cached("SELECT DISTINCT name FROM workflows ORDER BY name")?;
    let found = statement.query_map([], |row| row.get(0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Costs by the runs that it counts, not by those that can be claimed.
pub(super) fn unclaimable(connection: &mut Connection, known: &Known) -> Result<Vec<Unclaimable>, Fault> {
    // One snapshot for all counts.
    let transaction = connection.unchecked_transaction()?;
    let mut statement = transaction.prepare_cached("SELECT id, name, version FROM workflows ORDER BY name, version")?;
    let all = statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get(2)?)))?;
    let mut found = Vec::new();
    for workflow in all {
        let (number, workflow, version) = workflow?;
        if known.0.iter().any(|(name, newest)| *name == workflow && version <= *newest) {
            continue;
        }
        let mut count = transaction
            .prepare_cached("SELECT count(*) FROM runs INDEXED BY runs_by_state WHERE workflow = ?1 AND state < ?2")?;
        let runs = count.query_row((number, State::Succeeded as u8), |row| rows::count(row, 0))?;
        if runs > 0 {
            found.push(Unclaimable { workflow, version, runs });
        }
    }
    Ok(found)
}
