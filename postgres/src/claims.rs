//! Claiming runs: those whose owner's lease is over first, then those that are due, the longest waiting first.
//!
//! A replica looks for due runs in the buckets that it holds, so that no two replicas touch the same row. What is due for long
//! in another's bucket is claimed by any replica that has its code: the holder may not have it (semantics.md O3). Nothing depends on
//! who holds a bucket: a claim names what it has seen of each row, and takes only what is still so.

use std::time::Duration;

use engine::store::{ClaimRuns, Claimed, RunRow};
use engine::time::Timestamp;
use uuid::Uuid;

use crate::migrations::BUCKETS;
use crate::session::{Fault, Session, now, params};
use crate::{rows, suspects, workflows};

/// What is due for so long in a bucket of another replica is claimed by any.
const STRAGGLES: Duration = Duration::from_secs(10);

/// Whether a run continues only by a command that has not come: it is paused, blocked, or needs a decision.
macro_rules! parked {
    () => {
        "((live.state IN (6, 7) OR (live.state = 5 AND live.paused_at IS NOT NULL))
          AND (live.cancel_requested IS NULL OR live.ending_as IS NOT NULL))"
    };
}

/// What there may be to claim.
pub(crate) struct Look {
    workflows: Vec<i32>,
    /// Whether runs may be held by a lease that is over, or one may be over that is not known to be.
    orphans: bool,
    next_due: Option<Timestamp>,
}

impl Look {
    /// Whether there is nothing to claim, and what the claim is answered then.
    pub(crate) fn nothing(&self, wish: &ClaimRuns) -> Option<Claimed> {
        let due = self.next_due.is_some_and(|due| due <= wish.now);
        let nothing = !self.orphans && !due && wish.held.is_none();
        nothing.then_some(Claimed { next_due: self.next_due, ..Claimed::default() })
    }
}

/// Reads whether there is something to claim: what an idle replica costs.
pub(crate) async fn look(session: &Session<'_>, wish: &ClaimRuns) -> Result<Look, Fault> {
    let workflows = workflows::up_to(session, &wish.workflows).await?;
    let row = session
        .one(
            concat!(
                "SELECT EXISTS (SELECT 1 FROM leases WHERE leases.dead_at IS NULL AND leases.expires_at <= ",
                now!(),
                ") OR EXISTS (SELECT 1 FROM leases JOIN live ON live.owner = leases.id
                              WHERE leases.dead_at IS NOT NULL AND live.workflow = ANY($1)),
                 (SELECT min(CASE WHEN bucket.number = ANY($2) THEN first.due_at ELSE first.due_at + $3 END)
                  FROM generate_series(0, $4) AS bucket (number),
                       LATERAL (SELECT live.due_at FROM live
                                WHERE live.bucket = bucket.number AND live.due_at IS NOT NULL
                                  AND live.workflow = ANY($1)
                                ORDER BY live.due_at LIMIT 1) AS first)"
            ),
            params![workflows, own(session), straggles(), i32::from(BUCKETS) - 1],
        )
        .await?;
    Ok(Look { workflows, orphans: row.try_get(0)?, next_due: rows::time(&row, 1)? })
}

fn own(session: &Session<'_>) -> Vec<i32> {
    session.buckets.iter().map(|bucket| i32::from(*bucket)).collect()
}

fn straggles() -> i64 {
    i64::try_from(STRAGGLES.as_micros()).unwrap_or(i64::MAX)
}

pub(crate) async fn claim(session: &Session<'_>, wish: &ClaimRuns) -> Result<Claimed, Fault> {
    bury(session).await?;
    let look = look(session, wish).await?;
    let workflows = &look.workflows;
    if let Some(held) = &wish.held {
        give_back(session, workflows, held, wish.now).await?;
    }
    let limit = i64::from(wish.limit);
    let (mut ids, more_orphans) = orphans(session, workflows, limit).await?;
    // Only a run whose owner is gone may have ended it.
    let may_be_suspect = !ids.is_empty();
    let room = limit - i64::try_from(ids.len()).unwrap_or(limit);
    if room > 0 {
        ids.extend(due(session, workflows, wish.now, room).await?);
    }
    let runs = take(session, &ids, wish.now).await?;
    let taken: Vec<Uuid> = if may_be_suspect { runs.iter().map(|run| run.id).collect() } else { Vec::new() };
    let suspects = suspects::take(session, &taken).await?;
    let next_due = if more_orphans { Some(wish.now) } else { self::look(session, wish).await?.next_due };
    Ok(Claimed { runs, next_due, suspects })
}

/// Writes down which leases are over. From then on no heartbeat revives them (semantics.md O1).
pub(crate) async fn bury(session: &Session<'_>) -> Result<(), Fault> {
    session
        .execute(
            concat!("UPDATE leases SET dead_at = ", now!(), " WHERE dead_at IS NULL AND expires_at <= ", now!()),
            params![],
        )
        .await
        .map(drop)
}

/// Runs of leases that are over and that continue by themselves; the parked ones are only given back. Says whether some are
/// left.
async fn orphans(session: &Session<'_>, workflows: &[i32], limit: i64) -> Result<(Vec<Uuid>, bool), Fault> {
    let found = session
        .rows(
            concat!(
                "SELECT live.id, ",
                parked!(),
                " FROM leases JOIN live ON live.owner = leases.id
                  WHERE leases.dead_at IS NOT NULL AND live.workflow = ANY($1)
                    AND (live.recalled_until IS NULL OR live.recalled_until <= ",
                now!(),
                ") ORDER BY live.id LIMIT $2"
            ),
            params![workflows.to_vec(), limit],
        )
        .await?;
    let (mut taken, mut parked) = (Vec::new(), Vec::new());
    for row in &found {
        let list = if row.try_get(1)? { &mut parked } else { &mut taken };
        list.push(row.try_get(0)?);
    }
    if !parked.is_empty() {
        session
            .execute(
                concat!(
                    "UPDATE live SET owner = NULL, due_at = wake_at
                     FROM leases WHERE leases.id = live.owner AND leases.dead_at IS NOT NULL AND live.id = ANY($1) AND ",
                    parked!()
                ),
                params![parked],
            )
            .await?;
    }
    Ok((taken, i64::try_from(found.len()).is_ok_and(|found| found >= limit)))
}

/// Gives back what is this owner's and not among what it holds: what is not parked is due immediately.
async fn give_back(session: &Session<'_>, workflows: &[i32], held: &[Uuid], now: Timestamp) -> Result<(), Fault> {
    session
        .execute(
            concat!(
                "UPDATE live SET owner = NULL, due_at = CASE WHEN ",
                parked!(),
                " THEN wake_at ELSE $4 END WHERE owner = $1 AND workflow = ANY($2) AND NOT id = ANY($3)"
            ),
            params![session.owner, workflows.to_vec(), held.to_vec(), now.as_micros()],
        )
        .await
        .map(drop)
}

async fn due(session: &Session<'_>, workflows: &[i32], now: Timestamp, limit: i64) -> Result<Vec<Uuid>, Fault> {
    let found = session
        .rows(
            "SELECT due.id
             FROM generate_series(0, $6) AS bucket (number),
                  LATERAL (SELECT live.id, live.due_at FROM live
                           WHERE live.bucket = bucket.number AND live.workflow = ANY($1)
                             AND live.due_at <= $3 - CASE WHEN bucket.number = ANY($2) THEN 0 ELSE $4 END
                           ORDER BY live.due_at LIMIT $5) AS due
             ORDER BY due.due_at, due.id LIMIT $5",
            params![workflows.to_vec(), own(session), now.as_micros(), straggles(), limit, i32::from(BUCKETS) - 1],
        )
        .await?;
    found.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Takes those of the runs that are still no one's, if this replica's own lease is not over.
async fn take(session: &Session<'_>, ids: &[Uuid], now: Timestamp) -> Result<Vec<RunRow>, Fault> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let taken = session
        .rows(
            concat!(
                "UPDATE live SET owner = $1, epoch = epoch + 1, due_at = NULL, recall = NULL, recalled_until = NULL, updated_at = ",
                now!(),
                " WHERE id = ANY($2)
                    AND ((owner IS NULL AND due_at <= $3)
                         OR EXISTS (SELECT 1 FROM leases WHERE leases.id = live.owner AND leases.dead_at IS NOT NULL))
                    AND EXISTS (SELECT 1 FROM leases WHERE leases.id = $1 AND leases.dead_at IS NULL)
                  RETURNING id"
            ),
            params![session.owner, ids.to_vec(), now.as_micros()],
        )
        .await?;
    let taken: Vec<Uuid> = taken.iter().map(|row| Ok::<_, Fault>(row.try_get(0)?)).collect::<Result<_, _>>()?;
    let found = session.rows(rows::select!("live", "WHERE runs.id = ANY($1)"), params![taken]).await?;
    let mut runs: Vec<RunRow> = found.iter().map(rows::row).collect::<Result<_, _>>()?;
    // In the order in which they were found.
    runs.sort_by_cached_key(|run| ids.iter().position(|id| *id == run.id));
    Ok(runs)
}
