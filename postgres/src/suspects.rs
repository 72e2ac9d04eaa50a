//! Runs that a replica may have died of (semantics.md S5): it says so when it comes back, and the claim that takes one hears of it.

use std::time::Duration;

use uuid::Uuid;

use crate::session::{Fault, Session, params};

/// A death counts for so long, and an accusation too.
const COUNTS: Duration = Duration::from_hours(24);

/// Writes down that the replica died while it polled these runs.
pub(crate) async fn accuse(session: &Session<'_>, runs: &[Uuid]) -> Result<(), Fault> {
    session.execute("DELETE FROM suspects WHERE at < $1", params![session.now.before(COUNTS).as_micros()]).await?;
    session
        .execute(
            "INSERT INTO suspects (run, at) SELECT accused.run, $2 FROM unnest($1::uuid[]) AS accused (run)
             ON CONFLICT (run) DO UPDATE SET at = excluded.at",
            params![runs.to_vec(), session.now.as_micros()],
        )
        .await
        .map(drop)
}

/// Takes out those of these runs that were accused.
pub(crate) async fn take(session: &Session<'_>, runs: &[Uuid]) -> Result<Vec<Uuid>, Fault> {
    if runs.is_empty() {
        return Ok(Vec::new());
    }
    let found = session.rows("DELETE FROM suspects WHERE run = ANY($1) RETURNING run", params![runs.to_vec()]).await?;
    found.iter().map(|row| Ok(row.try_get(0)?)).collect()
}
