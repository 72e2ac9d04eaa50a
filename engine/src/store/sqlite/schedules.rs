//! Schedules as rows: reading them, listing them, and writing down what happened to one.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::job::Fault;
use super::rows;
use crate::store::stored_schedule;
use crate::store::{ListSchedules, PausedSchedule, ScheduleFacts, ScheduleRow, Source, is_granted};
use crate::time::Timestamp;

mod answers;
mod backfills;
mod changes;
mod ledger;
mod settling;
mod ticking;

pub(super) use answers::answered;
pub(super) use backfills::{find as backfill, list as backfills};
pub(super) use changes::{command, declare};
pub(super) use ledger::list as ticks;
pub(super) use settling::{resumed, settle};
pub(super) use ticking::tick;

/// Runs that have not ended and are named with their schedule, at most.
const SHOWN_OPEN: u32 = 20;

/// A schedule, and the number that stands for it in other tables.
struct Stored {
    id: i64,
    row: ScheduleRow,
    /// The last nominal time that has started a run and whose row is gone from the ledger.
    dropped: Option<Timestamp>,
}

/// `SELECT` of whole rows in the order that [`stored_row`] reads them.
macro_rules! select_schedules {
    ($rest:literal) => {
        concat!(
            "SELECT id, name, uid, source, definition, generation, created_at, updated_at, high_water, ahead, paused_at,
                    paused_by, pause_note, retired_at, rows, started, missed, last_missed, consecutive_skips,
                    consecutive_failures, last_run, last_nominal, lateness, last_success, last_success_nominal, buffered,
                    problem,
                    (SELECT count(*) FROM backfills WHERE backfills.schedule = schedules.id AND ended_at IS NULL), dropped
             FROM schedules ",
            $rest
        )
    };
}

fn by_name(connection: &Connection, name: &str) -> rusqlite::Result<Option<Stored>> {
    let found = connection.prepare_cached(select_schedules!("WHERE name = ?1"))?.query_row([name], stored_row);
    whole(connection, found)
}

fn by_uid(connection: &Connection, uid: Uuid) -> rusqlite::Result<Option<Stored>> {
    let found = connection.prepare_cached(select_schedules!("WHERE uid = ?1"))?.query_row([uid.as_bytes()], stored_row);
    whole(connection, found)
}

fn whole(connection: &Connection, found: rusqlite::Result<Stored>) -> rusqlite::Result<Option<Stored>> {
    let Some(mut stored) = found.optional()? else { return Ok(None) };
    stored.row.open = open(connection, stored.id)?;
    Ok(Some(stored))
}

pub(super) fn list(connection: &mut Connection, filter: &ListSchedules) -> Result<Vec<ScheduleRow>, Fault> {
    let mut statement = connection.prepare_cached(select_schedules!(
        "WHERE name > ?1 AND (?2 IS NULL OR name = ?2) AND (?3 IS NULL OR workflow = ?3)
           AND (?4 IS NULL OR last_missed >= ?4)
         ORDER BY name"
    ))?;
    let found = statement.query_map(
        params![
            filter.after.as_deref().unwrap_or_default(),
            filter.name,
            filter.workflow,
            rows::micros(filter.missed_since),
        ],
        stored_row,
    )?;
    let mut schedules = Vec::new();
    // Cut here, behind what is not granted.
    for stored in found {
        if schedules.len() >= filter.limit as usize {
            break;
        }
        let mut stored = stored?;
        if is_granted(filter.granted.as_deref(), &stored.row.schedule.workflow) {
            stored.row.open = open(connection, stored.id)?;
            schedules.push(stored.row);
        }
    }
    Ok(schedules)
}

/// Those of these schedules that exist.
pub(super) fn all_of(connection: &Connection, uids: &[Uuid]) -> Result<Vec<ScheduleRow>, Fault> {
    let found = uids.iter().filter_map(|uid| by_uid(connection, *uid).transpose());
    Ok(found.map(|found| found.map(|stored| stored.row)).collect::<rusqlite::Result<_>>()?)
}

fn open(connection: &Connection, schedule: i64) -> rusqlite::Result<Vec<Uuid>> {
    connection
        .prepare_cached("SELECT run FROM schedule_runs WHERE schedule = ?1 ORDER BY run LIMIT ?2")?
        .query_map((schedule, SHOWN_OPEN), |row| rows::uuid(row, 0))?
        .collect()
}

fn stored_row(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let id = row.get(0)?;
    let time = |column| rows::time(row, column);
    let source = source(3, row.get(3)?)?;
    let definition = row.get_ref(4)?.as_blob()?;
    let schedule = stored_schedule::decode(row.get(1)?, definition).map_err(|error| unknown(4, &error.to_string()))?;
    let paused = match (time(10)?, row.get(11)?, row.get(12)?) {
        (Some(at), Some(by), Some(note)) => Some(PausedSchedule { at, by, note }),
        _ => None,
    };
    let uuid = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<[u8; 16]>>(column)?.map(Uuid::from_bytes));
    let lateness = row.get::<_, Option<i64>>(22)?.map(|micros| u64::try_from(micros).unwrap_or_default());
    let facts = ScheduleFacts {
        rows: rows::count(row, 14)?,
        started: rows::count(row, 15)?,
        missed: rows::count(row, 16)?,
        last_missed: time(17)?,
        consecutive_skips: rows::count(row, 18)?,
        consecutive_failures: rows::count(row, 19)?,
        last_run: uuid(20)?,
        last_nominal: time(21)?,
        lateness,
        last_success: time(23)?,
        last_success_nominal: time(24)?,
        buffered: row.get(25)?,
        problem: row.get(26)?,
    };
    let found = ScheduleRow {
        schedule,
        source,
        uid: rows::uuid(row, 2)?,
        generation: rows::count(row, 5)?,
        created_at: Timestamp::from_micros(row.get(6)?),
        updated_at: Timestamp::from_micros(row.get(7)?),
        high_water: Timestamp::from_micros(row.get(8)?),
        ahead: row.get::<_, Option<Vec<u8>>>(9)?.map_or_else(Vec::new, |bytes| read_times(&bytes)),
        paused,
        retired_at: time(13)?,
        facts,
        open: Vec::new(),
        backfilling: row.get(27)?,
    };
    Ok(Stored { id, row: found, dropped: time(28)? })
}

fn source(column: usize, number: u8) -> rusqlite::Result<Source> {
    Ok(match number {
        1 => Source::Api,
        2 => Source::Code,
        3 => Source::Configuration,
        number => return Err(unknown(column, &format!("source {number}"))),
    })
}

fn unknown(column: usize, what: &str) -> rusqlite::Error {
    let why = format!("{what} is not known to this release");
    rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, why.into())
}

/// Nominal times as one value.
fn times(times: &[Timestamp]) -> Option<Vec<u8>> {
    (!times.is_empty()).then(|| times.iter().flat_map(|time| time.as_micros().to_be_bytes()).collect())
}

fn read_times(bytes: &[u8]) -> Vec<Timestamp> {
    bytes.as_chunks().0.iter().map(|time| Timestamp::from_micros(i64::from_be_bytes(*time))).collect()
}

impl Stored {
    /// Writes down everything of the row that is not its definition.
    fn save(&self, connection: &Connection) -> rusqlite::Result<()> {
        let ScheduleRow { facts, paused, .. } = &self.row;
        connection
            .prepare_cached(
                "UPDATE schedules
                 SET generation = ?2, updated_at = ?3, high_water = ?4, ahead = ?5, paused_at = ?6, paused_by = ?7,
                     pause_note = ?8, retired_at = ?9, rows = ?10, started = ?11, missed = ?12, last_missed = ?13,
                     consecutive_skips = ?14, consecutive_failures = ?15, last_run = ?16, last_nominal = ?17,
                     lateness = ?18, last_success = ?19, last_success_nominal = ?20, buffered = ?21, problem = ?22, dropped = ?23
                 WHERE id = ?1",
            )?
            .execute(params![
                self.id,
                rows::number(self.row.generation),
                self.row.updated_at.as_micros(),
                self.row.high_water.as_micros(),
                times(&self.row.ahead),
                paused.as_ref().map(|paused| paused.at.as_micros()),
                paused.as_ref().map(|paused| paused.by.as_str()),
                paused.as_ref().map(|paused| paused.note.as_str()),
                rows::micros(self.row.retired_at),
                rows::number(facts.rows),
                rows::number(facts.started),
                rows::number(facts.missed),
                rows::micros(facts.last_missed),
                rows::number(facts.consecutive_skips),
                rows::number(facts.consecutive_failures),
                facts.last_run.map(Uuid::into_bytes),
                rows::micros(facts.last_nominal),
                facts.lateness.map(rows::number),
                rows::micros(facts.last_success),
                rows::micros(facts.last_success_nominal),
                facts.buffered,
                facts.problem,
                rows::micros(self.dropped),
            ])
            .map(drop)
    }
}
