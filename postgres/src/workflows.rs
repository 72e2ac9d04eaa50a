//! Gives workflows the numbers that stand for them, and finds those of the workflows that a replica has the code of.

use engine::store::StoreError;

use crate::session::{Fault, Session, params};
use crate::workflow_numbers::Named;

/// The number of a workflow that [`resolve`] has met.
pub(crate) fn number(session: &Session<'_>, name: &str, version: u32) -> Result<i32, Fault> {
    let known = session.workflows.known(name, version);
    known.ok_or_else(|| StoreError::Unavailable(format!("workflow {name} {version} has no number yet")).into())
}

/// Gives workflows numbers that have none. Not within a transaction: what is learned here is durable.
pub(crate) async fn resolve(session: &Session<'_>, named: &[Named]) -> Result<(), Fault> {
    for workflow in named {
        resolve_one(session, workflow).await?;
    }
    Ok(())
}

async fn resolve_one(session: &Session<'_>, (name, version): &Named) -> Result<(), Fault> {
    let (name, version) = (name.as_str(), *version);
    if session.workflows.known(name, version).is_some() {
        return Ok(());
    }
    let stored = i32::try_from(version)
        .map_err(|_| StoreError::Unavailable(format!("version {version} of workflow {name} is too large")))?;
    loop {
        let found =
            session.row("SELECT id FROM workflows WHERE name = $1 AND version = $2", params![name, stored]).await?;
        if let Some(row) = found {
            session.workflows.learn(name, version, row.try_get(0)?);
            return Ok(());
        }
        // Of two at the same moment one finds the number taken, and looks again.
        let given = session
            .execute(
                "INSERT INTO workflows (id, name, version)
                 SELECT coalesce(max(id), 0) + 1, $1, $2 FROM workflows ON CONFLICT DO NOTHING",
                params![name, stored],
            )
            .await;
        match given {
            Err(fault) if !fault.may_be_repeated() => return Err(fault),
            _ => {}
        }
    }
}

/// Numbers of these workflows, each up to a version.
pub(crate) async fn up_to(session: &Session<'_>, workflows: &[Named]) -> Result<Vec<i32>, Fault> {
    let names: Vec<&str> = workflows.iter().map(|(name, _)| name.as_str()).collect();
    let newest: Vec<i32> = workflows.iter().map(|(_, newest)| i32::try_from(*newest).unwrap_or(i32::MAX)).collect();
    let rows = session
        .rows(
            "SELECT DISTINCT workflows.id FROM workflows
             JOIN unnest($1::text[], $2::int4[]) AS wish (name, newest)
               ON wish.name = workflows.name AND workflows.version <= wish.newest",
            params![names, newest],
        )
        .await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}
