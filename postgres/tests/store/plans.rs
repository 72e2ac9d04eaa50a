//! How the server finds what statements ask for: no statement reads the whole of a table that grows.

use engine::store::conformance;
use postgres_store::testing::{Release, connect, statements};
use postgres_store::{Postgres, PostgresOptions};
use serde_json::Value;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::suite::Databases;

/// Tables that grow with the runs.
const GROWING: &[&str] = &["live", "ended", "journal", "inbox", "requests", "audit", "ticks", "schedule_runs"];

/// The parts of a plan that read all of such a table.
fn whole(plan: &Value, limited: bool, found: &mut Vec<String>) {
    let text = |key: &str| plan.get(key).and_then(Value::as_str).unwrap_or_default();
    let (node, table) = (text("Node Type"), text("Relation Name"));
    let by_index = matches!(node, "Index Scan" | "Index Only Scan" | "Bitmap Index Scan");
    let of_index = GROWING.iter().any(|table| text("Index Name").starts_with(table));
    let all_of_index = by_index && plan.get("Index Cond").is_none() && !limited && of_index;
    if (node == "Seq Scan" && GROWING.contains(&table)) || all_of_index {
        found.push(format!("{node} of {table}{}", text("Index Name")));
    }
    let limited = limited || node == "Limit";
    for part in plan.get("Plans").and_then(Value::as_array).into_iter().flatten() {
        whole(part, limited, found);
    }
}

async fn plan(client: &Client, statement: &str) -> Value {
    let explained = client.simple_query(&format!("EXPLAIN (GENERIC_PLAN, FORMAT JSON) {statement}")).await;
    let explained = explained.unwrap_or_else(|error| panic!("{error:?} in {statement}"));
    let row = explained.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    serde_json::from_str(row.unwrap()).unwrap()
}

#[tokio::test]
async fn no_statement_reads_the_whole_of_a_table_that_grows() {
    let databases = Databases::of(Release::Newest);
    conformance::suite(&databases).await;
    let config = databases.made().await;
    let store = Postgres::open(PostgresOptions::new(config.clone())).await.unwrap();
    let mut client = config;
    client.options("-c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off");
    let client = connect(&client).await;
    let mut found = Vec::new();
    for statement in statements::with_types() {
        let plan = plan(&client, &statement).await;
        whole(&plan[0]["Plan"], false, &mut found);
        if let Some(last) = found.last_mut()
            && !last.contains('\n')
        {
            *last = format!("{last}:\n{statement}");
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n\n"));
    drop(store);
}

#[tokio::test]
async fn a_statement_that_reads_a_whole_table_is_found() {
    let config = Databases::of(Release::Newest).made().await;
    let _store = Postgres::open(PostgresOptions::new(config.clone())).await.unwrap();
    let client = connect(&config).await;
    let mut found = Vec::new();
    for statement in [
        "SELECT id FROM live WHERE updated_at < $1",
        "UPDATE ended SET pinned = true WHERE pause_reason = $1",
        "WITH old AS (DELETE FROM requests WHERE hash = $1 RETURNING id) SELECT id FROM old",
    ] {
        whole(&plan(&client, statement).await[0]["Plan"], false, &mut found);
    }
    assert_eq!(found, ["Seq Scan of live", "Seq Scan of ended", "Seq Scan of requests"]);
}
