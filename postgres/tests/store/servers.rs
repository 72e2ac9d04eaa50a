//! The servers that the tests run on.

use postgres_store::testing::{Release, connect, database};
use tokio_postgres::Client;

async fn connected(release: Release) -> Client {
    connect(&database(release).await).await
}

async fn says(client: &Client, setting: &str) -> String {
    client.query_one(&format!("SHOW {setting}"), &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn every_test_has_a_database_of_its_own_that_keeps_what_it_acknowledges() {
    for release in [Release::Newest, Release::Oldest] {
        let (one, other) = (connected(release).await, connected(release).await);
        one.batch_execute("CREATE TABLE mine (number integer)").await.unwrap();
        assert!(other.query("SELECT number FROM mine", &[]).await.is_err(), "it is in a database of its own");
        assert_eq!((says(&one, "fsync").await, says(&one, "synchronous_commit").await), ("on".into(), "on".into()));
    }
}
