//! What one run's append does to others: its children are created and asked to end, its parent hears of its end.

use engine::store::{Message, RelatedRuns};

use crate::session::{Fault, Session, params};
use crate::{inbox, rows};

/// Why a run is asked to end whose parent ends.
const REASON: &str = "its parent run ended";

pub(crate) async fn carry(session: &Session<'_>, related_runs: Option<&RelatedRuns>) -> Result<(), Fault> {
    let Some(related_runs) = related_runs else { return Ok(()) };
    for child in &related_runs.children {
        super::insert(session, child).await?;
    }
    if !related_runs.cancels.is_empty() {
        // A run that no replica holds becomes due immediately, as by an operator's cancel.
        session
            .execute(
                "UPDATE live SET cancel_requested = $2, control = live.control + 1, updated_at = $3, rung_at = $3,
                                 wake_at = CASE WHEN held.id IS NULL THEN $3 ELSE live.wake_at END,
                                 due_at = CASE WHEN held.id IS NULL THEN $3 END,
                                 owner = held.id
                 FROM unnest($1::uuid[]) AS child (id)
                 LEFT JOIN live AS before ON before.id = child.id
                 LEFT JOIN leases AS held ON held.id = before.owner AND held.dead_at IS NULL
                 WHERE live.id = child.id AND live.cancel_requested IS NULL
                   AND live.owner IS NOT DISTINCT FROM before.owner",
                params![related_runs.cancels, REASON, session.now.as_micros()],
            )
            .await?;
    }
    if let Some(report) = &related_runs.report
        && let Some(parent) = rows::lock(session, report.parent).await?
        && !parent.status.state.is_end()
    {
        inbox::put(session, &parent, Message::CHILD_ENDED, &report.payload, session.now).await?;
    }
    Ok(())
}
