//! The ledger of a schedule: what became of its nominal times. Equal neighbours are one row, and old rows are dropped.

use engine::store::{CutTicks, ListTicks, Rewind, TickOrigin, TickOutcome, TickRow};
use engine::time::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use super::Stored;
use crate::rows::{self, unknown};
use crate::session::{Fault, Session, params};

/// Rows that are kept of each schedule. Those that wait are kept beside.
const KEPT: u64 = 500;

/// What is written down; its number comes with it.
pub(super) struct Entry {
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    pub(super) count: u64,
    pub(super) outcome: TickOutcome,
    pub(super) reason: String,
    pub(super) origin: TickOrigin,
    pub(super) run: Option<Uuid>,
    pub(super) at: Timestamp,
}

const fn number(outcome: TickOutcome) -> i16 {
    outcome as i16
}

/// Adds an entry, and keeps the schedule's own account of them; the caller saves it.
pub(super) async fn add(session: &Session<'_>, stored: &mut Stored, entry: &Entry) -> Result<(), Fault> {
    account(stored, entry);
    if !widen(session, stored, entry).await? {
        stored.row.facts.rows += 1;
        insert(session, stored, entry).await?;
    }
    Ok(())
}

fn account(stored: &mut Stored, entry: &Entry) {
    let facts = &mut stored.row.facts;
    if entry.outcome.is_missed() && !matches!(entry.origin, TickOrigin::Trigger(_)) {
        facts.missed += entry.count;
        facts.last_missed = Some(entry.last);
    }
    match entry.outcome {
        TickOutcome::Skipped | TickOutcome::BufferFull => facts.consecutive_skips += entry.count,
        TickOutcome::Failed => facts.problem.clone_from(&entry.reason),
        TickOutcome::Started => {
            facts.consecutive_skips = 0;
            facts.problem.clear();
        }
        _ => {}
    }
}

/// Lets the newest row stand for this entry as well, if the same happened to both and nothing else to a time between them:
/// the mark is where that row ends.
async fn widen(session: &Session<'_>, stored: &Stored, entry: &Entry) -> Result<bool, Fault> {
    if matches!(entry.outcome, TickOutcome::Started | TickOutcome::Buffered) {
        return Ok(false);
    }
    let (origin, of) = rows::tick_origin_columns(entry.origin);
    let widened = session
        .execute(
            "UPDATE ticks SET last = $3, count = count + $4, at = $5
             WHERE schedule = $1 AND number = $2 AND outcome = $6 AND reason = $7 AND origin = $8
               AND of IS NOT DISTINCT FROM $9 AND run IS NOT DISTINCT FROM $10 AND last < $11
               AND ($8 <> 0 OR last = $12)",
            params![
                stored.uid(),
                rows::number(stored.row.facts.rows),
                entry.last.as_micros(),
                rows::number(entry.count),
                entry.at.as_micros(),
                number(entry.outcome),
                entry.reason,
                origin,
                of,
                entry.run,
                entry.first.as_micros(),
                stored.row.high_water.as_micros(),
            ],
        )
        .await?;
    Ok(widened > 0)
}

async fn insert(session: &Session<'_>, stored: &mut Stored, entry: &Entry) -> Result<(), Fault> {
    let row = stored.row.facts.rows;
    let (origin, of) = rows::tick_origin_columns(entry.origin);
    session
        .execute(
            "INSERT INTO ticks (schedule, number, first, last, count, outcome, reason, origin, of, run, at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            params![
                stored.uid(),
                rows::number(row),
                entry.first.as_micros(),
                entry.last.as_micros(),
                rows::number(entry.count),
                number(entry.outcome),
                entry.reason,
                origin,
                of,
                entry.run,
                entry.at.as_micros(),
            ],
        )
        .await?;
    if row > KEPT { drop_up_to(session, stored, row - KEPT).await } else { Ok(()) }
}

/// Drops old rows. Of those that say that a time has started its run, the last one is remembered.
async fn drop_up_to(session: &Session<'_>, stored: &mut Stored, last: u64) -> Result<(), Fault> {
    let dropped = session
        .rows(
            "DELETE FROM ticks WHERE schedule = $1 AND number <= $2 AND outcome <> $3 RETURNING first, outcome, origin",
            params![stored.uid(), rows::number(last), number(TickOutcome::Buffered)],
        )
        .await?;
    for row in &dropped {
        let (outcome, origin): (i16, i16) = (row.try_get(1)?, row.try_get(2)?);
        if (outcome, origin) == (number(TickOutcome::Started), 0) {
            stored.dropped = stored.dropped.max(Some(rows::instant(row, 0)?));
        }
    }
    Ok(())
}

/// Whether this row is of a tick that waits.
pub(super) async fn waits(session: &Session<'_>, schedule: Uuid, row: u64) -> Result<bool, Fault> {
    let found = session
        .row(
            "SELECT 1 FROM ticks WHERE schedule = $1 AND number = $2 AND outcome = $3",
            params![schedule, rows::number(row), number(TickOutcome::Buffered)],
        )
        .await?;
    Ok(found.is_some())
}

/// Those that wait, the oldest first.
pub(super) async fn all_waiting(session: &Session<'_>, schedule: Uuid, limit: u32) -> Result<Vec<TickRow>, Fault> {
    let found = session
        .rows(
            "SELECT number, first, last, count, outcome, reason, origin, of, run, at FROM ticks
             WHERE schedule = $1 AND outcome = $2 ORDER BY number LIMIT $3",
            params![schedule, number(TickOutcome::Buffered), i64::from(limit)],
        )
        .await?;
    found.iter().map(tick_row).collect()
}

/// A tick that waited has started.
pub(super) async fn started(
    session: &Session<'_>,
    schedule: Uuid,
    row: u64,
    run: Uuid,
    at: Timestamp,
    reason: &str,
) -> Result<(), Fault> {
    session
        .execute(
            "UPDATE ticks SET outcome = $3, run = $4, at = $5, reason = $6 WHERE schedule = $1 AND number = $2",
            params![schedule, rows::number(row), number(TickOutcome::Started), run, at.as_micros(), reason],
        )
        .await
        .map(drop)
}

/// Nominal times after this one that have started a run.
pub(super) async fn started_after(
    session: &Session<'_>,
    schedule: Uuid,
    after: Timestamp,
) -> Result<Vec<Timestamp>, Fault> {
    let found = session
        .rows(
            "SELECT first FROM ticks WHERE schedule = $1 AND first > $2 AND outcome = ANY($3) AND origin = 0
             ORDER BY first",
            params![schedule, after.as_micros(), has_run()],
        )
        .await?;
    found.iter().map(|row| rows::instant(row, 0)).collect()
}

/// Outcomes of times that have a run, or will have one.
fn has_run() -> Vec<i16> {
    vec![number(TickOutcome::Started), number(TickOutcome::Buffered)]
}

/// Takes back what was written down of times that are dealt with again.
pub(super) async fn forget_after(session: &Session<'_>, stored: &mut Stored, rewind: &Rewind) -> Result<(), Fault> {
    let rows = session
        .rows(
            "DELETE FROM ticks WHERE schedule = $1 AND first > $2 AND NOT outcome = ANY($3) AND origin = 0
             RETURNING outcome, count",
            params![stored.uid(), rewind.to.as_micros(), has_run()],
        )
        .await?;
    let mut forgotten: Vec<(i16, u64)> =
        rows.iter().map(|row| Ok::<_, Fault>((row.try_get(0)?, rows::count(row, 1)?))).collect::<Result<_, _>>()?;
    if let Some(cut) = rewind.cut {
        forgotten.extend(self::cut(session, stored.uid(), cut).await?);
    }
    let facts = &mut stored.row.facts;
    for (outcome, count) in forgotten {
        let outcome = self::outcome(outcome)?;
        if outcome.is_missed() {
            facts.missed = facts.missed.saturating_sub(count);
        }
        if matches!(outcome, TickOutcome::Skipped | TickOutcome::BufferFull) {
            facts.consecutive_skips = facts.consecutive_skips.saturating_sub(count);
        }
    }
    let before = facts.last_missed.filter(|last| *last <= rewind.to);
    stored.row.facts.last_missed = last_missed(session, stored.uid()).await?.or(before);
    Ok(())
}

/// Shortens a row. Says what it stands for no longer.
async fn cut(session: &Session<'_>, schedule: Uuid, cut: CutTicks) -> Result<Option<(i16, u64)>, Fault> {
    let found = session
        .row(
            "SELECT outcome, count FROM ticks WHERE schedule = $1 AND number = $2 AND last > $3",
            params![schedule, rows::number(cut.number), cut.last.as_micros()],
        )
        .await?;
    session
        .execute(
            "UPDATE ticks SET last = $3, count = $4 WHERE schedule = $1 AND number = $2 AND last > $3",
            params![schedule, rows::number(cut.number), cut.last.as_micros(), rows::number(cut.count)],
        )
        .await?;
    let Some(row) = found else { return Ok(None) };
    Ok(Some((row.try_get(0)?, rows::count(&row, 1)?.saturating_sub(cut.count))))
}

/// The last time of which a row says that it should have started a run and did not.
async fn last_missed(session: &Session<'_>, schedule: Uuid) -> Result<Option<Timestamp>, Fault> {
    let missed = [TickOutcome::Skipped, TickOutcome::Missed, TickOutcome::BufferFull, TickOutcome::Failed];
    let row = session
        .one(
            "SELECT max(last) FROM ticks WHERE schedule = $1 AND outcome = ANY($2) AND origin <> 1",
            params![schedule, missed.map(number).to_vec()],
        )
        .await?;
    rows::time(&row, 0)
}

pub(crate) async fn list(session: &Session<'_>, filter: &ListTicks) -> Result<Vec<TickRow>, Fault> {
    let before = filter.before.map_or(i64::MAX, rows::number);
    let found = session
        .rows(
            "SELECT number, first, last, count, outcome, reason, origin, of, run, at FROM ticks
             WHERE schedule = $1 AND number < $2 ORDER BY number DESC LIMIT $3",
            params![filter.schedule, before, i64::from(filter.limit)],
        )
        .await?;
    found.iter().map(tick_row).collect()
}

fn outcome(number: i16) -> Result<TickOutcome, Fault> {
    let known = u8::try_from(number).ok().and_then(TickOutcome::from_number);
    known.ok_or_else(|| unknown(&format!("outcome {number}")))
}

fn tick_row(row: &Row) -> Result<TickRow, Fault> {
    Ok(TickRow {
        number: rows::count(row, 0)?,
        first: rows::instant(row, 1)?,
        last: rows::instant(row, 2)?,
        count: rows::count(row, 3)?,
        outcome: outcome(row.try_get(4)?)?,
        reason: row.try_get(5)?,
        origin: rows::tick_origin(row, 6)?.ok_or_else(|| unknown("no origin"))?,
        run: row.try_get(8)?,
        at: rows::instant(row, 9)?,
    })
}
