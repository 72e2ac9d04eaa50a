//! Limits that count over all replicas: never more places than there are, and those of a lost replica come back.

use engine::store::{PlaceWish, Store};
use postgres_store::testing::{Release, database, expire};
use postgres_store::{Postgres, PostgresOptions};
use tokio_postgres::Config;

async fn replica(database: &Config) -> Postgres {
    Postgres::open(PostgresOptions::new(database.clone())).await.unwrap()
}

/// How many of four places a replica has that could use so many.
async fn places(store: &Postgres, used: u32, wanted: u32) -> u32 {
    let wish = PlaceWish { limit: "ai".to_owned(), total: 4, used, wanted };
    store.shared().unwrap().places(vec![wish]).await.unwrap()[0]
}

#[tokio::test]
async fn replicas_never_have_more_places_than_there_are() {
    let database = database(Release::Newest).await;
    let [one, two] = [replica(&database).await, replica(&database).await];
    assert_eq!(places(&one, 0, 9).await, 4);
    assert_eq!(places(&two, 0, 9).await, 0);
    assert_eq!(places(&one, 4, 9).await, 4, "what is in use is kept");
    assert_eq!(places(&one, 1, 9).await, 2);
    assert_eq!(places(&two, 0, 9).await, 2);
    assert_eq!(places(&one, 0, 0).await, 0);
    assert_eq!(places(&two, 2, 9).await, 4);
}

#[tokio::test]
async fn places_of_a_replica_that_is_gone_are_free_when_its_lease_is_over() {
    let database = database(Release::Newest).await;
    let [one, two, three] = [replica(&database).await, replica(&database).await, replica(&database).await];
    assert_eq!((places(&one, 0, 2).await, places(&two, 0, 2).await), (2, 2));
    assert_eq!(places(&three, 0, 9).await, 0);
    one.close().await.unwrap();
    assert_eq!(places(&three, 0, 9).await, 2, "it left in order");
    two.die();
    assert_eq!(places(&three, 2, 9).await, 2, "its lease lasts");
    expire(&database, two.lease()).await;
    assert_eq!(places(&three, 2, 9).await, 4);
}

#[tokio::test]
async fn replicas_that_ask_at_the_same_time_share_what_there_is() {
    let database = database(Release::Newest).await;
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(replica(&database).await);
    }
    for _ in 0..4 {
        let held = futures_util::future::join_all(replicas.iter().map(|store| places(store, 0, 9))).await;
        assert!(held.iter().sum::<u32>() <= 4, "{held:?}");
    }
    let mut held = futures_util::future::join_all(replicas.iter().map(|store| places(store, 0, 9))).await;
    held.sort_unstable();
    assert_eq!(held, [1, 1, 2]);
}
