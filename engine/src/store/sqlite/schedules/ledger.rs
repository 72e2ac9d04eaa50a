//! The ledger of a schedule: what became of its nominal times. Equal neighbours are one row, and old rows are dropped.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::super::job::Fault;
use super::super::rows;
use super::Stored;
use crate::store::{CutTicks, ListTicks, Rewind, TickOrigin, TickOutcome, TickRow};
use crate::time::Timestamp;

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

/// Adds an entry, and keeps the schedule's own account of them; the caller saves it.
pub(super) fn add(connection: &Connection, stored: &mut Stored, entry: &Entry) -> rusqlite::Result<()> {
    account(stored, entry);
    if !widen(connection, stored, entry)? {
        stored.row.facts.rows += 1;
        insert(connection, stored, entry)?;
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
fn widen(connection: &Connection, stored: &Stored, entry: &Entry) -> rusqlite::Result<bool> {
    if matches!(entry.outcome, TickOutcome::Started | TickOutcome::Buffered) {
        return Ok(false);
    }
    let (origin, of) = rows::tick_origin_columns(entry.origin);
    let widened = connection
        .prepare_cached(
            "UPDATE ticks SET last = ?3, count = count + ?4, at = ?5
             WHERE schedule = ?1 AND number = ?2 AND outcome = ?6 AND reason = ?7 AND origin = ?8 AND of IS ?9
               AND run IS ?10 AND last < ?11 AND (?8 <> 0 OR last = ?12)",
        )?
        .execute(params![
            stored.id,
            rows::number(stored.row.facts.rows),
            entry.last.as_micros(),
            rows::number(entry.count),
            entry.at.as_micros(),
            entry.outcome as u8,
            entry.reason,
            origin,
            of,
            entry.run.map(Uuid::into_bytes),
            entry.first.as_micros(),
            stored.row.high_water.as_micros(),
        ])?;
    Ok(widened > 0)
}

fn insert(connection: &Connection, stored: &mut Stored, entry: &Entry) -> rusqlite::Result<()> {
    let number = stored.row.facts.rows;
    let (origin, of) = rows::tick_origin_columns(entry.origin);
    connection
        .prepare_cached(
            "INSERT INTO ticks (schedule, number, first, last, count, outcome, reason, origin, of, run, at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            stored.id,
            rows::number(number),
            entry.first.as_micros(),
            entry.last.as_micros(),
            rows::number(entry.count),
            entry.outcome as u8,
            entry.reason,
            origin,
            of,
            entry.run.map(Uuid::into_bytes),
            entry.at.as_micros(),
        ])?;
    if number > KEPT { drop_up_to(connection, stored, number - KEPT) } else { Ok(()) }
}

/// Drops old rows. Of those that say that a time has started its run, the last one is remembered.
fn drop_up_to(connection: &Connection, stored: &mut Stored, number: u64) -> rusqlite::Result<()> {
    let dropped: Vec<(i64, u8, u8)> = connection
        .prepare_cached(
            "DELETE FROM ticks WHERE schedule = ?1 AND number <= ?2 AND outcome <> ?3 RETURNING first, outcome, origin",
        )?
        .query_map(params![stored.id, rows::number(number), TickOutcome::Buffered as u8], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let started =
        dropped.into_iter().filter(|(_, outcome, origin)| (*outcome, *origin) == (TickOutcome::Started as u8, 0));
    stored.dropped = stored.dropped.max(started.map(|(first, ..)| Timestamp::from_micros(first)).max());
    Ok(())
}

/// The row of a tick that waits.
pub(super) fn waiting(connection: &Connection, schedule: i64, number: u64) -> rusqlite::Result<Option<TickRow>> {
    connection
        .prepare_cached(
            "SELECT number, first, last, count, outcome, reason, origin, of, run, at FROM ticks
             WHERE schedule = ?1 AND number = ?2 AND outcome = ?3",
        )?
        .query_row(params![schedule, rows::number(number), TickOutcome::Buffered as u8], tick_row)
        .optional()
}

/// Those that wait, the oldest first.
pub(super) fn all_waiting(connection: &Connection, schedule: i64, limit: u32) -> rusqlite::Result<Vec<TickRow>> {
    connection
        .prepare_cached(
            "SELECT number, first, last, count, outcome, reason, origin, of, run, at FROM ticks
             WHERE schedule = ?1 AND outcome = ?2 ORDER BY number LIMIT ?3",
        )?
        .query_map(params![schedule, TickOutcome::Buffered as u8, limit], tick_row)?
        .collect()
}

/// A tick that waited has started.
pub(super) fn started(
    connection: &Connection,
    schedule: i64,
    number: u64,
    run: Uuid,
    at: Timestamp,
    reason: &str,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE ticks SET outcome = ?3, run = ?4, at = ?5, reason = ?6 WHERE schedule = ?1 AND number = ?2",
        )?
        .execute(params![
            schedule,
            rows::number(number),
            TickOutcome::Started as u8,
            run.as_bytes(),
            at.as_micros(),
            reason
        ])
        .map(drop)
}

/// Nominal times after this one that have started a run.
pub(super) fn started_after(
    connection: &Connection,
    schedule: i64,
    after: Timestamp,
) -> rusqlite::Result<Vec<Timestamp>> {
    connection
        .prepare_cached(
            "SELECT first FROM ticks WHERE schedule = ?1 AND first > ?2 AND outcome IN (?3, ?4) AND origin = 0
             ORDER BY first",
        )?
        .query_map(
            params![schedule, after.as_micros(), TickOutcome::Started as u8, TickOutcome::Buffered as u8],
            |row| Ok(Timestamp::from_micros(row.get(0)?)),
        )?
        .collect()
}

/// Takes back what was written down of times that are dealt with again.
pub(super) fn forget_after(connection: &Connection, stored: &mut Stored, rewind: &Rewind) -> rusqlite::Result<()> {
    let mut forgotten: Vec<(u8, u64)> = connection
        .prepare_cached(
            "DELETE FROM ticks WHERE schedule = ?1 AND first > ?2 AND outcome NOT IN (?3, ?4) AND origin = 0
             RETURNING outcome, count",
        )?
        .query_map(
            params![stored.id, rewind.to.as_micros(), TickOutcome::Started as u8, TickOutcome::Buffered as u8],
            |row| Ok((row.get(0)?, rows::count(row, 1)?)),
        )?
        .collect::<rusqlite::Result<_>>()?;
    if let Some(cut) = rewind.cut {
        forgotten.extend(self::cut(connection, stored.id, cut)?);
    }
    let facts = &mut stored.row.facts;
    for (outcome, count) in forgotten {
        let Some(outcome) = TickOutcome::from_number(outcome) else { continue };
        if outcome.is_missed() {
            facts.missed = facts.missed.saturating_sub(count);
        }
        if matches!(outcome, TickOutcome::Skipped | TickOutcome::BufferFull) {
            facts.consecutive_skips = facts.consecutive_skips.saturating_sub(count);
        }
    }
    facts.last_missed = last_missed(connection, stored.id)?.or(facts.last_missed.filter(|last| *last <= rewind.to));
    Ok(())
}

/// Shortens a row. Says what it stands for no longer.
fn cut(connection: &Connection, schedule: i64, cut: CutTicks) -> rusqlite::Result<Option<(u8, u64)>> {
    let found: Option<(u8, u64)> = connection
        .prepare_cached("SELECT outcome, count FROM ticks WHERE schedule = ?1 AND number = ?2 AND last > ?3")?
        .query_row(params![schedule, rows::number(cut.number), cut.last.as_micros()], |row| {
            Ok((row.get(0)?, rows::count(row, 1)?))
        })
        .optional()?;
    connection
        .prepare_cached("UPDATE ticks SET last = ?3, count = ?4 WHERE schedule = ?1 AND number = ?2 AND last > ?3")?
        .execute(params![schedule, rows::number(cut.number), cut.last.as_micros(), rows::number(cut.count)])?;
    Ok(found.map(|(outcome, count)| (outcome, count.saturating_sub(cut.count))))
}

/// The last time of which a row says that it should have started a run and did not.
fn last_missed(connection: &Connection, schedule: i64) -> rusqlite::Result<Option<Timestamp>> {
    let missed = [TickOutcome::Skipped, TickOutcome::Missed, TickOutcome::BufferFull, TickOutcome::Failed];
    let last: Option<i64> = connection
        .prepare_cached(
            "SELECT max(last) FROM ticks WHERE schedule = ?1 AND outcome IN (?2, ?3, ?4, ?5) AND origin <> 1",
        )?
        .query_row(params![schedule, missed[0] as u8, missed[1] as u8, missed[2] as u8, missed[3] as u8], |row| {
            row.get(0)
        })?;
    Ok(last.map(Timestamp::from_micros))
}

pub(in super::super) fn list(connection: &mut Connection, filter: &ListTicks) -> Result<Vec<TickRow>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT number, first, last, count, outcome, reason, origin, of, run, at FROM ticks
         WHERE schedule = (SELECT id FROM schedules WHERE uid = ?1) AND number < ?2
         ORDER BY number DESC LIMIT ?3",
    )?;
    let before = filter.before.map_or(i64::MAX, rows::number);
    let found = statement.query_map(params![filter.schedule.as_bytes(), before, filter.limit], tick_row)?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

fn tick_row(row: &Row<'_>) -> rusqlite::Result<TickRow> {
    let unknown = |column, what: String| {
        let why = format!("{what} is not known to this release");
        rusqlite::Error::FromSqlConversionFailure(column, Type::Integer, why.into())
    };
    let number: u8 = row.get(4)?;
    let outcome = TickOutcome::from_number(number).ok_or_else(|| unknown(4, format!("outcome {number}")))?;
    let origin = rows::tick_origin(row, 6)?.ok_or_else(|| unknown(6, "no origin".to_owned()))?;
    Ok(TickRow {
        number: rows::count(row, 0)?,
        first: Timestamp::from_micros(row.get(1)?),
        last: Timestamp::from_micros(row.get(2)?),
        count: rows::count(row, 3)?,
        outcome,
        reason: row.get(5)?,
        origin,
        run: row.get::<_, Option<[u8; 16]>>(8)?.map(Uuid::from_bytes),
        at: Timestamp::from_micros(row.get(9)?),
    })
}
