//! A PostgreSQL database with many runs that have ended and many that wait, as after months of work.

use engine::State;
use engine::time::Clock;
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use crate::filled::{AGE, journal};
use crate::load::STEPS;

/// Rows of one statement.
const BATCH: usize = 100_000;

/// When what waits is due: after everything that is measured.
const DUE: std::time::Duration = std::time::Duration::from_hours(24);

/// Adds so many runs of `bench.chain` that have succeeded, and so many that wait. A replica has opened the database before.
pub(crate) async fn fill(client: &Client, ended: usize, waiting: usize) -> anyhow::Result<()> {
    let clock = Clock::following_tokio(Clock::system().now().before(AGE));
    let (entry, facts) = journal(&clock);
    let created = clock.now().as_micros();
    let due = Clock::system().now().after(DUE).as_micros();
    client.batch_execute("INSERT INTO workflows (id, name, version) SELECT coalesce(max(id), 0) + 1, 'bench.filled', 1 FROM workflows ON CONFLICT DO NOTHING").await?;
    let state = |state: State| i16::from(state as u8);
    for (table, count, state) in [("ended", ended, state(State::Succeeded)), ("live", waiting, state(State::Waiting))] {
        for first in (0..count).step_by(BATCH) {
            let last = (first + BATCH).min(count) - 1;
            let [first, last] = [i32::try_from(first)?, i32::try_from(last)?];
            let (facts, steps) = (i64::try_from(facts)?, STEPS);
            let values: [(&(dyn ToSql + Sync), Type); 9] = [
                (&first, Type::INT4),
                (&last, Type::INT4),
                (&table, Type::TEXT),
                (&state, Type::INT2),
                (&created, Type::INT8),
                (&due, Type::INT8),
                (&facts, Type::INT8),
                (&steps, Type::INT4),
                (&entry.as_ref(), Type::BYTEA),
            ];
            client.execute_typed(statement(table), &values).await?;
        }
    }
    client.batch_execute("VACUUM ANALYZE").await?;
    Ok(())
}

/// Ids are as those of runs: the time first.
fn statement(table: &str) -> &'static str {
    macro_rules! fill {
        ($table:literal, $due:literal, $ended:literal) => {
            concat!(
                "WITH made AS (
                     SELECT number, (lpad(to_hex($5::bigint / 1000 + number), 12, '0') || '7'
                                     || substr(md5($3 || number), 1, 3) || '8' || substr(md5($3 || number), 4, 15))::uuid AS id
                     FROM generate_series($1, $2) AS number),
                 runs AS (
                     INSERT INTO ",
                $table,
                " (id, workflow, bucket, state, rung_at, due_at, epoch, sequence, control, messages, steps, created_at,
                   updated_at, deadline, ended_at, wake_at, reason, pinned)
                     SELECT id, (SELECT max(workflows.id) FROM workflows WHERE name = 'bench.filled'), number % 64, $4, 0, ",
                $due,
                ", 1, $7, 0, 0, $8, $5, $5, $6, ",
                $ended,
                ", ",
                $due,
                ", '', false FROM made)
                 INSERT INTO journal (run, sequence, epoch, entry) SELECT id, $7, 1, $9 FROM made"
            )
        };
    }
    match table {
        "ended" => fill!("ended", "NULL::bigint", "$5"),
        _ => fill!("live", "$6", "NULL::bigint"),
    }
}
