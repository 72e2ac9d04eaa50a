//! `chain` on PostgreSQL with one replica and with three, compared with the calls and commits that it consists of.

use std::time::{Duration, Instant};

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::{Database, stop};
use crate::How;
use crate::cases::runs::Case;
use crate::limits::{ENTRY, raw_calls};
use crate::load::{STEPS, keep_in_flight_on};
use crate::process::Echo;
use crate::report::{Figure, Report};
use crate::sample::{Sample, count, median};

/// Replicas of the second measurement.
const REPLICAS: usize = 3;

/// Calls of a run, with the one that starts it, and its commits.
const CALLS: f64 = 6.0;
const COMMITS: f64 = 7.0;

pub(super) async fn measure(how: &How, report: &mut Report) -> anyhow::Result<()> {
    let echo = Echo::start(Duration::ZERO)?;
    for &in_flight in how.in_flight() {
        let (mut calls, mut commits) = (Vec::new(), Vec::new());
        let (mut alone, mut together, mut in_place) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..how.rounds {
            let database = Database::new().await;
            calls.push(raw_calls(&echo.address, in_flight, how.window() / 2).await?);
            let client = database.connect().await;
            commits.push(raw_commits(&client, how.window() / 4).await?);
            for (number, samples) in [(1, &mut alone), (REPLICAS, &mut together)] {
                let replicas = database.replicas(number, &echo, how).await?;
                let every: Vec<_> = replicas.iter().collect();
                samples.push(keep_in_flight_on(&every, Case::Chain.workflow(), in_flight, how.window()).await?);
                stop(replicas).await?;
            }
            in_place.push(updated_in_place(&client).await?);
        }
        let (calls, commits) = (Sample::median(&calls), Sample::median(&commits));
        let (alone, together) = (Sample::median(&alone), Sample::median(&together));

        let name = format!("postgres/{in_flight}");
        report.add(Figure::new(&name, "raw commits of one row", commits.per_second, "commits/s"));
        report.add(Figure::new(&name, "runs", alone.per_second, "runs/s"));
        let rate = Figure::new(&name, "calls", alone.per_second * CALLS, "calls/s").beside(calls.per_second);
        report.add(if in_flight >= 256 { rate.at_least(0.3) } else { rate });
        let p50 = Figure::new(&name, "run p50", alone.p50, "us");
        let least = CALLS * calls.p50 + COMMITS * commits.p50;
        report.add(if in_flight == 1 { p50.beside(least).at_most(3.0) } else { p50 });
        report.add(Figure::new(&name, "run p99", alone.p99, "us"));
        report.add(Figure::new(&name, "CPU for 1,000 steps", alone.cpu * 1_000.0 / f64::from(STEPS), "s"));
        let rate = Figure::new(&name, format!("runs, {REPLICAS} replicas"), together.per_second, "runs/s");
        let rate = rate.beside(alone.per_second);
        report.add(if in_flight >= 256 { rate.at_least(1.0) } else { rate });
        report.add(Figure::new(&name, format!("run p50, {REPLICAS} replicas"), together.p50, "us"));
        report.add(Figure::new(&name, "updates of runs in place", median(in_place), "").at_least(0.95));
    }
    Ok(())
}

/// Durable commits of one row each, one after the other.
async fn raw_commits(client: &Client, window: Duration) -> anyhow::Result<Sample> {
    client.batch_execute("CREATE TABLE IF NOT EXISTS raw (entry bytea NOT NULL)").await?;
    let insert = client.prepare_typed("INSERT INTO raw VALUES ($1)", &[Type::BYTEA]).await?;
    let mut times = Vec::new();
    let start = Instant::now();
    while start.elapsed() < window {
        let begun = Instant::now();
        client.execute(&insert, &[&ENTRY.as_slice()]).await?;
        times.push(u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    client.batch_execute("DROP TABLE raw").await?;
    Ok(Sample::of(times, start.elapsed()))
}

/// The share of updates of living runs that changed no index.
async fn updated_in_place(client: &Client) -> anyhow::Result<f64> {
    const SHARE: &str = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'live'";
    let row = client.query_one(SHARE, &[]).await?;
    let number =
        |column| row.try_get::<_, i64>(column).map(|number| count(usize::try_from(number).unwrap_or_default()));
    Ok(number(1)? / number(0)?)
}
