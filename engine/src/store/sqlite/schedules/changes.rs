//! What people change of schedules, and what their definitions in code and configuration do.

use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::super::database::Database;
use super::super::job::Fault;
use super::super::{audit, cancels, requests, rows};
use super::{Stored, answers, backfills, by_name, settling};
use crate::store::stored_schedule;
use crate::store::{
    AuditedChange, Declare, Declared, PausedSchedule, Requester, Schedule, ScheduleCommand, ScheduleCommandKind,
    ScheduleRefusal, ScheduleRow, Source, StoreError,
};
use crate::time::Timestamp;

pub(in super::super) fn declare(db: &mut Database, declare: &Declare) -> Result<Declared, Fault> {
    retire(db, declare)?;
    let (mut rows, mut returned) = (Vec::new(), Vec::new());
    for (source, schedule) in &declare.schedules {
        let stored = match by_name(&db.connection, &schedule.name)? {
            Some(stored) => {
                returned.extend(stored.row.retired_at.map(|since| (stored.row.uid, since)));
                redeclared(db, stored, *source, schedule, declare.now)?
            }
            None => insert(db, *source, schedule, declare.now)?,
        };
        rows.push(stored.row);
    }
    let zone_database =
        db.connection.query_row("SELECT zone_database FROM store", [], |row| row.get::<_, Option<String>>(0))?;
    if zone_database.as_deref() != Some(declare.zone_database) {
        db.connection.execute("UPDATE store SET zone_database = ?1", [declare.zone_database])?;
    }
    Ok(Declared { rows, returned, zone_database })
}

/// Those whose definition disappeared stand still, and stay to be seen.
fn retire(db: &Database, declare: &Declare) -> Result<(), Fault> {
    let known: Vec<String> = db
        .connection
        .prepare_cached("SELECT name FROM schedules WHERE source <> ?1 AND retired_at IS NULL")?
        .query_map([Source::Api as u8], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for name in known {
        if !declare.names().any(|declared| declared == name)
            && let Some(mut stored) = by_name(&db.connection, &name)?
        {
            stored.row.retired_at = Some(declare.now);
            stored.row.generation += 1;
            stored.save(&db.connection)?;
        }
    }
    Ok(())
}

fn redeclared(
    db: &Database,
    mut stored: Stored,
    source: Source,
    schedule: &Schedule,
    now: Timestamp,
) -> Result<Stored, Fault> {
    let same = stored.row.schedule == *schedule && stored.row.source == source;
    if same && stored.row.retired_at.is_none() {
        return Ok(stored);
    }
    stored.row.retired_at = None;
    define(db, &mut stored, source, schedule, now)?;
    Ok(stored)
}

/// Gives a schedule another definition. It makes up for no time that it did not have then.
fn define(
    db: &Database,
    stored: &mut Stored,
    source: Source,
    schedule: &Schedule,
    now: Timestamp,
) -> rusqlite::Result<()> {
    if stored.row.schedule.spec != schedule.spec {
        stored.row.high_water = stored.row.high_water.max(now);
    }
    stored.row.schedule.clone_from(schedule);
    stored.row.source = source;
    stored.row.generation += 1;
    stored.row.updated_at = now;
    stored.row.facts.problem.clear();
    db.connection
        .prepare_cached("UPDATE schedules SET definition = ?2, workflow = ?3, source = ?4 WHERE id = ?1")?
        .execute(params![stored.id, stored_schedule::encode(schedule), schedule.workflow, source as u8])?;
    stored.save(&db.connection)
}

/// What an earlier release knew of a schedule of this name.
struct Earlier {
    uid: Uuid,
    high_water: Option<Timestamp>,
    last_run: Option<Uuid>,
}

fn insert(db: &Database, source: Source, schedule: &Schedule, now: Timestamp) -> Result<Stored, Fault> {
    let earlier = earlier(&db.connection, &schedule.name)?;
    let uid = earlier.as_ref().map_or_else(Uuid::new_v4, |earlier| earlier.uid);
    let high_water = earlier.as_ref().and_then(|earlier| earlier.high_water).unwrap_or(now);
    db.connection
        .prepare_cached(
            "INSERT INTO schedules (name, uid, source, workflow, definition, generation, created_at, updated_at,
                                    high_water)
             VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6, ?6, ?7)",
        )?
        .execute(params![
            schedule.name,
            uid.as_bytes(),
            source as u8,
            schedule.workflow,
            stored_schedule::encode(schedule),
            now.as_micros(),
            high_water.as_micros(),
        ])?;
    let stored = by_name(&db.connection, &schedule.name)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    if let Some(Earlier { last_run: Some(run), high_water: Some(nominal), .. }) = earlier {
        db.connection
            .prepare_cached(
                "INSERT INTO schedule_runs (schedule, run, nominal, backfill, behind) VALUES (?1, ?2, ?3, NULL, 0)",
            )?
            .execute(params![stored.id, run.as_bytes(), nominal.as_micros()])?;
    }
    Ok(stored)
}

fn earlier(connection: &Connection, name: &str) -> rusqlite::Result<Option<Earlier>> {
    connection
        .prepare_cached("DELETE FROM schedules_of_intervals WHERE name = ?1 RETURNING uid, high_water, last_run")?
        .query_row([name], |row| {
            Ok(Earlier {
                uid: rows::uuid(row, 0)?,
                high_water: rows::time(row, 1)?,
                last_run: row.get::<_, Option<[u8; 16]>>(2)?.map(Uuid::from_bytes),
            })
        })
        .optional()
}

pub(in super::super) fn command(db: &mut Database, command: &ScheduleCommand) -> Result<ScheduleRow, Fault> {
    let found = by_name(&db.connection, &command.name)?;
    if let Some(known) = requests::found(&db.connection, &command.change)? {
        let same = match (&command.kind, found) {
            // The request names what it began, not its schedule.
            (ScheduleCommandKind::Backfill(_), Some(stored)) => Some(stored.row),
            (ScheduleCommandKind::Backfill(_), None) => answers::removed_last(&db.connection, &command.name)?,
            _ => answers::by_uid_or_removed(&db.connection, known.of)?,
        };
        return Ok(same.ok_or_else(|| refused(ScheduleRefusal::NotFound(command.name.clone())))?);
    }
    let refusal = match (&command.kind, &found) {
        (ScheduleCommandKind::Create(_), Some(_)) => Some(ScheduleRefusal::Exists(command.name.clone())),
        (ScheduleCommandKind::Create(_), None) => None,
        (_, None) => Some(ScheduleRefusal::NotFound(command.name.clone())),
        (kind, Some(stored)) => refusal(db, command, kind, stored)?,
    };
    if let Some(refusal) = refusal {
        return Err(refused(refusal).into());
    }
    let stored = match (&command.kind, found) {
        (ScheduleCommandKind::Create(schedule), _) => insert(db, Source::Api, schedule, command.now)?,
        (kind, Some(stored)) => change(db, command, kind, stored)?,
        (_, None) => return Err(refused(ScheduleRefusal::NotFound(command.name.clone())).into()),
    };
    let of = match &command.kind {
        ScheduleCommandKind::Backfill(backfill) => backfill.id,
        _ => stored.row.uid,
    };
    audit::keep_of_schedule(db, &command.change, &stored.row, of, None)?;
    Ok(stored.row)
}

/// Why a schedule does not take an order; all of it is checked before anything is written.
fn refusal(
    db: &Database,
    command: &ScheduleCommand,
    kind: &ScheduleCommandKind,
    stored: &Stored,
) -> rusqlite::Result<Option<ScheduleRefusal>> {
    let (name, row) = (command.name.clone(), &stored.row);
    if let Some(expected) = command.generation.filter(|expected| *expected != row.generation) {
        return Ok(Some(ScheduleRefusal::Changed { name, expected, found: row.generation }));
    }
    Ok(match kind {
        ScheduleCommandKind::Update(_) if row.source != Source::Api => {
            Some(ScheduleRefusal::Declared { name, by: row.source })
        }
        ScheduleCommandKind::Delete if row.source != Source::Api && row.retired_at.is_none() => {
            Some(ScheduleRefusal::Declared { name, by: row.source })
        }
        ScheduleCommandKind::Resume if row.paused.is_none() => Some(ScheduleRefusal::NotPaused(name)),
        ScheduleCommandKind::CancelBackfill(id) => match backfills::is_active(&db.connection, stored.id, *id)? {
            Some(true) => None,
            Some(false) => Some(ScheduleRefusal::BackfillOver(*id)),
            None => Some(ScheduleRefusal::NoBackfill(*id)),
        },
        ScheduleCommandKind::Backfill(_)
            if backfills::active(&db.connection, stored.id)?.len() >= backfills::AT_ONCE =>
        {
            Some(ScheduleRefusal::BusyBackfilling { name, most: backfills::AT_ONCE })
        }
        _ => None,
    })
}

fn change(
    db: &mut Database,
    command: &ScheduleCommand,
    kind: &ScheduleCommandKind,
    mut stored: Stored,
) -> Result<Stored, Fault> {
    let asked = &command.change.asked;
    match kind {
        ScheduleCommandKind::Create(_) => {}
        ScheduleCommandKind::Update(schedule) => define(db, &mut stored, Source::Api, schedule, command.now)?,
        ScheduleCommandKind::Delete => {
            answers::keep_removed(&db.connection, &stored.row, db.now)?;
            backfills::leave(&db.connection, stored.id, db.now)?;
            cancel_behind(db, command, &stored)?;
            for sql in [
                "DELETE FROM ticks WHERE schedule = ?1",
                "DELETE FROM schedule_runs WHERE schedule = ?1",
                "DELETE FROM schedules WHERE id = ?1",
            ] {
                db.connection.prepare_cached(sql)?.execute([stored.id])?;
            }
        }
        ScheduleCommandKind::Pause => {
            let paused = PausedSchedule { at: command.now, by: asked.caller.clone(), note: asked.reason.clone() };
            stored.row.paused.get_or_insert(paused);
            stored.row.generation += 1;
            stored.save(&db.connection)?;
        }
        ScheduleCommandKind::Resume => {
            stored.row.paused = None;
            stored.row.generation += 1;
            stored.row.facts.consecutive_failures = 0;
            stored.save(&db.connection)?;
        }
        ScheduleCommandKind::Backfill(backfill) => backfills::insert(&db.connection, stored.id, backfill)?,
        ScheduleCommandKind::CancelBackfill(id) => backfills::cancel(&db.connection, *id, command.now)?,
    }
    Ok(stored)
}

/// A run that waits for the end of another has not begun, and without its schedule it never would.
fn cancel_behind(db: &mut Database, command: &ScheduleCommand, stored: &Stored) -> Result<(), Fault> {
    let asked =
        Requester { request: None, reason: "its schedule was deleted".to_owned(), ..command.change.asked.clone() };
    for run in settling::behind(&db.connection, stored.id)? {
        let schedule = Some(stored.row.schedule.name.clone());
        let change = AuditedChange { schedule, ..asked.clone().to("CancelRun", "DeleteSchedule") };
        cancels::by_schedule(db, run, &change)?;
    }
    Ok(())
}

fn refused(refusal: ScheduleRefusal) -> StoreError {
    StoreError::from(refusal)
}
