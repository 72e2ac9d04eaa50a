//! Schedules and their ticks: a mark moves in the transaction that creates the run (semantics.md T1).

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::database::Database;
use super::job::Fault;
use super::{rows, runs};
use crate::store::{Schedule, ScheduleRow, Tick, Ticked};
use crate::time::Timestamp;

pub(super) fn declare(db: &mut Database, declared: &Vec<Schedule>) -> Result<Vec<ScheduleRow>, Fault> {
    for stored in all(&mut db.connection, &())? {
        if declared.iter().all(|schedule| schedule.name != stored.schedule.name) {
            db.connection.execute("DELETE FROM schedules WHERE name = ?1", [&stored.schedule.name])?;
        }
    }
    for schedule in declared {
        db.connection
            .prepare_cached(
                "INSERT INTO schedules (name, uid, workflow, interval) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (name) DO UPDATE SET workflow = excluded.workflow, interval = excluded.interval",
            )?
            .execute(params![
                schedule.name,
                Uuid::new_v4().as_bytes(),
                schedule.workflow,
                i64::try_from(schedule.interval.as_micros()).unwrap_or(i64::MAX),
            ])?;
    }
    all(&mut db.connection, &())
}

pub(super) fn all(connection: &mut Connection, (): &()) -> Result<Vec<ScheduleRow>, Fault> {
    let mut statement = connection
        .prepare_cached("SELECT name, workflow, interval, uid, high_water, last_run FROM schedules ORDER BY name")?;
    let rows = statement.query_map([], schedule)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn schedule(row: &Row<'_>) -> rusqlite::Result<ScheduleRow> {
    let schedule =
        Schedule { name: row.get(0)?, workflow: row.get(1)?, interval: Duration::from_micros(rows::count(row, 2)?) };
    let last_run = row.get::<_, Option<[u8; 16]>>(5)?.map(Uuid::from_bytes);
    Ok(ScheduleRow { schedule, uid: rows::uuid(row, 3)?, high_water: rows::time(row, 4)?, last_run })
}

pub(super) fn tick(db: &mut Database, tick: &Tick) -> Result<Ticked, Fault> {
    let marks: Option<(Option<Timestamp>, Option<[u8; 16]>)> = db
        .connection
        .prepare_cached("SELECT high_water, last_run FROM schedules WHERE name = ?1 AND uid = ?2")?
        .query_row(params![tick.schedule, tick.uid.as_bytes()], |row| Ok((rows::time(row, 0)?, row.get(1)?)))
        .optional()?;
    let Some((high_water, last_run)) = marks else { return Ok(Ticked::Past) };
    if high_water.is_some_and(|mark| mark >= tick.nominal) {
        return Ok(Ticked::Past);
    }
    if let Some(last) = last_run.map(Uuid::from_bytes)
        && rows::find(&db.connection, last)?.is_some_and(|row| !row.status.state.is_end())
    {
        advance(db, tick, last)?;
        return Ok(Ticked::Overlapped(last));
    }
    let started = runs::insert(db, &tick.run)?;
    advance(db, tick, tick.run.id)?;
    // A run that is there without its mark can only come from this tick: ids derive from uid and nominal time.
    Ok(if started { Ticked::Started } else { Ticked::Past })
}

fn advance(db: &Database, tick: &Tick, last_run: Uuid) -> rusqlite::Result<()> {
    db.connection
        .prepare_cached("UPDATE schedules SET high_water = ?2, last_run = ?3 WHERE name = ?1")?
        .execute(params![tick.schedule, tick.nominal.as_micros(), last_run.as_bytes()])
        .map(drop)
}
