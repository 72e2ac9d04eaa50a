//! What replicas declare in code and configuration: while they differ, as in a rollout, the definition that appeared last among
//! those of living replicas counts, and nothing is retired that one of them declares.

use std::collections::HashMap;

use engine::store::support::encode_schedule;
use engine::store::{Declare, Declared, Schedule, ScheduleNews, Source};
use engine::time::Timestamp;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::changes::{define, insert};
use super::{Stored, by_name, of_source};
use crate::rows;
use crate::session::{Fault, Session, now, params};

/// The declarations of replicas that live.
macro_rules! living {
    () => {
        concat!(
            "SELECT declarations.lease, declarations.name, declarations.definition, declarations.since
             FROM declarations JOIN leases ON leases.id = declarations.lease
             WHERE leases.dead_at IS NULL AND leases.expires_at > ",
            now!()
        )
    };
}

/// The name by which a replica says that it has declared.
const HAS_DECLARED: &str = "";

pub(crate) async fn declare(session: &Session<'_>, declare: &Declare) -> Result<Declared, Fault> {
    // First, so that replicas that declare at the same time wait for each other here.
    let store = session.one("SELECT zone_database FROM store WHERE one = 1 FOR UPDATE", params![]).await?;
    let zone_database: Option<String> = store.try_get(0)?;
    let others = Others::read(session).await?;
    write(session, declare, &others).await?;
    retire(session, declare, &others).await?;
    let (mut rows, mut returned) = (Vec::new(), Vec::new());
    for (source, schedule) in &declare.schedules {
        let hash = hash(*source, schedule);
        let stored = match by_name(session, &schedule.name).await? {
            Some(stored) if others.is_later(session, &schedule.name, &hash) => stored,
            Some(stored) => {
                returned.extend(stored.row.retired_at.map(|since| (stored.row.uid, since)));
                let stored = redeclared(session, stored, *source, schedule, declare.now).await?;
                name_declaration(session, &schedule.name, &hash).await?;
                stored
            }
            None => {
                let stored = insert(session, *source, schedule, declare.now).await?;
                name_declaration(session, &schedule.name, &hash).await?;
                stored
            }
        };
        rows.push(stored.row);
    }
    if zone_database.as_deref() != Some(declare.zone_database) {
        session.execute("UPDATE store SET zone_database = $1 WHERE one = 1", params![declare.zone_database]).await?;
    }
    Ok(Declared { rows, returned, zone_database })
}

/// Which schedules there are, and whether this replica has to declare its own again.
pub(crate) async fn news(session: &Session<'_>, (): &()) -> Result<ScheduleNews, Fault> {
    let declare = session
        .one(
            concat!(
                "WITH living AS (",
                living!(),
                ")
                 SELECT NOT EXISTS (SELECT 1 FROM living WHERE lease = $1 AND name = '')
                     OR EXISTS (SELECT 1 FROM schedules WHERE source <> $2 AND retired_at IS NULL
                                AND NOT EXISTS (SELECT 1 FROM living WHERE living.name = schedules.name))
                     OR EXISTS (SELECT 1 FROM living AS own JOIN schedules ON schedules.name = own.name
                                WHERE own.lease = $1 AND own.definition IS NOT NULL
                                  AND (schedules.retired_at IS NOT NULL
                                       OR schedules.declared_as IS DISTINCT FROM own.definition)
                                  AND NOT EXISTS (SELECT 1 FROM living AS other
                                                  WHERE other.name = own.name AND other.definition IS NOT NULL
                                                    AND other.since > own.since))"
            ),
            params![session.owner, of_source(Source::Api)],
        )
        .await?
        .try_get(0)?;
    let found = session.rows("SELECT name, uid, generation FROM schedules", params![]).await?;
    let schedules = found.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, rows::count(row, 2)?)));
    Ok(ScheduleNews { schedules: schedules.collect::<Result<_, Fault>>()?, declare })
}

/// What living replicas declare, by the name of the schedule; this one included with what it declared before.
struct Others(HashMap<String, Vec<Said>>);

/// What one replica says of one schedule.
struct Said {
    lease: Uuid,
    /// None if it is declared and cannot be kept.
    definition: Option<Vec<u8>>,
    /// Since when a living replica says the same.
    since: i64,
}

impl Others {
    async fn read(session: &Session<'_>) -> Result<Self, Fault> {
        let mut all: HashMap<String, Vec<Said>> = HashMap::new();
        for row in session.rows(living!(), params![]).await? {
            let said = Said { lease: row.try_get(0)?, definition: row.try_get(2)?, since: row.try_get(3)? };
            all.entry(row.try_get(1)?).or_default().push(said);
        }
        Ok(Self(all))
    }

    fn of(&self, name: &str) -> &[Said] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// Since when a living replica says this; none if this replica is the first.
    fn since(&self, name: &str, definition: Option<&[u8; 32]>) -> Option<i64> {
        let same = self.of(name).iter().filter(|said| said.definition.as_deref() == definition.map(|hash| &hash[..]));
        same.map(|said| said.since).min()
    }

    /// Whether another replica says something else, and has begun to say it later.
    fn is_later(&self, session: &Session<'_>, name: &str, definition: &[u8; 32]) -> bool {
        let Some(since) = self.since(name, Some(definition)) else { return false };
        self.of(name).iter().any(|said| {
            let differs = said.definition.as_deref().is_some_and(|other| other != definition);
            differs && said.lease != session.owner && said.since > since
        })
    }

    /// Whether another replica declares the schedule.
    fn declare(&self, session: &Session<'_>, name: &str) -> bool {
        self.of(name).iter().any(|said| said.lease != session.owner)
    }
}

fn hash(source: Source, schedule: &Schedule) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update([source as u8]);
    digest.update((schedule.workflow.len() as u64).to_be_bytes());
    digest.update(&schedule.workflow);
    digest.update(encode_schedule(schedule));
    digest.finalize().into()
}

/// Writes down what this replica declares, and forgets what those declared that are gone.
async fn write(session: &Session<'_>, declare: &Declare, others: &Others) -> Result<(), Fault> {
    let mut declared: Vec<(&str, Option<[u8; 32]>)> = vec![(HAS_DECLARED, None)];
    declared.extend(declare.schedules.iter().map(|(source, schedule)| {
        let hash = hash(*source, schedule);
        (schedule.name.as_str(), Some(hash))
    }));
    declared.extend(declare.kept.iter().map(|name| (name.as_str(), None)));
    let now = session.now.as_micros();
    let names: Vec<&str> = declared.iter().map(|(name, _)| *name).collect();
    let hashes: Vec<Option<&[u8]>> = declared.iter().map(|(_, hash)| hash.as_ref().map(|hash| &hash[..])).collect();
    let since: Vec<i64> =
        declared.iter().map(|(name, hash)| others.since(name, hash.as_ref()).unwrap_or(now)).collect();
    session
        .execute(
            concat!(
                "DELETE FROM declarations WHERE lease = $1 OR lease NOT IN (SELECT id FROM leases
                 WHERE dead_at IS NULL AND expires_at > ",
                now!(),
                ")"
            ),
            params![session.owner],
        )
        .await?;
    session
        .execute(
            "INSERT INTO declarations (lease, name, definition, since)
             SELECT $1, said.name, said.definition, said.since
             FROM unnest($2::text[], $3::bytea[], $4::int8[]) AS said (name, definition, since)",
            params![session.owner, names, hashes, since],
        )
        .await
        .map(drop)
}

/// Those that no living replica declares any more stand still, and stay to be seen.
async fn retire(session: &Session<'_>, declare: &Declare, others: &Others) -> Result<(), Fault> {
    let known = session
        .rows(
            "SELECT name FROM schedules WHERE source <> $1 AND retired_at IS NULL ORDER BY name",
            params![of_source(Source::Api)],
        )
        .await?;
    for row in &known {
        let name: &str = row.try_get(0)?;
        if !declare.names().any(|declared| declared == name)
            && !others.declare(session, name)
            && let Some(mut stored) = by_name(session, name).await?
        {
            stored.row.retired_at = Some(declare.now);
            stored.row.generation += 1;
            stored.save(session).await?;
        }
    }
    Ok(())
}

async fn redeclared(
    session: &Session<'_>,
    mut stored: Stored,
    source: Source,
    schedule: &Schedule,
    now: Timestamp,
) -> Result<Stored, Fault> {
    let same = stored.row.schedule == *schedule && stored.row.source == source;
    if same && stored.row.retired_at.is_none() {
        return Ok(stored);
    }
    stored.row.retired_at = None;
    define(session, &mut stored, source, schedule, now).await?;
    Ok(stored)
}

async fn name_declaration(session: &Session<'_>, name: &str, hash: &[u8; 32]) -> Result<(), Fault> {
    session
        .execute(
            "UPDATE schedules SET declared_as = $2 WHERE name = $1 AND declared_as IS DISTINCT FROM $2",
            params![name, &hash[..]],
        )
        .await
        .map(drop)
}
