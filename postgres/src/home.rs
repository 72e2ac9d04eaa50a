//! Copies of a store: how a restored dump is told from the store itself, and what it means to adopt one (semantics.md D1).
//!
//! A store keeps the numbers that the server gave to its database and its tables. They stay the same over restarts, failovers,
//! `VACUUM FULL` and `pg_upgrade`; a dump that is restored gets others, since a dump makes the tables in another order. A copy of all of
//! the server's files has the same.

use engine::store::StoreError;
use engine::time::Timestamp;

use crate::pool::Connection;
use crate::session::{Fault, now};

/// The numbers of the database and of its tables.
macro_rules! mark {
    () => {
        "(SELECT min(pg_database.oid::text) || ':' || string_agg(pg_class.oid::text, ',' ORDER BY pg_class.relname)
          FROM pg_class JOIN pg_namespace ON pg_namespace.oid = pg_class.relnamespace, pg_database
          WHERE pg_namespace.nspname = current_schema() AND pg_database.datname = current_database()
            AND pg_class.relname IN ('store', 'leases', 'buckets', 'workflows', 'live', 'ended', 'journal'))"
    };
}
pub(crate) use mark;

/// No lease is longer than this.
const LONGEST_LEASE: i64 = 300_000_000;

/// Makes sure that no one continues with a copy as if it were the store. Before anything is written.
pub(crate) async fn refuse_copy(connection: &Connection, adopts: bool) -> Result<(), Fault> {
    if adopts || !connection.row("SELECT to_regclass('store') IS NOT NULL").await?.try_get(0)? {
        return Ok(());
    }
    // An older schema has no such column.
    let found = connection
        .row(concat!(
            "SELECT max(to_jsonb(store) ->> 'home'), ",
            mark!(),
            ", (SELECT max(expires_at) FROM leases) FROM store"
        ))
        .await?;
    let (home, mark): (Option<String>, Option<String>) = (found.try_get(0)?, found.try_get(1)?);
    if home.is_none() || home == mark {
        return Ok(());
    }
    let last = found
        .try_get::<_, Option<i64>>(2)?
        .map_or_else(String::new, |at| format!(", of about {}", Timestamp::from_micros(at).to_second()));
    Err(StoreError::Unusable(format!(
        "it is a copy of a store, such as a restored dump{last}: what the original did since then it does not know. Make sure that no \
         orchestrator ever runs on the original again, then start one replica with --adopt"
    ))
    .into())
}

/// Writes down where the store is, and that it was adopted, if that is asked for and no replica runs on it.
pub(crate) async fn settle(connection: &Connection, adopts: bool) -> Result<(), Fault> {
    connection.script("BEGIN").await?;
    let settled = settle_within(connection, adopts).await;
    connection.script(if settled.is_ok() { "COMMIT" } else { "ROLLBACK" }).await?;
    settled
}

async fn settle_within(connection: &Connection, adopts: bool) -> Result<(), Fault> {
    let found = connection
        .row(concat!(
            "SELECT home IS NOT DISTINCT FROM ",
            mark!(),
            ", EXISTS (SELECT 1 FROM leases WHERE dead_at IS NULL AND expires_at > ",
            now!(),
            ") FROM store WHERE one = 1 FOR UPDATE"
        ))
        .await?;
    let (is_home, is_used): (bool, bool) = (found.try_get(0)?, found.try_get(1)?);
    if adopts && is_home && is_used {
        tracing::warn!("--adopt does nothing: replicas run on the database, so it was adopted before");
    } else if adopts {
        adopt(connection).await?;
    }
    if !is_home {
        connection.script(concat!("UPDATE store SET home = ", mark!())).await?;
    }
    Ok(())
}

/// Writes down that the replicas of the original may have continued with its runs, and says what that means.
async fn adopt(connection: &Connection) -> Result<(), Fault> {
    // It takes as long as there are runs.
    connection.script("SET LOCAL statement_timeout = 0").await?;
    // What the original surely did not outlive: its last heartbeat came later than a lease before its end.
    let copied_at: i64 = connection
        .row(&format!(
            "SELECT greatest((SELECT coalesce(max(greatest(began_at, expires_at - {LONGEST_LEASE}, dead_at)), 0) FROM leases),
                             (SELECT coalesce(max(updated_at), 0) FROM live))"
        ))
        .await?
        .try_get(0)?;
    connection
        .script(&format!(
            concat!(
                "UPDATE leases SET dead_at = ",
                now!(),
                " WHERE dead_at IS NULL;
                 UPDATE store SET adopted_at = ",
                now!(),
                ", copied_at = {copied_at};
                 INSERT INTO restored_runs (run, copied_at)
                 SELECT id, {copied_at} FROM live UNION ALL SELECT id, {copied_at} FROM ended WHERE state <> 100
                 ON CONFLICT (run) DO UPDATE
                 SET copied_at = least(coalesce(restored_runs.copied_at, excluded.copied_at), excluded.copied_at)"
            ),
            copied_at = copied_at
        ))
        .await?;
    let unfinished: i64 = connection.row("SELECT count(*) FROM live").await?.try_get(0)?;
    tracing::warn!(
        since = %Timestamp::from_micros(copied_at).to_second(), unfinished,
        "a copy of a store was adopted: what its runs call may have been called since then by the original. Calls of which no \
         level is stated wait for a decision, each, and so do those whose service may have forgotten their key; calls that are \
         repeated under their key are made again. Runs that the original started since then are not known here"
    );
    Ok(())
}
