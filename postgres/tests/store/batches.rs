//! Many operations in one commit: what the database refuses of one run fails for that run alone.

use bytes::Bytes;
use engine::store::{Append, Appended, Created, NewRun, Store, StoreError};
use futures_util::future::join_all;
use postgres_store::testing::{Release, connect, database};

use crate::leases::{created, fact, new_run, replica};

/// What the database is made to refuse.
const REFUSED: &[u8] = b"refused";

#[tokio::test]
async fn a_run_that_the_database_refuses_fails_alone() {
    let database = database(Release::Newest).await;
    let store = replica(&database).await;
    let client = connect(&database).await;
    client.batch_execute("ALTER TABLE journal ADD CHECK (entry <> 'refused')").await.unwrap();

    let refused = |number: usize| number.is_multiple_of(7);
    let runs: Vec<NewRun> = (0..40)
        .map(|number| match refused(number) {
            true => NewRun { entry: Bytes::from_static(REFUSED), ..new_run(true) },
            false => new_run(true),
        })
        .collect();
    let answers = join_all(runs.iter().map(|run| store.create(run.clone()))).await;
    for (number, answer) in answers.iter().enumerate() {
        match refused(number) {
            true => assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}"),
            false => assert_eq!(*answer, Ok(Created::New)),
        }
    }

    let mut appends = Vec::new();
    for number in 0..40 {
        let append = fact(created(&store, new_run(true)).await, 1, 1);
        appends.push(match refused(number) {
            true => Append { entry: Bytes::from_static(REFUSED), ..append },
            false => append,
        });
    }
    let answers = join_all(appends.iter().map(|append| store.append(append.clone()))).await;
    for (number, answer) in answers.iter().enumerate() {
        match refused(number) {
            true => assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}"),
            false => assert_eq!(*answer, Ok(Appended::Done)),
        }
    }
}
