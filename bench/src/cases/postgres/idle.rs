//! What a replica that has nothing to do asks of the database.

use std::time::Duration;

use tokio_postgres::Client;

use super::{Database, stop};
use crate::How;
use crate::process::Echo;
use crate::report::{Figure, Report};
use crate::sample::count;

/// Until a replica that started has come to rest, and how long it is looked at.
const SETTLES: Duration = Duration::from_secs(12);
const WINDOW: Duration = Duration::from_secs(30);

pub(super) async fn measure(how: &How, report: &mut Report) -> anyhow::Result<()> {
    let echo = Echo::start(Duration::ZERO)?;
    for number in [1, 3] {
        let database = Database::new().await;
        let client = database.connect().await;
        let replicas = database.replicas(number, &echo, how).await?;
        tokio::time::sleep(SETTLES).await;
        let (before, cpu) = (commits(&client).await?, cpu(&replicas)?);
        tokio::time::sleep(WINDOW).await;
        let (after, cpu) = (commits(&client).await?, self::cpu(&replicas)? - cpu);
        stop(replicas).await?;
        let each = |total: f64| total / WINDOW.as_secs_f64() / count(number);
        let name = format!("idle replica of {number}");
        // The question itself is one of them.
        let transactions = count(usize::try_from(after - before)?) - 1.0;
        report.add(Figure::new("postgres", format!("{name}, commits"), each(transactions), "commits/s").at_most(5.0));
        report.add(Figure::new("postgres", format!("{name}, CPU"), 100.0 * each(cpu), "% of a core"));
    }
    Ok(())
}

fn cpu(replicas: &[crate::process::Orchestrator]) -> anyhow::Result<f64> {
    let each = replicas.iter().map(|replica| Ok(replica.usage()?.cpu.as_secs_f64()));
    each.sum()
}

/// Transactions of the database so far, one for each statement that is not in one with others.
async fn commits(client: &Client) -> anyhow::Result<i64> {
    const COMMITS: &str = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()";
    Ok(client.query_one(COMMITS, &[]).await?.try_get(0)?)
}
