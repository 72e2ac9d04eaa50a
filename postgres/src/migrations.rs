//! Brings the schema of a database to what this release needs: numbered files, applied once each, one transaction a file.
//!
//! Replicas that start together wait for each other at one row. A replica works with a newer schema if that says so: a release
//! first adds what it needs, and removes only with a later one what the release before still uses.

use engine::store::StoreError;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use crate::again::again;
use crate::pool::Connection;
use crate::session::Fault;

/// File `n` of this list brings a store from version `n` to `n + 1`. Released files never change.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_store.sql"),
    include_str!("migrations/0002_copies.sql"),
    include_str!("migrations/0003_declarations.sql"),
    include_str!("migrations/0004_places.sql"),
    include_str!("migrations/0005_suspects.sql"),
    include_str!("migrations/0006_home.sql"),
    include_str!("migrations/0007_refusals.sql"),
    include_str!("migrations/0008_lists_of_runs.sql"),
];

/// The schema that this release writes.
pub(crate) const VERSION: i32 = {
    assert!(MIGRATIONS.len() < 10_000, "a count of files fits");
    #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "it is less than 10,000")]
    let version = MIGRATIONS.len() as i32;
    version
};

/// The oldest release's schema that may still work on what this release leaves.
const OLDEST_READER: i32 = 2;

/// How many buckets there are. It never changes for a store.
pub(crate) const BUCKETS: i16 = 64;

/// Who the store is, and which schema it has: one row, which those who change the schema lock.
const STORE: &str = "CREATE TABLE IF NOT EXISTS store (
    one           smallint PRIMARY KEY CHECK (one = 1),
    id            uuid    NOT NULL,
    version       integer NOT NULL,
    oldest_reader integer NOT NULL,
    zone_database text
)";

/// Applies what is missing.
pub(crate) async fn apply(connection: &Connection) -> Result<(), Fault> {
    if let Err(error) = connection.script(STORE).await
        && !is_made_by_another(&error)
    {
        return Err(error);
    }
    connection
        .script(&format!(
            "INSERT INTO store (one, id, version, oldest_reader) VALUES (1, '{}', 0, 0) ON CONFLICT DO NOTHING",
            Uuid::new_v4()
        ))
        .await?;
    // Each file has its own tries: what is applied stays so.
    while again(|| step(connection)).await? {}
    Ok(())
}

/// Applies the next file, if there is one. Says whether there was.
async fn step(connection: &Connection) -> Result<bool, Fault> {
    connection.script("BEGIN").await?;
    match step_within(connection).await {
        Ok(more) => {
            connection.script("COMMIT").await?;
            Ok(more)
        }
        Err(error) => {
            connection.script("ROLLBACK").await?;
            Err(error)
        }
    }
}

async fn step_within(connection: &Connection) -> Result<bool, Fault> {
    let row = connection.row("SELECT version, oldest_reader FROM store WHERE one = 1 FOR UPDATE").await?;
    let (version, oldest_reader): (i32, i32) = (row.try_get(0)?, row.try_get(1)?);
    if version > VERSION && oldest_reader > VERSION {
        return Err(StoreError::Unusable(format!(
            "its schema has version {version}, made by a newer release; this one knows versions up to {VERSION}"
        ))
        .into());
    }
    let Some(migration) = usize::try_from(version).ok().and_then(|version| MIGRATIONS.get(version)) else {
        return Ok(false);
    };
    connection.script(migration).await?;
    let next = version + 1;
    connection.script(&format!("UPDATE store SET version = {next}, oldest_reader = {OLDEST_READER}")).await?;
    if version == 0 {
        let numbers: Vec<String> = (0..BUCKETS).map(|number| format!("({number})")).collect();
        connection.script(&format!("INSERT INTO buckets (number) VALUES {}", numbers.join(", "))).await?;
    }
    tracing::info!(from = version, to = next, "store schema brought up");
    Ok(true)
}

/// PostgreSQL refuses the second of two that make the same table at the same time.
fn is_made_by_another(error: &Fault) -> bool {
    matches!(
        error.state(),
        Some(code) if *code == SqlState::UNIQUE_VIOLATION || *code == SqlState::DUPLICATE_TABLE
    )
}
