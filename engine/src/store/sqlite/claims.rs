//! Claiming runs: those whose owner is gone first, then those that are due, the longest waiting first.

use std::collections::HashSet;

use rusqlite::{OptionalExtension, params};
use uuid::Uuid;

use super::database::Database;
use super::job::Fault;
use super::rows;
use crate::store::{ClaimRuns, Claimed};
use crate::time::Timestamp;

/// Costs by what it claims and by the number of workflows asked for, never by the number of runs that wait.
pub(super) fn claim(db: &mut Database, wish: &ClaimRuns) -> Result<Claimed, Fault> {
    let mut workflows: Vec<i64> =
        wish.workflows.iter().flat_map(|(name, newest)| db.workflows.up_to(name, *newest)).collect();
    workflows.sort_unstable();
    workflows.dedup();

    let limit = wish.limit as usize;
    if let Some(held) = &wish.held {
        give_back(db, &workflows, &held.iter().copied().collect(), wish.now)?;
    }
    let (mut taken, more_orphans) = take_over(db, &workflows, wish.limit)?;
    let mut due = Vec::new();
    for workflow in &workflows {
        due_runs(db, *workflow, wish.now, wish.limit, &mut due)?;
    }
    due.sort_unstable();
    due.truncate(limit.saturating_sub(taken.len()));
    taken.extend(due.into_iter().map(|(_, id)| id));

    let mut runs = Vec::with_capacity(taken.len());
    for id in taken {
        db.connection
            .prepare_cached(
                "UPDATE runs SET owner = ?2, epoch = epoch + 1, due_at = NULL, updated_at = ?3 WHERE id = ?1",
            )?
            .execute(params![id.as_bytes(), db.owner.generation, db.now.as_micros()])?;
        runs.push(rows::get(&db.connection, id)?);
    }
    let next_due = if more_orphans { Some(wish.now) } else { next_due(db, &workflows)? };
    Ok(Claimed { runs, next_due, suspects: Vec::new() })
}

/// Runs of earlier owners that continue by themselves; the parked ones are only given back. Says whether some are left.
fn take_over(db: &mut Database, workflows: &[i64], limit: u32) -> rusqlite::Result<(Vec<Uuid>, bool)> {
    let mut taken = Vec::new();
    for workflow in workflows {
        if db.workflows.is_swept(*workflow) {
            continue;
        }
        let room = limit - u32::try_from(taken.len()).unwrap_or(limit);
        if room == 0 {
            return Ok((taken, true));
        }
        let orphans = orphans(db, *workflow, room)?;
        let all = orphans.len() < room as usize;
        for (id, parked) in orphans {
            if parked {
                db.connection
                    .prepare_cached("UPDATE runs SET owner = NULL, due_at = wake_at WHERE id = ?1")?
                    .execute([id.as_bytes()])?;
            } else {
                taken.push(id);
            }
        }
        if !all {
            return Ok((taken, true));
        }
        db.workflows.set_swept(*workflow);
    }
    Ok((taken, false))
}

/// Whether a run continues only by a command that has not come: it is paused, blocked, or needs a decision.
const PARKED: &str = "(state IN (6, 7) OR (state = 5 AND paused_at IS NOT NULL))
                      AND (cancel_requested IS NULL OR ending_as IS NOT NULL)";

fn orphans(db: &Database, workflow: i64, limit: u32) -> rusqlite::Result<Vec<(Uuid, bool)>> {
    let mut statement = db.connection.prepare_cached(&format!(
        "SELECT id, {PARKED} FROM runs INDEXED BY runs_held WHERE workflow = ?1 AND owner < ?2 LIMIT ?3"
    ))?;
    let found = statement
        .query_map(params![workflow, db.owner.generation, limit], |row| Ok((rows::uuid(row, 0)?, row.get(1)?)))?;
    found.collect()
}

/// Gives back what is this owner's and not among what it holds: what is not parked is due immediately.
fn give_back(db: &Database, workflows: &[i64], held: &HashSet<Uuid>, now: Timestamp) -> rusqlite::Result<()> {
    for workflow in workflows {
        let own: Vec<Uuid> = db
            .connection
            .prepare_cached("SELECT id FROM runs INDEXED BY runs_held WHERE workflow = ?1 AND owner = ?2")?
            .query_map(params![workflow, db.owner.generation], |row| rows::uuid(row, 0))?
            .collect::<rusqlite::Result<_>>()?;
        for run in own.iter().filter(|run| !held.contains(run)) {
            db.connection
                .prepare_cached(&format!(
                    "UPDATE runs SET owner = NULL, due_at = CASE WHEN {PARKED} THEN wake_at ELSE ?2 END WHERE id = ?1"
                ))?
                .execute(params![run.as_bytes(), now.as_micros()])?;
        }
    }
    Ok(())
}

fn due_runs(
    db: &Database,
    workflow: i64,
    now: Timestamp,
    limit: u32,
    due: &mut Vec<(i64, Uuid)>,
) -> rusqlite::Result<()> {
    let mut statement = db.connection.prepare_cached(
        "SELECT due_at, id FROM runs INDEXED BY runs_due WHERE workflow = ?1 AND due_at <= ?2
         ORDER BY due_at, id LIMIT ?3",
    )?;
    let found =
        statement.query_map(params![workflow, now.as_micros(), limit], |row| Ok((row.get(0)?, rows::uuid(row, 1)?)))?;
    for run in found {
        due.push(run?);
    }
    Ok(())
}

fn next_due(db: &Database, workflows: &[i64]) -> rusqlite::Result<Option<Timestamp>> {
    let mut earliest: Option<i64> = None;
    let mut statement = db.connection.prepare_cached(
        "SELECT due_at FROM runs INDEXED BY runs_due WHERE workflow = ?1 AND due_at IS NOT NULL
         ORDER BY due_at LIMIT 1",
    )?;
    for workflow in workflows {
        let due = statement.query_row([workflow], |row| row.get(0)).optional()?;
        earliest = earliest.into_iter().chain(due).min();
    }
    Ok(earliest.map(Timestamp::from_micros))
}
