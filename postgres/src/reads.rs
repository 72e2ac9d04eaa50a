//! Reads: one run, one page of a journal, names.

use bytes::Bytes;
use engine::store::{JOURNAL_PAGE_BYTES, JournalEntry, RunRow, Unclaimable};
use uuid::Uuid;

use crate::rows;
use crate::session::{Fault, Session, params};
use crate::workflow_numbers::Named;

/// Entries of a journal that are read at the same time: a page may be over before its limit, by its bytes.
const ENTRIES: i64 = 64;

/// A page of a run's journal.
pub(crate) struct Page {
    pub(crate) run: Uuid,
    pub(crate) after: u64,
    pub(crate) limit: u32,
}

pub(crate) async fn run(session: &Session<'_>, id: &Uuid) -> Result<Option<RunRow>, Fault> {
    rows::find(session, *id).await
}

pub(crate) async fn journal(session: &Session<'_>, page: &Page) -> Result<Vec<JournalEntry>, Fault> {
    let (mut entries, mut bytes, mut after) = (Vec::new(), 0, page.after);
    loop {
        let left = i64::from(page.limit) - i64::try_from(entries.len()).unwrap_or(i64::MAX);
        let limit = left.min(ENTRIES);
        if limit <= 0 || bytes >= JOURNAL_PAGE_BYTES {
            return Ok(entries);
        }
        let found = session
            .rows(
                "SELECT sequence, epoch, entry FROM journal WHERE run = $1 AND sequence > $2 ORDER BY sequence LIMIT $3",
                params![page.run, rows::number(after), limit],
            )
            .await?;
        for row in &found {
            if bytes >= JOURNAL_PAGE_BYTES {
                return Ok(entries);
            }
            let entry = Bytes::copy_from_slice(row.try_get(2)?);
            bytes += entry.len();
            after = rows::count(row, 0)?;
            entries.push(JournalEntry { sequence: after, epoch: rows::count(row, 1)?, entry });
        }
        if i64::try_from(found.len()).is_ok_and(|found| found < limit) {
            return Ok(entries);
        }
    }
}

pub(crate) async fn workflow_names(session: &Session<'_>, (): &()) -> Result<Vec<String>, Fault> {
    let found = session.rows("SELECT DISTINCT name FROM workflows", params![]).await?;
    let mut names: Vec<String> = found.iter().map(|row| Ok::<_, Fault>(row.try_get(0)?)).collect::<Result<_, _>>()?;
    // Not by the database, whose order of texts is its own.
    names.sort_unstable();
    Ok(names)
}

/// Costs by the runs that it counts, not by those that can be claimed.
pub(crate) async fn unclaimable(session: &Session<'_>, known: &[Named]) -> Result<Vec<Unclaimable>, Fault> {
    let claimable = crate::workflows::up_to(session, known).await?;
    let found = session
        .rows(
            "SELECT * FROM (SELECT name, version, (SELECT count(*) FROM live WHERE live.workflow = workflows.id) AS runs
                            FROM workflows WHERE NOT id = ANY($1)) AS unknown WHERE runs > 0",
            params![claimable],
        )
        .await?;
    let mut counted: Vec<Unclaimable> = found
        .iter()
        .map(|row| {
            Ok::<_, Fault>(Unclaimable {
                workflow: row.try_get(0)?,
                version: rows::small(row, 1)?,
                runs: rows::count(row, 2)?,
            })
        })
        .collect::<Result<_, _>>()?;
    counted.sort_unstable_by(|left, right| (&left.workflow, left.version).cmp(&(&right.workflow, right.version)));
    Ok(counted)
}
