//! Reads beside the writer: one run, one page of a journal, one page of a list, names.

use bytes::Bytes;
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::job::Fault;
use super::rows::{self, select_runs};
use crate::state::State;
use crate::store::{JOURNAL_PAGE_BYTES, JournalEntry, ListRuns, RunRow, Unclaimable, is_granted};

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

/// Newest first. A filter is a merge of pages of (workflow, state), each read in order from one index, so the cost
/// does not grow with the number of runs that the filter leaves out.
pub(super) fn list(connection: &mut Connection, filter: &ListRuns) -> Result<Vec<RunRow>, Fault> {
    // One snapshot for the index and for the rows that it names.
    let transaction = connection.unchecked_transaction()?;
    let before = filter.before.map_or([u8::MAX; 16], Uuid::into_bytes);
    if filter.workflow.is_none() && filter.states.is_empty() && filter.granted.is_none() {
        let mut statement =
            transaction.prepare_cached(select_runs!("WHERE runs.id < ?1 ORDER BY runs.id DESC LIMIT ?2"))?;
        let rows = statement.query_map((before, filter.limit), rows::row)?;
        return Ok(rows.collect::<rusqlite::Result<_>>()?);
    }
    let states: &[State] = if filter.states.is_empty() { &State::ALL } else { &filter.states };
    let mut ids: Vec<[u8; 16]> = Vec::new();
    for workflow in workflows(&transaction, filter.workflow.as_deref(), filter.granted.as_deref())? {
        for state in states {
            newest(&transaction, workflow, *state, before, filter.limit as usize, &mut ids)?;
        }
    }
    let mut runs = Vec::with_capacity(ids.len());
    for id in ids {
        runs.extend(rows::find(&transaction, Uuid::from_bytes(id))?);
    }
    Ok(runs)
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

/// Those with this name, if there is one, that are granted.
fn workflows(connection: &Connection, name: Option<&str>, granted: Option<&[String]>) -> rusqlite::Result<Vec<i64>> {
    let mut statement =
        connection.prepare_cached("SELECT id, name FROM workflows WHERE ?1 IS NULL OR name = ?1 ORDER BY id DESC")?;
    let mut rows = statement.query([name])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        if is_granted(granted, row.get_ref(1)?.as_str()?) {
            found.push(row.get(0)?);
        }
    }
    Ok(found)
}

/// Merges the newest runs of one workflow in one state into `ids`, which stay the newest `limit` of all so far.
fn newest(
    connection: &Connection,
    workflow: i64,
    state: State,
    before: [u8; 16],
    limit: usize,
    ids: &mut Vec<[u8; 16]>,
) -> rusqlite::Result<()> {
    // What is older than a full page of newer ones is not worth reading.
    let after = if ids.len() < limit { [0; 16] } else { ids.last().copied().unwrap_or_default() };
    let mut statement = connection.prepare_cached(
        "SELECT id FROM runs INDEXED BY runs_by_state
         WHERE workflow = ?1 AND state = ?2 AND id < ?3 AND id >= ?4 ORDER BY id DESC LIMIT ?5",
    )?;
    let found = statement
        .query_map(params![workflow, state as u8, before, after, i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
            row.get::<_, [u8; 16]>(0)
        })?;
    for id in found {
        ids.push(id?);
    }
    ids.sort_unstable_by(|left, right| right.cmp(left));
    // The same state named twice.
    ids.dedup();
    ids.truncate(limit);
    Ok(())
}
