//! A rollout: the next release has brought the schema up, and replicas of this one still run, or start.

use engine::store::conformance;
use engine::store::{Created, Store, StoreError};
use postgres_store::testing::{Release, connect, database};
use postgres_store::{Postgres, PostgresOptions};

use crate::leases::new_run;
use crate::suite::{Databases, expand};

/// Sentences that between them use every table.
macro_rules! hold {
    ($stores:expr; $($sentence:ident)*) => {
        $(conformance::$sentence(&$stores).await;)*
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn this_release_works_on_what_the_next_one_leaves_to_it() {
    hold! {
        Databases::ahead(Release::Newest);
        a_created_run_is_there_with_its_first_facts
        appends_queued_together_keep_their_order
        an_ended_run_is_given_back_and_stays_ended
        a_failed_run_is_reopened
        a_new_owner_claims_what_the_old_one_held
        a_repeated_creation_gives_the_first_run
        requests_that_name_a_removed_run_are_answered_with_what_it_was
        the_end_of_a_child_lies_in_its_parents_inbox
        entries_are_listed_newest_first_in_pages
        runs_are_listed_by_workflow_and_state
        old_ends_are_purged_in_batches_and_pinned_runs_stay
        a_schedule_is_created_changed_paused_and_deleted
        a_backfill_starts_runs_beside_the_schedules_own
        ticks_wait_in_their_order_and_no_more_than_there_is_room_for
        a_clock_that_is_set_back_starts_no_run_twice_and_stops_nothing
    }
}

#[tokio::test]
async fn a_replica_of_this_release_starts_beside_one_of_the_next_and_changes_nothing_of_the_schema() {
    let database = database(Release::Oldest).await;
    let first = Postgres::open(PostgresOptions::new(database.clone())).await.unwrap();
    expand(&database).await;
    let version =
        async || -> i32 { connect(&database).await.query_one("SELECT version FROM store", &[]).await.unwrap().get(0) };
    let newer = version().await;
    let second = Postgres::open(PostgresOptions::new(database.clone())).await.unwrap();
    assert_eq!(version().await, newer);
    let run = new_run(true);
    assert_eq!(first.create(run.clone()).await, Ok(Created::New));
    assert_eq!(second.run(run.id).await.unwrap().unwrap().id, run.id);
}

#[tokio::test]
async fn a_schema_that_no_longer_has_what_this_release_needs_is_refused() {
    let database = database(Release::Newest).await;
    drop(Postgres::open(PostgresOptions::new(database.clone())).await.unwrap());
    let contract = "UPDATE store SET version = 1000, oldest_reader = 1000";
    connect(&database).await.batch_execute(contract).await.unwrap();
    let opened = Postgres::open(PostgresOptions::new(database)).await;
    let Err(StoreError::Unusable(why)) = opened else { panic!("{opened:?}") };
    assert!(why.contains("version 1000") && why.contains("newer release"), "{why}");
}
