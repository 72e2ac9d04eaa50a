//! The ends of a schedule's runs: what they say of it, and what may start after them.

use engine::state::State;
use engine::store::support::ticking::{self, RunEnd};
use engine::store::{ScheduleRefusal, Settled, StoreError};
use uuid::Uuid;

use super::{Stored, backfills, by_uid, ledger};
use crate::session::{Fault, Session, params};
use crate::{audit, rows};

/// Ticks that have waited and are looked at, at most: the next settling finds others.
const READY: u32 = 1;

pub(crate) async fn settle(session: &Session<'_>, uid: &Uuid) -> Result<Settled, Fault> {
    let Some(mut stored) = by_uid(session, *uid).await? else {
        return Err(StoreError::from(ScheduleRefusal::Gone).into());
    };
    let due = ends(session, &mut stored).await?;
    let ready = if stored.row.facts.buffered > 0 && open(session, &stored, None).await? == 0 {
        ledger::all_waiting(session, stored.uid(), READY).await?
    } else {
        Vec::new()
    };
    let backfills = backfills::active(session, stored.uid()).await?;
    Ok(Settled { row: stored.row, ready, due, backfills })
}

/// Runs that have not ended, of the schedule itself or of one of its backfills.
pub(super) async fn open(session: &Session<'_>, stored: &Stored, backfill: Option<Uuid>) -> Result<usize, Fault> {
    let row = session
        .one(
            "SELECT count(*) FROM schedule_runs WHERE schedule = $1 AND backfill IS NOT DISTINCT FROM $2",
            params![stored.uid(), backfill],
        )
        .await?;
    Ok(usize::try_from(rows::count(&row, 0)?).unwrap_or(usize::MAX))
}

/// Writes down which runs have ended. Says whether one that waited behind them is due now.
pub(super) async fn ends(session: &Session<'_>, stored: &mut Stored) -> Result<bool, Fault> {
    let mut ended = ended(session, stored).await?;
    if let Some(change) = ticking::note_ends(&mut stored.row, &mut ended, session.now) {
        audit::keep_of_schedule(session, &change, &stored.row, stored.row.uid, None).await?;
    }
    if !ended.is_empty() {
        let gone: Vec<Uuid> = ended.iter().map(|end| end.run).collect();
        session
            .execute("DELETE FROM schedule_runs WHERE schedule = $1 AND run = ANY($2)", params![stored.uid(), gone])
            .await?;
        stored.save(session).await?;
    }
    release_behind(session, stored).await
}

async fn ended(session: &Session<'_>, stored: &Stored) -> Result<Vec<RunEnd>, Fault> {
    let found = session
        .rows(
            "SELECT schedule_runs.run, schedule_runs.nominal, schedule_runs.backfill IS NOT NULL, ended.state,
                    ended.ended_at
             FROM schedule_runs
             LEFT JOIN live ON live.id = schedule_runs.run LEFT JOIN ended ON ended.id = schedule_runs.run
             WHERE schedule_runs.schedule = $1 AND live.id IS NULL",
            params![stored.uid()],
        )
        .await?;
    found
        .iter()
        .map(|row| {
            Ok(RunEnd {
                run: row.try_get(0)?,
                nominal: rows::instant(row, 1)?,
                backfill: row.try_get(2)?,
                state: row.try_get::<_, Option<i16>>(3)?.map(rows::state).transpose()?,
                ended_at: rows::time(row, 4)?,
            })
        })
        .collect()
}

/// A run that waits for the end of the others is due once there are none (semantics.md T3).
async fn release_behind(session: &Session<'_>, stored: &Stored) -> Result<bool, Fault> {
    let row = session
        .one(
            "SELECT count(*) FILTER (WHERE behind), count(*) FILTER (WHERE NOT behind) FROM schedule_runs
             WHERE schedule = $1 AND backfill IS NULL",
            params![stored.uid()],
        )
        .await?;
    let (waiting, others) = (rows::count(&row, 0)?, rows::count(&row, 1)?);
    if waiting == 0 || others > 0 {
        return Ok(false);
    }
    // Of several the last came last: it has asked the others to end. One that is paused is due when it is resumed.
    session
        .execute(
            "UPDATE live SET due_at = $2, wake_at = $2, reason = ''
             WHERE state = $3 AND owner IS NULL
               AND id IN (SELECT run FROM schedule_runs WHERE schedule = $1 AND behind)",
            params![stored.uid(), session.now.as_micros(), rows::of_state(State::Pending)],
        )
        .await?;
    session
        .execute("UPDATE schedule_runs SET behind = false WHERE schedule = $1 AND behind", params![stored.uid()])
        .await?;
    Ok(true)
}

/// The runs that wait for the ends of others.
pub(super) async fn behind(session: &Session<'_>, schedule: Uuid) -> Result<Vec<Uuid>, Fault> {
    let found = session.rows("SELECT run FROM schedule_runs WHERE schedule = $1 AND behind", params![schedule]).await?;
    found.iter().map(|row| Ok(row.try_get(0)?)).collect()
}
