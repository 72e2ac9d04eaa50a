//! Reads the facts, each by itself: what one user may not see, or one engine does not have, leaves the others as they are.

use engine::state::State;
use engine::store::StoreError;
use engine::time::Timestamp;
use tokio_postgres::Row;

use super::Examine;
use super::facts::{Facts, IndexFacts, Prepared, Settings, Slot, Snapshot, TableFacts};
use crate::pool::Connection;
use crate::rows;
use crate::session::{Fault, now};

/// Tables of the store, as a condition.
const OURS: &str =
    "('live', 'ended', 'journal', 'inbox', 'requests', 'audit', 'ticks', 'schedules', 'schedule_runs', 'backfills',
                     'leases', 'buckets')";

pub(super) async fn facts(connection: &Connection, wish: &Examine) -> Result<Facts, Fault> {
    let mut facts = Facts::default();
    let store = connection.row("SELECT to_regclass('store') IS NOT NULL, version()").await?;
    if !store.try_get::<_, bool>(0)? {
        return Err(StoreError::Unusable("there is no store in it: no orchestrator has used it yet".to_owned()).into());
    }
    facts.version = store.try_get(1)?;
    (facts.now, facts.ahead) = clock(connection, wish).await?;
    let look = Look(connection);
    look.each(
        &mut facts,
        "the schema",
        "SELECT version, coalesce((to_jsonb(store) ->> 'copying')::bool, false) FROM store",
        |facts, row| {
            (facts.schema, facts.copying) = (row.try_get(0)?, row.try_get(1)?);
            Ok(())
        },
    )
    .await;
    look.settings(&mut facts).await;
    look.runs(&mut facts).await;
    look.tables(&mut facts).await;
    look.holders(&mut facts).await;
    look.limits(&mut facts).await;
    tokio::time::sleep(wish.clock_span).await;
    let (_, ahead) = clock(connection, wish).await?;
    facts.leapt = ahead - facts.ahead;
    Ok(facts)
}

/// The database's time, and by how much it is ahead of this machine's in the middle of the question.
async fn clock(connection: &Connection, wish: &Examine) -> Result<(Timestamp, i64), Fault> {
    let asked = (wish.now)();
    let row = connection.row(concat!("SELECT ", now!())).await?;
    let answered = (wish.now)();
    let found = rows::instant(&row, 0)?;
    let middle = i64::midpoint(asked.as_micros(), answered.as_micros());
    Ok((found, found.as_micros() - middle))
}

struct Look<'c>(&'c Connection);

impl Look<'_> {
    /// Reads the rows of a statement into the facts; if that fails, what they would say was not seen.
    async fn each(
        &self,
        facts: &mut Facts,
        what: &str,
        statement: &str,
        read: impl Fn(&mut Facts, &Row) -> Result<(), Fault>,
    ) {
        let found = self.0.client().query_typed(statement, &[]).await.map_err(Fault::from);
        let read = found.and_then(|found| found.iter().try_for_each(|row| read(facts, row)));
        if let Err(fault) = read {
            facts.unseen.push(format!("{what} ({fault})"));
        }
    }

    async fn settings(&self, facts: &mut Facts) {
        let statement = "SELECT coalesce(current_setting('fsync', true), ''),
                                coalesce(current_setting('synchronous_commit', true), ''),
                                coalesce(current_setting('full_page_writes', true), ''),
                                coalesce(current_setting('autovacuum', true), ''),
                                coalesce(current_setting('synchronous_standby_names', true), ''),
                                coalesce(nullif(current_setting('max_connections', true), '')::int8, 0)
                                    - coalesce(nullif(current_setting('superuser_reserved_connections', true), '')::int8, 0)
                                    - coalesce(nullif(current_setting('reserved_connections', true), '')::int8, 0),
                                coalesce(nullif(current_setting('autovacuum_freeze_max_age', true), '')::int8, 0)";
        self.each(facts, "the settings of the server", statement, |facts, row| {
            facts.settings = Settings {
                fsync: row.try_get(0)?,
                synchronous_commit: row.try_get(1)?,
                full_page_writes: row.try_get(2)?,
                autovacuum: row.try_get(3)?,
                synchronous_standby_names: row.try_get(4)?,
                most_connections: row.try_get(5)?,
                freeze_after: row.try_get(6)?,
            };
            Ok(())
        })
        .await;
    }

    async fn runs(&self, facts: &mut Facts) {
        self.each(facts, "the runs", "SELECT state, count(*) FROM live GROUP BY state ORDER BY state", |facts, row| {
            facts.runs.push((rows::state(row.try_get(0)?)?, rows::count(row, 1)?));
            Ok(())
        })
        .await;
        let leases = concat!(
            "SELECT (SELECT count(*) FROM leases WHERE dead_at IS NULL AND expires_at > ",
            now!(),
            "), (SELECT max(expires_at) FROM leases),
               (SELECT count(*) FROM leases JOIN live ON live.owner = leases.id WHERE leases.dead_at IS NOT NULL),
               (SELECT min(leases.dead_at) FROM leases JOIN live ON live.owner = leases.id WHERE leases.dead_at IS NOT NULL)"
        );
        self.each(facts, "the leases of replicas", leases, |facts, row| {
            facts.replicas = row.try_get(0)?;
            facts.last_lease = rows::time(row, 1)?;
            facts.orphans = rows::count(row, 2)?;
            facts.orphaned_at = rows::time(row, 3)?;
            Ok(())
        })
        .await;
        let oldest = "SELECT workflows.name, state.number, first.ended_at
                      FROM workflows, unnest(ARRAY[100, 101, 102, 103]::int2[]) AS state (number),
                           LATERAL (SELECT ended.ended_at FROM ended
                                    WHERE ended.workflow = workflows.id AND ended.state = state.number AND NOT ended.pinned
                                      AND ended.ended_at IS NOT NULL
                                    ORDER BY ended.id LIMIT 1) AS first";
        self.each(facts, "the oldest runs", oldest, |facts, row| {
            let state: State = rows::state(row.try_get(1)?)?;
            facts.oldest.push((row.try_get(0)?, state, rows::instant(row, 2)?));
            Ok(())
        })
        .await;
    }

    async fn tables(&self, facts: &mut Facts) {
        let tables = format!(
            "SELECT stat.relname::text, pg_table_size(stat.relid), pg_indexes_size(stat.relid),
                    greatest(stat.n_live_tup, 0), stat.n_dead_tup, stat.n_tup_upd, stat.n_tup_hot_upd,
                    extract(epoch FROM now() - greatest(stat.last_vacuum, stat.last_autovacuum))::int8,
                    coalesce('autovacuum_enabled=false' = ANY(class.reloptions), false),
                    greatest(class.reltuples, 0)::int8
             FROM pg_stat_user_tables AS stat JOIN pg_class AS class ON class.oid = stat.relid
             WHERE stat.schemaname = current_schema() AND stat.relname IN {OURS} ORDER BY 2 DESC"
        );
        self.each(facts, "the statistics of tables", &tables, |facts, row| {
            let table = TableFacts {
                name: row.try_get(0)?,
                bytes: rows::count(row, 1)?,
                index_bytes: rows::count(row, 2)?,
                rows: rows::count(row, 3)?.max(rows::count(row, 9)?),
                dead: rows::count(row, 4)?,
                updates: rows::count(row, 5)?,
                hot_updates: rows::count(row, 6)?,
                vacuumed: row.try_get(7)?,
                refuses_vacuum: row.try_get(8)?,
            };
            if table.name == "ended" {
                facts.ended = table.rows;
            }
            facts.tables.push(table);
            Ok(())
        })
        .await;
        let indexes = format!(
            "SELECT class.relname::text, pg_relation_size(class.oid), greatest(class.reltuples, 0)::int8, pg_index.indisvalid
             FROM pg_index JOIN pg_class AS class ON class.oid = pg_index.indexrelid
                  JOIN pg_class AS owner ON owner.oid = pg_index.indrelid
                  JOIN pg_namespace ON pg_namespace.oid = owner.relnamespace
             WHERE pg_namespace.nspname = current_schema() AND owner.relname IN {OURS} ORDER BY 2 DESC"
        );
        self.each(facts, "the sizes of indexes", &indexes, |facts, row| {
            facts.indexes.push(IndexFacts {
                name: row.try_get(0)?,
                bytes: rows::count(row, 1)?,
                rows: rows::count(row, 2)?,
                is_valid: row.try_get(3)?,
            });
            Ok(())
        })
        .await;
    }

    /// Who holds rows back from vacuum.
    async fn holders(&self, facts: &mut Facts) {
        let sessions = "SELECT pid, coalesce(usename::text, ''), coalesce(application_name, ''), coalesce(state, ''),
                               extract(epoch FROM now() - xact_start)::int8
                        FROM pg_stat_activity
                        WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid()
                          AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)
                          AND coalesce(backend_type, '') NOT LIKE 'autovacuum%'
                        ORDER BY xact_start LIMIT 10";
        self.each(facts, "the sessions", sessions, |facts, row| {
            facts.snapshots.push(Snapshot {
                pid: row.try_get(0)?,
                user: row.try_get(1)?,
                application: row.try_get(2)?,
                state: row.try_get(3)?,
                seconds: row.try_get(4)?,
            });
            Ok(())
        })
        .await;
        let hidden =
            "SELECT count(*) FROM pg_stat_activity WHERE query = '<insufficient privilege>' AND datname IS NOT NULL";
        self.each(facts, "which sessions are hidden", hidden, |facts, row| {
            facts.hidden = row.try_get(0)?;
            Ok(())
        })
        .await;
        let prepared = "SELECT gid, owner::text, extract(epoch FROM now() - prepared)::int8 FROM pg_prepared_xacts
                        ORDER BY prepared LIMIT 10";
        self.each(facts, "the prepared transactions", prepared, |facts, row| {
            let (gid, owner, seconds) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            facts.prepared.push(Prepared { gid, owner, seconds });
            Ok(())
        })
        .await;
        let slots = "SELECT slot_name::text, active,
                            CASE WHEN pg_is_in_recovery() OR restart_lsn IS NULL THEN 0
                                 ELSE greatest(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::int8 END,
                            greatest(coalesce(age(xmin), 0), coalesce(age(catalog_xmin), 0))::int8
                     FROM pg_replication_slots ORDER BY 3 DESC LIMIT 10";
        self.each(facts, "the replication slots", slots, |facts, row| {
            facts.slots.push(Slot {
                name: row.try_get(0)?,
                is_active: row.try_get(1)?,
                bytes: rows::count(row, 2)?,
                transactions: row.try_get(3)?,
            });
            Ok(())
        })
        .await;
        self.each(facts, "the standbys", "SELECT count(*) FROM pg_stat_replication", |facts, row| {
            facts.standbys = row.try_get(0)?;
            Ok(())
        })
        .await;
    }

    async fn limits(&self, facts: &mut Facts) {
        let connections = "SELECT coalesce(sum(numbackends), 0)::int8 FROM pg_stat_database";
        self.each(facts, "the number of connections", connections, |facts, row| {
            facts.connections = row.try_get(0)?;
            Ok(())
        })
        .await;
        let age = "SELECT age(datfrozenxid)::int8 FROM pg_database WHERE datname = current_database()";
        self.each(facts, "the age of transactions", age, |facts, row| {
            facts.transactions = row.try_get(0)?;
            Ok(())
        })
        .await;
    }
}
