//! Schedules as rows: reading them, listing them, and writing down what happened to one.

use engine::store::support::{decode_schedule, encode_schedule};
use engine::store::{ListSchedules, PausedSchedule, Schedule, ScheduleFacts, ScheduleRow, Source};
use engine::time::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::rows::{self, unknown};
use crate::session::{Fault, Session, params};

mod answers;
mod backfills;
mod changes;
mod declaring;
mod ledger;
mod settling;
mod ticking;

pub(crate) use answers::answered;
pub(crate) use backfills::{find as backfill, list as backfills};
pub(crate) use changes::command;
pub(crate) use declaring::{declare, news};
pub(crate) use ledger::list as ticks;
pub(crate) use settling::settle;
pub(crate) use ticking::tick;

/// Runs that have not ended and are named with their schedule, at most.
const SHOWN_OPEN: i64 = 20;

/// A schedule, and what is known of it beside its row.
struct Stored {
    row: ScheduleRow,
    /// The last nominal time that has started a run and whose row is gone from the ledger.
    dropped: Option<Timestamp>,
}

/// `SELECT` of whole rows in the order that [`stored_row`] reads them.
macro_rules! select_schedules {
    ($rest:literal) => {
        concat!(
            "SELECT uid, name, source, definition, generation, created_at, updated_at, high_water, ahead, paused_at,
                    paused_by, pause_note, retired_at, rows, started, missed, last_missed, consecutive_skips,
                    consecutive_failures, last_run, last_nominal, lateness, last_success, last_success_nominal, buffered,
                    problem,
                    (SELECT count(*) FROM backfills WHERE backfills.schedule = schedules.uid AND ended_at IS NULL), dropped
             FROM schedules ",
            $rest
        )
    };
}

/// The schedule of this name, which nothing else changes until the transaction is over.
async fn by_name(session: &Session<'_>, name: &str) -> Result<Option<Stored>, Fault> {
    let found = session.row(select_schedules!("WHERE name = $1 FOR UPDATE"), params![name]).await?;
    whole(session, found).await
}

/// The same by its uid.
async fn by_uid(session: &Session<'_>, uid: Uuid) -> Result<Option<Stored>, Fault> {
    let found = session.row(select_schedules!("WHERE uid = $1 FOR UPDATE"), params![uid]).await?;
    whole(session, found).await
}

async fn whole(session: &Session<'_>, found: Option<Row>) -> Result<Option<Stored>, Fault> {
    let Some(row) = found else { return Ok(None) };
    let mut stored = stored_row(&row)?;
    stored.row.open = open(session, stored.row.uid).await?;
    Ok(Some(stored))
}

/// The names of all are read by the database's order, which is that of their bytes.
pub(crate) async fn list(session: &Session<'_>, filter: &ListSchedules) -> Result<Vec<ScheduleRow>, Fault> {
    let found = session
        .rows(
            select_schedules!(
                "WHERE name COLLATE \"C\" > $1 AND ($2::text IS NULL OR name = $2)
                   AND ($3::text IS NULL OR workflow = $3) AND ($4::int8 IS NULL OR last_missed >= $4)
                   AND ($6::text[] IS NULL OR EXISTS (
                       SELECT 1 FROM unnest($6::text[]) AS granted (prefix) WHERE strpos(workflow, granted.prefix) = 1))
                 ORDER BY name COLLATE \"C\" LIMIT $5"
            ),
            params![
                filter.after.as_deref().unwrap_or_default(),
                filter.name,
                filter.workflow,
                rows::micros(filter.missed_since),
                i64::from(filter.limit),
                filter.granted
            ],
        )
        .await?;
    all(session, found).await
}

/// Those of these schedules that exist.
pub(crate) async fn all_of(session: &Session<'_>, uids: &[Uuid]) -> Result<Vec<ScheduleRow>, Fault> {
    let found = session.rows(select_schedules!("WHERE uid = ANY($1)"), params![uids.to_vec()]).await?;
    all(session, found).await
}

async fn all(session: &Session<'_>, found: Vec<Row>) -> Result<Vec<ScheduleRow>, Fault> {
    let mut schedules = Vec::with_capacity(found.len());
    for row in &found {
        let mut stored = stored_row(row)?;
        stored.row.open = open(session, stored.row.uid).await?;
        schedules.push(stored.row);
    }
    Ok(schedules)
}

async fn open(session: &Session<'_>, schedule: Uuid) -> Result<Vec<Uuid>, Fault> {
    let found = session
        .rows("SELECT run FROM schedule_runs WHERE schedule = $1 ORDER BY run LIMIT $2", params![schedule, SHOWN_OPEN])
        .await?;
    found.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

fn stored_row(row: &Row) -> Result<Stored, Fault> {
    let time = |column| rows::time(row, column);
    let schedule = definition(row.try_get(1)?, row.try_get(3)?)?;
    let paused = match (time(9)?, row.try_get(10)?, row.try_get(11)?) {
        (Some(at), Some(by), Some(note)) => Some(PausedSchedule { at, by, note }),
        _ => None,
    };
    let lateness = row.try_get::<_, Option<i64>>(21)?.map(|micros| u64::try_from(micros).unwrap_or_default());
    let facts = ScheduleFacts {
        rows: rows::count(row, 13)?,
        started: rows::count(row, 14)?,
        missed: rows::count(row, 15)?,
        last_missed: time(16)?,
        consecutive_skips: rows::count(row, 17)?,
        consecutive_failures: rows::count(row, 18)?,
        last_run: row.try_get(19)?,
        last_nominal: time(20)?,
        lateness,
        last_success: time(22)?,
        last_success_nominal: time(23)?,
        buffered: rows::short(row, 24)?,
        problem: row.try_get(25)?,
    };
    let found = ScheduleRow {
        schedule,
        source: source(row.try_get(2)?)?,
        uid: row.try_get(0)?,
        generation: rows::count(row, 4)?,
        created_at: rows::instant(row, 5)?,
        updated_at: rows::instant(row, 6)?,
        high_water: rows::instant(row, 7)?,
        ahead: row.try_get::<_, Option<&[u8]>>(8)?.map_or_else(Vec::new, read_times),
        paused,
        retired_at: time(12)?,
        facts,
        open: Vec::new(),
        backfilling: rows::short(row, 26)?,
    };
    Ok(Stored { row: found, dropped: time(27)? })
}

fn definition(name: String, bytes: &[u8]) -> Result<Schedule, Fault> {
    decode_schedule(name, bytes).map_err(|error| unknown(&error.to_string()))
}

fn source(number: i16) -> Result<Source, Fault> {
    Ok(match number {
        1 => Source::Api,
        2 => Source::Code,
        3 => Source::Configuration,
        number => return Err(unknown(&format!("source {number}"))),
    })
}

const fn of_source(source: Source) -> i16 {
    source as i16
}

/// Nominal times as one value.
fn times(times: &[Timestamp]) -> Option<Vec<u8>> {
    (!times.is_empty()).then(|| times.iter().flat_map(|time| time.as_micros().to_be_bytes()).collect())
}

fn read_times(bytes: &[u8]) -> Vec<Timestamp> {
    bytes.as_chunks().0.iter().map(|time| Timestamp::from_micros(i64::from_be_bytes(*time))).collect()
}

impl Stored {
    const fn uid(&self) -> Uuid {
        self.row.uid
    }

    /// Writes down everything of the row that is not its definition.
    async fn save(&self, session: &Session<'_>) -> Result<(), Fault> {
        let ScheduleRow { facts, paused, .. } = &self.row;
        session
            .execute(
                "UPDATE schedules
                 SET generation = $2, updated_at = $3, high_water = $4, ahead = $5, paused_at = $6, paused_by = $7,
                     pause_note = $8, retired_at = $9, rows = $10, started = $11, missed = $12, last_missed = $13,
                     consecutive_skips = $14, consecutive_failures = $15, last_run = $16, last_nominal = $17,
                     lateness = $18, last_success = $19, last_success_nominal = $20, buffered = $21, problem = $22,
                     dropped = $23
                 WHERE uid = $1",
                params![
                    self.row.uid,
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
                    facts.last_run,
                    rows::micros(facts.last_nominal),
                    facts.lateness.map(rows::number),
                    rows::micros(facts.last_success),
                    rows::micros(facts.last_success_nominal),
                    i64::from(facts.buffered),
                    facts.problem,
                    rows::micros(self.dropped),
                ],
            )
            .await
            .map(drop)
    }

    /// Writes down its definition.
    async fn save_definition(&self, session: &Session<'_>) -> Result<(), Fault> {
        let schedule = &self.row.schedule;
        session
            .execute(
                "UPDATE schedules SET definition = $2, workflow = $3, source = $4 WHERE uid = $1",
                params![self.row.uid, encode_schedule(schedule), schedule.workflow, of_source(self.row.source)],
            )
            .await
            .map(drop)
    }
}
