//! A look at a database: what is found on a real server, by an owner and by a user with few rights.

use std::time::Duration;

use engine::retention::Retention;
use engine::store::StoreError;
use engine::store::doctor::Examination;
use engine::time::Clock;
use postgres_store::doctor::{Examine, examine};
use postgres_store::testing::{Release, connect, database};
use postgres_store::{Postgres, PostgresOptions};
use tokio_postgres::Config;

fn wish() -> Examine {
    Examine { now: || Clock::system().now(), retention: Retention::default(), clock_span: Duration::ZERO }
}

async fn look(database: &Config) -> Examination {
    examine(&PostgresOptions::new(database.clone()), &wish()).await.unwrap()
}

/// What was found about this database alone: other tests use the same server.
fn kinds(examination: &Examination) -> Vec<&'static str> {
    let of_server = ["FEW_CONNECTIONS", "OLD_SNAPSHOT", "PREPARED_TRANSACTION"];
    let kinds = examination.findings.iter().map(|finding| finding.kind);
    kinds.filter(|kind| !of_server.contains(kind)).collect()
}

fn figure<'e>(examination: &'e Examination, name: &str) -> &'e str {
    &examination.figures.iter().find(|figure| figure.name == name).unwrap().value
}

#[tokio::test]
async fn a_healthy_database_has_no_findings_on_any_release() {
    for release in [Release::Newest, Release::Oldest] {
        let database = database(release).await;
        let store = Postgres::open(PostgresOptions::new(database.clone())).await.unwrap();
        let found = look(&database).await;
        assert_eq!(kinds(&found), Vec::<&str>::new(), "{found:#?}");
        assert_eq!((figure(&found, "replicas"), figure(&found, "runs")), ("1", "none"));
        assert!(figure(&found, "server").starts_with("PostgreSQL"));
        store.die();
    }
}

#[tokio::test]
async fn a_database_without_a_store_is_said_to_have_none() {
    let error = examine(&PostgresOptions::new(database(Release::Newest).await), &wish()).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unusable(why) if why.contains("no store")), "{error}");
}

#[tokio::test]
async fn what_endangers_a_database_is_found_by_a_look_at_it() {
    let database = database(Release::Newest).await;
    drop(Postgres::open(PostgresOptions::new(database.clone())).await.unwrap());
    let somebody = connect(&database).await;
    let name = database.get_dbname().unwrap();
    somebody
        .batch_execute(&format!(
            "ALTER DATABASE {name} SET synchronous_commit = off; ALTER TABLE live SET (autovacuum_enabled = false);
             INSERT INTO leases VALUES (gen_random_uuid(), 0, (extract(epoch FROM now()) * 1000000)::int8 + 3600000000)"
        ))
        .await
        .unwrap();
    let found = look(&database).await;
    assert_eq!(kinds(&found), ["FORGETS", "CLOCK_SET_BACK", "AUTOVACUUM_OFF"], "{found:#?}");
    somebody.batch_execute("DELETE FROM leases; UPDATE store SET copying = true").await.unwrap();
    assert_eq!(kinds(&look(&database).await), ["FORGETS", "AUTOVACUUM_OFF", "COPY_UNDER_WAY"]);
}

#[tokio::test]
async fn a_user_with_few_rights_sees_what_it_may_and_is_told_the_rest() {
    let database = database(Release::Newest).await;
    let name = database.get_dbname().unwrap().to_owned();
    let user = format!("plain_{name}");
    connect(&database)
        .await
        .batch_execute(&format!("CREATE ROLE {user} LOGIN; GRANT ALL ON SCHEMA public TO {user}"))
        .await
        .unwrap();
    let mut plain = database.clone();
    plain.user(&user);
    let store = Postgres::open(PostgresOptions::new(plain.clone())).await.unwrap();
    let _somebody = connect(&database).await;
    let found = look(&plain).await;
    assert_eq!(kinds(&found), ["NOT_ALL_SEEN"], "{found:#?}");
    let unseen = &found.findings.iter().find(|finding| finding.kind == "NOT_ALL_SEEN").unwrap().says;
    assert!(unseen.starts_with("not seen: what ") && unseen.ends_with("sessions of other users do"), "{unseen}");
    store.die();
}

#[tokio::test]
async fn a_database_that_forgets_is_refused_unless_that_is_allowed() {
    let database = database(Release::Newest).await;
    let name = database.get_dbname().unwrap();
    connect(&database)
        .await
        .batch_execute(&format!("ALTER DATABASE {name} SET synchronous_commit = off"))
        .await
        .unwrap();
    let mut options = PostgresOptions::new(database.clone());
    let refused = Postgres::open(options.clone()).await.map(drop).unwrap_err().to_string();
    assert!(refused.contains("synchronous_commit is off") && refused.contains("store.allow_data_loss"), "{refused}");
    options.allow_data_loss = true;
    Postgres::open(options).await.unwrap().die();
}
