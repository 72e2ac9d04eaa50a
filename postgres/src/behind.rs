//! Runs of schedules that begin only when earlier ones have ended (semantics.md T3).

use engine::store::RunRow;
use uuid::Uuid;

use crate::session::{Fault, Session, params};

/// Keeps a run from beginning: it waits for the ends of the others, and for its deadline (semantics.md S3, T3).
pub(crate) async fn hold_back(session: &Session<'_>, run: Uuid) -> Result<(), Fault> {
    session
        .execute(
            "UPDATE live SET due_at = deadline, wake_at = deadline, reason = $2 WHERE id = $1",
            params![run, "BEHIND: it begins when the earlier run of its schedule has ended"],
        )
        .await
        .map(drop)
}

/// A run that was resumed is due only if it has to wait for no other.
pub(crate) async fn resumed(session: &Session<'_>, run: &RunRow) -> Result<(), Fault> {
    let Some(origin) = &run.origin else { return Ok(()) };
    let behind = session
        .row(
            "SELECT 1 FROM schedule_runs JOIN schedules ON schedules.uid = schedule_runs.schedule
             WHERE schedules.name = $1 AND schedule_runs.run = $2 AND schedule_runs.behind",
            params![origin.schedule, run.id],
        )
        .await?;
    if behind.is_some() { hold_back(session, run.id).await } else { Ok(()) }
}
