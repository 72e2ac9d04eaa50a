//! The servers that the tests run on.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

use postgres_store::testing::{Release, database};
use tokio_postgres::{Client, NoTls};

async fn connected(release: Release) -> Client {
    let (client, connection) = database(release).await.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
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
