//! The ends of a schedule's runs: what they say of it, and what may start after them.

use rusqlite::{Connection, params};
use uuid::Uuid;

use super::super::database::Database;
use super::super::job::Fault;
use super::super::{audit, rows};
use super::{Stored, backfills, by_uid, ledger};
use crate::state::State;
use crate::store::support::ticking::{self, RunEnd};
use crate::store::{RunRow, ScheduleRefusal, Settled, StoreError, TickRow};
use crate::time::Timestamp;

/// Ticks that have waited and are looked at, at most: the next settling finds others.
const READY: u32 = 1;

pub(in super::super) fn settle(db: &mut Database, uid: &Uuid) -> Result<Settled, Fault> {
    let Some(mut stored) = by_uid(&db.connection, *uid)? else {
        return Err(StoreError::from(ScheduleRefusal::Gone).into());
    };
    let due = ends(db, &mut stored)?;
    let ready: Vec<TickRow> = if stored.row.facts.buffered > 0 && open(db, &stored, None)? == 0 {
        ledger::all_waiting(&db.connection, stored.id, READY)?
    } else {
        Vec::new()
    };
    let backfills = backfills::active(&db.connection, stored.id)?;
    Ok(Settled { row: stored.row, ready, due, backfills })
}

/// Runs that have not ended, of the schedule itself or of one of its backfills.
pub(super) fn open(db: &Database, stored: &Stored, backfill: Option<Uuid>) -> rusqlite::Result<usize> {
    let count: i64 = db
        .connection
        .prepare_cached("SELECT count(*) FROM schedule_runs WHERE schedule = ?1 AND backfill IS ?2")?
        .query_row(params![stored.id, backfill.map(Uuid::into_bytes)], |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

/// Writes down which runs have ended. Says whether one that waited behind them is due now.
pub(super) fn ends(db: &mut Database, stored: &mut Stored) -> Result<bool, Fault> {
    let mut ended = ended(db, stored)?;
    for end in &ended {
        db.connection
            .prepare_cached("DELETE FROM schedule_runs WHERE schedule = ?1 AND run = ?2")?
            .execute(params![stored.id, end.run.as_bytes()])?;
    }
    if let Some(change) = ticking::note_ends(&mut stored.row, &mut ended, db.now) {
        audit::keep_of_schedule(db, &change, &stored.row, stored.row.uid, None)?;
    }
    if !ended.is_empty() {
        stored.save(&db.connection)?;
    }
    let_go(db, stored)
}

fn ended(db: &Database, stored: &Stored) -> rusqlite::Result<Vec<RunEnd>> {
    db.connection
        .prepare_cached(
            "SELECT schedule_runs.run, schedule_runs.nominal, schedule_runs.backfill IS NOT NULL, runs.state,
                    runs.ended_at
             FROM schedule_runs LEFT JOIN runs ON runs.id = schedule_runs.run
             WHERE schedule_runs.schedule = ?1 AND (runs.state IS NULL OR runs.state >= ?2)",
        )?
        .query_map(params![stored.id, State::Succeeded as u8], |row| {
            Ok(RunEnd {
                run: rows::uuid(row, 0)?,
                nominal: Timestamp::from_micros(row.get(1)?),
                backfill: row.get(2)?,
                state: row.get::<_, Option<u8>>(3)?.map(|number| rows::state(3, number)).transpose()?,
                ended_at: rows::time(row, 4)?,
            })
        })?
        .collect()
}

/// A run that waits for the end of the others is due once there are none (semantics.md T3).
fn let_go(db: &Database, stored: &Stored) -> Result<bool, Fault> {
    let (waiting, others): (i64, i64) = db
        .connection
        .prepare_cached(
            "SELECT coalesce(sum(behind), 0), coalesce(sum(1 - behind), 0) FROM schedule_runs
             WHERE schedule = ?1 AND backfill IS NULL",
        )?
        .query_row([stored.id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if waiting == 0 || others > 0 {
        return Ok(false);
    }
    // Of several the last came last: it has asked the others to end. One that is paused is due when it is resumed.
    db.connection
        .prepare_cached(
            "UPDATE runs SET due_at = ?2, wake_at = ?2, reason = ''
             WHERE state = ?3 AND owner IS NULL
               AND id IN (SELECT run FROM schedule_runs WHERE schedule = ?1 AND behind = 1)",
        )?
        .execute(params![stored.id, db.now.as_micros(), State::Pending as u8])?;
    db.connection
        .prepare_cached("UPDATE schedule_runs SET behind = 0 WHERE schedule = ?1 AND behind = 1")?
        .execute([stored.id])?;
    Ok(true)
}

/// Keeps a run from beginning: it waits for the ends of the others, and for its deadline (semantics.md S3, T3).
pub(super) fn hold_back(db: &Database, run: Uuid) -> rusqlite::Result<()> {
    db.connection
        .prepare_cached("UPDATE runs SET due_at = deadline, wake_at = deadline, reason = ?2 WHERE id = ?1")?
        .execute(params![run.as_bytes(), "BEHIND: it begins when the earlier run of its schedule has ended"])
        .map(drop)
}

/// Whether a run has to wait for the ends of others.
fn is_behind(connection: &Connection, run: &RunRow) -> rusqlite::Result<bool> {
    let Some(origin) = &run.origin else { return Ok(false) };
    connection
        .prepare_cached(
            "SELECT 1 FROM schedule_runs WHERE schedule = (SELECT id FROM schedules WHERE name = ?1) AND run = ?2
               AND behind = 1",
        )?
        .exists(params![origin.schedule, run.id.as_bytes()])
}

/// A run that was resumed is due only if it has to wait for no other.
pub(in super::super) fn resumed(db: &Database, run: &RunRow) -> rusqlite::Result<()> {
    if is_behind(&db.connection, run)? { hold_back(db, run.id) } else { Ok(()) }
}

/// The runs that wait for the ends of others.
pub(super) fn behind(connection: &Connection, schedule: i64) -> rusqlite::Result<Vec<Uuid>> {
    connection
        .prepare_cached("SELECT run FROM schedule_runs WHERE schedule = ?1 AND behind = 1")?
        .query_map([schedule], |row| rows::uuid(row, 0))?
        .collect()
}
