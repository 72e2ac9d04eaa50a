//! What people change of schedules.

use engine::store::support::encode_schedule;
use engine::store::{
    AuditedChange, Command, CommandKind, PausedSchedule, Requester, Schedule, ScheduleCommand, ScheduleCommandKind,
    ScheduleRefusal, ScheduleRow, Source, StoreError,
};
use engine::time::Timestamp;
use uuid::Uuid;

use super::{Stored, answers, backfills, by_name, of_source, settling};
use crate::session::{Fault, Session, params};
use crate::{audit, commands, requests};

/// Gives a schedule another definition. It makes up for no time that it did not have then.
pub(super) async fn define(
    session: &Session<'_>,
    stored: &mut Stored,
    source: Source,
    schedule: &Schedule,
    now: Timestamp,
) -> Result<(), Fault> {
    if stored.row.schedule.spec != schedule.spec {
        stored.row.high_water = stored.row.high_water.max(now);
    }
    stored.row.schedule.clone_from(schedule);
    stored.row.source = source;
    stored.row.generation += 1;
    stored.row.updated_at = now;
    stored.row.facts.problem.clear();
    stored.save_definition(session).await?;
    stored.save(session).await
}

pub(super) async fn insert(
    session: &Session<'_>,
    source: Source,
    schedule: &Schedule,
    now: Timestamp,
) -> Result<Stored, Fault> {
    session
        .execute(
            "INSERT INTO schedules (name, uid, source, workflow, definition, generation, created_at, updated_at,
                                    high_water)
             VALUES ($1, $2, $3, $4, $5, 1, $6, $6, $6)",
            params![
                schedule.name,
                Uuid::new_v4(),
                of_source(source),
                schedule.workflow,
                encode_schedule(schedule),
                now.as_micros(),
            ],
        )
        .await?;
    let made = by_name(session, &schedule.name).await?;
    Ok(made.ok_or_else(|| refused(ScheduleRefusal::NotFound(schedule.name.clone())))?)
}

pub(crate) async fn command(session: &Session<'_>, command: &ScheduleCommand) -> Result<ScheduleRow, Fault> {
    let found = by_name(session, &command.name).await?;
    if let Some(known) = requests::found(session, &command.change).await? {
        let same = match (&command.kind, found) {
            // The request names what it began, not its schedule.
            (ScheduleCommandKind::Backfill(_), Some(stored)) => Some(stored.row),
            (ScheduleCommandKind::Backfill(_), None) => answers::removed_last(session, &command.name).await?,
            _ => answers::by_uid_or_removed(session, known.of).await?,
        };
        return Ok(same.ok_or_else(|| refused(ScheduleRefusal::NotFound(command.name.clone())))?);
    }
    let refusal = match (&command.kind, &found) {
        (ScheduleCommandKind::Create(_), Some(_)) => Some(ScheduleRefusal::Exists(command.name.clone())),
        (ScheduleCommandKind::Create(_), None) => None,
        (_, None) => Some(ScheduleRefusal::NotFound(command.name.clone())),
        (_, Some(stored)) => refusal(session, command, stored).await?,
    };
    if let Some(refusal) = refusal {
        return Err(refused(refusal).into());
    }
    let stored = match (&command.kind, found) {
        (ScheduleCommandKind::Create(schedule), _) => insert(session, Source::Api, schedule, command.now).await?,
        (_, Some(stored)) => change(session, command, stored).await?,
        (_, None) => return Err(refused(ScheduleRefusal::NotFound(command.name.clone())).into()),
    };
    let of = match &command.kind {
        ScheduleCommandKind::Backfill(backfill) => backfill.id,
        _ => stored.row.uid,
    };
    audit::keep_of_schedule(session, &command.change, &stored.row, of, None).await?;
    Ok(stored.row)
}

/// Why a schedule does not take a command; all of it is checked before anything is written.
async fn refusal(
    session: &Session<'_>,
    command: &ScheduleCommand,
    stored: &Stored,
) -> Result<Option<ScheduleRefusal>, Fault> {
    let (name, row) = (command.name.clone(), &stored.row);
    if let Some(expected) = command.generation.filter(|expected| *expected != row.generation) {
        return Ok(Some(ScheduleRefusal::Changed { name, expected, found: row.generation }));
    }
    Ok(match &command.kind {
        ScheduleCommandKind::Update(_) if row.source != Source::Api => {
            Some(ScheduleRefusal::Declared { name, by: row.source })
        }
        ScheduleCommandKind::Delete if row.source != Source::Api && row.retired_at.is_none() => {
            Some(ScheduleRefusal::Declared { name, by: row.source })
        }
        ScheduleCommandKind::Resume if row.paused.is_none() => Some(ScheduleRefusal::NotPaused(name)),
        ScheduleCommandKind::CancelBackfill(id) => match backfills::is_active(session, stored.uid(), *id).await? {
            Some(true) => None,
            Some(false) => Some(ScheduleRefusal::BackfillOver(*id)),
            None => Some(ScheduleRefusal::NoBackfill(*id)),
        },
        ScheduleCommandKind::Backfill(_)
            if backfills::active(session, stored.uid()).await?.len() >= backfills::AT_ONCE =>
        {
            Some(ScheduleRefusal::BusyBackfilling { name, most: backfills::AT_ONCE })
        }
        _ => None,
    })
}

async fn change(session: &Session<'_>, command: &ScheduleCommand, mut stored: Stored) -> Result<Stored, Fault> {
    let asked = &command.change.asked;
    match &command.kind {
        ScheduleCommandKind::Create(_) => {}
        ScheduleCommandKind::Update(schedule) => {
            define(session, &mut stored, Source::Api, schedule, command.now).await?;
        }
        ScheduleCommandKind::Delete => delete(session, command, &stored).await?,
        ScheduleCommandKind::Pause => {
            let paused = PausedSchedule { at: command.now, by: asked.caller.clone(), note: asked.reason.clone() };
            stored.row.paused.get_or_insert(paused);
            stored.row.generation += 1;
            stored.save(session).await?;
        }
        ScheduleCommandKind::Resume => {
            stored.row.paused = None;
            stored.row.generation += 1;
            stored.row.facts.consecutive_failures = 0;
            stored.save(session).await?;
        }
        ScheduleCommandKind::Backfill(backfill) => backfills::insert(session, stored.uid(), backfill).await?,
        ScheduleCommandKind::CancelBackfill(id) => backfills::cancel(session, *id, command.now).await?,
    }
    Ok(stored)
}

async fn delete(session: &Session<'_>, command: &ScheduleCommand, stored: &Stored) -> Result<(), Fault> {
    answers::keep_removed(session, &stored.row, session.now).await?;
    backfills::leave(session, stored.uid(), session.now).await?;
    cancel_behind(session, command, stored).await?;
    for statement in [
        "DELETE FROM ticks WHERE schedule = $1",
        "DELETE FROM schedule_runs WHERE schedule = $1",
        "DELETE FROM schedules WHERE uid = $1",
    ] {
        session.execute(statement, params![stored.uid()]).await?;
    }
    Ok(())
}

/// A run that waits for the end of another has not begun, and without its schedule it never would.
async fn cancel_behind(session: &Session<'_>, command: &ScheduleCommand, stored: &Stored) -> Result<(), Fault> {
    let asked =
        Requester { request: None, reason: "its schedule was deleted".to_owned(), ..command.change.asked.clone() };
    for run in settling::behind(session, stored.uid()).await? {
        let schedule = Some(stored.row.schedule.name.clone());
        let change = AuditedChange { schedule, ..asked.clone().to("CancelRun", "DeleteSchedule") };
        let cancel = Command { run, now: session.now, change, kind: CommandKind::Cancel };
        commands::cancel_if_open(session, &cancel).await?;
    }
    Ok(())
}

fn refused(refusal: ScheduleRefusal) -> StoreError {
    StoreError::from(refusal)
}
