//! A restored copy of a database: refused as if it were the store, adopted if that is asked for.

use std::time::Duration;

use bytes::Bytes;
use engine::state::State;
use engine::store::{Created, LookAtRuns, NewRun, Origin, Parent, Status, Store, StoreError};
use engine::time::{Clock, Timestamp};
use postgres_store::testing::{Release, connect, database};
use postgres_store::{Look, Postgres, PostgresOptions};
use tokio_postgres::Config;
use uuid::Uuid;

async fn open(database: &Config, adopt: bool) -> Result<Postgres, StoreError> {
    let mut options = PostgresOptions::new(database.clone());
    options.adopt = adopt;
    Postgres::open(options).await
}

fn run() -> NewRun {
    let created_at = Clock::system().now();
    let state = State::Pending;
    NewRun {
        id: Uuid::now_v7(),
        workflow: "adopted.first".to_owned(),
        workflow_version: 1,
        created_at,
        deadline: created_at.after(Duration::from_secs(3_600)),
        origin: None,
        previous_success: None,
        parent: None,
        change: None,
        claimed: false,
        entry: Bytes::from_static(b"created"),
        facts: 1,
        status: Status {
            state,
            reason: String::new(),
            ending_as: None,
            wake_at: None,
            awaits: Vec::new(),
            steps: 0,
            error: None,
        },
    }
}

async fn created(store: &Postgres, run: NewRun) -> Uuid {
    let id = run.id;
    assert_eq!(store.create(run).await, Ok(Created::New));
    id
}

async fn copied_at(store: &Postgres, run: Uuid) -> Option<Timestamp> {
    store.run(run).await.unwrap().unwrap().copied_at
}

/// The same in another database, as a restored dump is.
async fn copy_of(original: &Config) -> Config {
    let name = original.get_dbname().unwrap();
    let mut server = original.clone();
    server.dbname("postgres");
    connect(&server).await.batch_execute(&format!("CREATE DATABASE {name}_copy TEMPLATE {name}")).await.unwrap();
    let mut copy = original.clone();
    copy.dbname(format!("{name}_copy"));
    copy
}

#[tokio::test]
async fn a_copy_is_refused_until_it_is_adopted_and_its_runs_are_marked() {
    let original = database(Release::Newest).await;
    let store = open(&original, false).await.unwrap();
    let before = created(&store, run()).await;
    store.close().await.unwrap();
    drop(store);
    drop(open(&original, false).await.unwrap());

    let copy = copy_of(&original).await;
    let refused = open(&copy, false).await.map(drop).unwrap_err().to_string();
    assert!(refused.contains("a restored dump") && refused.contains("--adopt"), "{refused}");
    let adopted = open(&copy, true).await.unwrap();
    let until = copied_at(&adopted, before).await.unwrap();
    assert!(until <= Clock::system().now());

    let new = created(&adopted, run()).await;
    assert_eq!(copied_at(&adopted, new).await, None);
    let parent = Some(Parent { run: before, depth: 1 });
    let child = created(&adopted, NewRun { parent, status: ended(), ..run() }).await;
    assert_eq!(copied_at(&adopted, child).await, Some(until), "the original may have made it too");
    let nominal = Timestamp::from_micros(1);
    let origin = Some(Origin { schedule: "each".to_owned(), nominal, by: None });
    let of_tick = created(&adopted, NewRun { origin, status: ended(), ..run() }).await;
    assert_eq!(copied_at(&adopted, of_tick).await, Some(until));

    // Others come, as if their command line still said it.
    let other = open(&copy, true).await.unwrap();
    assert_eq!(copied_at(&other, new).await, None, "it is adopted once");
    drop(open(&copy, false).await.unwrap());
    drop(open(&original, false).await.unwrap());
}

/// Runs that end as they are created are written one by one, as children and runs of ticks are.
fn ended() -> Status {
    Status { state: State::Failed, ..run().status }
}

#[tokio::test]
async fn a_lease_is_taken_only_where_the_store_is_at_home() {
    let database = database(Release::Newest).await;
    drop(open(&database, false).await.unwrap());
    let somebody = connect(&database).await;
    somebody.batch_execute("UPDATE store SET home = 'elsewhere'").await.unwrap();
    assert!(matches!(open(&database, false).await.map(drop), Err(StoreError::Unusable(_))));
    drop(open(&database, true).await.unwrap());
    drop(open(&database, false).await.unwrap());
}

#[tokio::test]
async fn runs_in_flight_are_looked_at_beside_replicas() {
    let database = database(Release::Oldest).await;
    let looked = database.clone();
    let look = async move |ids: usize| {
        let options = PostgresOptions::new(looked.clone());
        let look = tokio::task::spawn_blocking(move || {
            let mut look = Look::at(&options)?;
            assert_eq!(look.count()?, ids as u64);
            let (all, first) = (look.ids(None, 9)?, look.ids(None, 1)?);
            assert_eq!(look.ids(first.first().copied(), 9)?, all[first.len()..]);
            all.into_iter().map(|id| Ok(look.run(id)?.unwrap())).collect::<Result<Vec<_>, StoreError>>()
        });
        look.await.unwrap()
    };
    assert!(matches!(look(0).await, Err(StoreError::Unusable(why)) if why.contains("no store")));
    let store = open(&database, false).await.unwrap();
    let ids = [created(&store, run()).await, created(&store, run()).await];
    created(&store, NewRun { status: ended(), ..run() }).await;
    let found = look(2).await.unwrap();
    assert_eq!(found.iter().map(|found| found.run).collect::<Vec<_>>(), ids);
    let entries = vec![(1, Bytes::from_static(b"created"))];
    assert_eq!((found[0].sequence, found[0].state, &found[0].entries), (1, State::Pending, &entries));
    assert_eq!((found[0].workflow.as_str(), found[0].version), ("adopted.first", 1));
}
