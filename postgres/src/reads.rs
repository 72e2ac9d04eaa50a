//! Reads: one run, one page of a journal, one page of a list, names.

use bytes::Bytes;
use engine::state::State;
use engine::store::{JOURNAL_PAGE_BYTES, JournalEntry, ListRuns, RunRow, Unclaimable};
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

/// Newest first. A filter is a merge of pages of (workflow, state), each read in order from one index, so the cost does not
/// grow with the number of runs that the filter leaves out.
pub(crate) async fn list(session: &Session<'_>, filter: &ListRuns) -> Result<Vec<RunRow>, Fault> {
    let (before, limit) = (filter.before.unwrap_or(Uuid::max()), i64::from(filter.limit));
    let found = if filter.workflow.is_none() && filter.states.is_empty() && filter.granted.is_none() {
        session
            .rows(
                concat!(
                    "(",
                    rows::select!("live", "WHERE runs.id < $1 ORDER BY runs.id DESC LIMIT $2"),
                    ") UNION ALL (",
                    rows::select!("ended", "WHERE runs.id < $1 ORDER BY runs.id DESC LIMIT $2"),
                    ") ORDER BY id DESC LIMIT $2"
                ),
                params![before, limit],
            )
            .await?
    } else {
        let named = filter.states.iter().copied();
        let mut states: Vec<i16> = if filter.states.is_empty() {
            State::ALL.iter().copied().map(rows::of_state).collect()
        } else {
            named.map(rows::of_state).collect()
        };
        states.sort_unstable();
        states.dedup();
        session
            .rows(
                concat!(
                    "WITH wish AS (SELECT workflows.id AS workflow, state.number AS state
                                   FROM workflows, unnest($3::int2[]) AS state (number)
                                   WHERE ($4::text IS NULL OR workflows.name = $4)
                                     AND ($5::text[] IS NULL OR EXISTS (
                                         SELECT 1 FROM unnest($5::text[]) AS granted (prefix)
                                         WHERE strpos(workflows.name, granted.prefix) = 1))),
                     found AS (
                         SELECT page.id FROM wish, LATERAL (
                             SELECT live.id FROM live
                             WHERE live.workflow = wish.workflow AND live.state = wish.state AND live.id < $1
                             ORDER BY live.id DESC LIMIT $2) AS page
                         UNION ALL
                         SELECT page.id FROM wish, LATERAL (
                             SELECT ended.id FROM ended
                             WHERE ended.workflow = wish.workflow AND ended.state = wish.state AND ended.id < $1
                             ORDER BY ended.id DESC LIMIT $2) AS page),
                     newest AS (SELECT found.id FROM found ORDER BY found.id DESC LIMIT $2) ",
                    rows::select!("live", "WHERE runs.id IN (SELECT newest.id FROM newest)"),
                    " UNION ALL ",
                    rows::select!("ended", "WHERE runs.id IN (SELECT newest.id FROM newest)"),
                    " ORDER BY id DESC"
                ),
                params![before, limit, states, filter.workflow, filter.granted],
            )
            .await?
    };
    found.iter().map(rows::row).collect()
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
            "SELECT workflows.name, workflows.version, count(*)
             FROM live JOIN workflows ON workflows.id = live.workflow
             WHERE NOT workflows.id = ANY($1) GROUP BY workflows.name, workflows.version",
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
