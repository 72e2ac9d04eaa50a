//! The database as the target of a copy: what is read back is what was written, and no replica uses a part.

use engine::store::copying::{Kind, Origin, Page, TABLES, Table, Tally, Value};
use postgres_store::testing::{Release, connect, database};
use postgres_store::{Copied, CopyTarget, Postgres, PostgresOptions, Reserved};
use tokio_postgres::Config;
use uuid::Uuid;

/// Columns that are not copied: they mean something in this kind of store only.
const LEFT_OUT: &[&str] = &["bucket", "rung_at", "recall", "recalled_until", "declared_as"];

async fn target(database: &Config) -> CopyTarget {
    CopyTarget::open(&PostgresOptions::new(database.clone())).await.unwrap()
}

fn origin() -> Origin {
    Origin { store: Uuid::new_v4(), fence: Uuid::new_v4(), zone_database: None, adopted: Some((2, 1)) }
}

/// A row whose values tell its columns and its number apart; its key is unique.
fn row(table: &Table, number: u8) -> Vec<Value> {
    let value = |(column, (_, kind)): (usize, &(&str, Kind))| {
        let small = i64::from(number) * 50 + i64::try_from(column).unwrap();
        match kind {
            Kind::Bool => Value::Bool(number.is_multiple_of(2)),
            Kind::Int2 | Kind::Int4 => Value::Int(small),
            Kind::Int8 => Value::Int(small << 32),
            Kind::Uuid => Value::Uuid(Uuid::from_bytes([number; 16])),
            Kind::Text => Value::Text(format!("{number} of {column}, é")),
            Kind::Bytes => Value::Bytes(vec![number; column]),
        }
    };
    table.columns.iter().enumerate().map(value).collect()
}

async fn written(target: &CopyTarget, table: &Table) -> Tally {
    let mut copied = Copied::default();
    for pages in [0..3, 3..5] {
        let rows: Vec<Vec<Value>> = pages.map(|number| row(table, number)).collect();
        let page = Page { cursor: vec![9], last: rows.len() == 2, rows };
        target.write(table, &page, &mut copied).await.unwrap();
    }
    assert_eq!(target.copied(table).await.unwrap(), copied);
    copied.tally
}

#[tokio::test]
async fn what_is_read_back_is_what_was_written_in_every_column() {
    let database = database(Release::Oldest).await;
    let (target, origin) = (target(&database).await, origin());
    assert_eq!(target.reserve(origin.store, None).await, Ok(Reserved::Begun));
    target.begin(&origin).await.unwrap();
    for table in TABLES {
        let copied = written(&target, table).await;
        assert_eq!(copied.rows, 5);
        assert_eq!(target.tally(table, |_| ()).await, Ok(copied), "{}", table.name);
    }
    let somebody = connect(&database).await;
    somebody
        .batch_execute("UPDATE journal SET epoch = epoch + 1 WHERE run = (SELECT min(run::text) FROM journal)::uuid")
        .await
        .unwrap();
    let journal = TABLES.iter().find(|table| table.name == "journal").unwrap();
    assert_ne!(target.tally(journal, |_| ()).await, Ok(target.copied(journal).await.unwrap().tally));
}

#[tokio::test]
async fn every_column_of_every_table_is_copied() {
    let database = database(Release::Newest).await;
    let _made = target(&database).await;
    let found = connect(&database)
        .await
        .query(
            "SELECT table_name::text, column_name::text FROM information_schema.columns WHERE table_schema = 'public'
             AND table_name NOT IN ('store', 'leases', 'buckets', 'copied_tables', 'declarations', 'limits', 'places',
                                    'suspects')",
            &[],
        )
        .await
        .unwrap();
    assert!(found.len() > 100);
    for found in found {
        let (of, column): (&str, &str) = (found.get(0), found.get(1));
        let copied =
            TABLES.iter().any(|table| table.name == of && table.columns.iter().any(|(name, _)| *name == column));
        assert!(copied || LEFT_OUT.contains(&column), "{of}.{column} is not copied");
    }
}

#[tokio::test]
async fn no_replica_uses_a_part_and_a_copy_goes_beside_nothing() {
    let database = database(Release::Newest).await;
    let options = PostgresOptions::new(database.clone());
    let (target, origin) = (target(&database).await, origin());
    let (store, fence) = (origin.store, Some(origin.fence));
    assert_eq!(target.reserve(store, None).await, Ok(Reserved::Begun));
    let refused = async || Postgres::open(options.clone()).await.map(drop).unwrap_err().to_string();
    assert!(refused().await.contains("is not whole"));
    let other = target.reserve(Uuid::new_v4(), None).await.unwrap_err().to_string();
    assert!(other.contains("another store"), "{other}");
    target.begin(&origin).await.unwrap();
    assert_eq!(target.reserve(store, fence).await, Ok(Reserved::Begun));
    let later = target.reserve(store, Some(Uuid::new_v4())).await.unwrap_err().to_string();
    assert!(later.contains("an earlier copy"), "{later}");
    assert!(target.finish(&origin).await.is_err(), "it is not whole");
    for table in TABLES {
        let page = Page { last: true, ..Page::default() };
        target.write(table, &page, &mut Copied::default()).await.unwrap();
    }
    assert!(refused().await.contains("is not whole"));
    target.finish(&origin).await.unwrap();
    assert_eq!(target.reserve(store, fence).await, Ok(Reserved::Whole));

    let replica = Postgres::open(options).await.unwrap();
    let used = target.reserve(Uuid::new_v4(), None).await.unwrap_err().to_string();
    assert!(used.contains("an orchestrator runs on it"), "{used}");
    replica.die();
}
