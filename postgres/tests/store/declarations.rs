//! Replicas that declare different schedules, as in a rollout: none retires or changes what a newer one declares.

use std::time::Duration;

use engine::schedule::Spec;
use engine::store::{Declare, ListSchedules, Schedule, ScheduleRow, Source, Store};
use engine::time::{Clock, Timestamp};
use postgres_store::testing::{Release, database, expire};
use postgres_store::{Postgres, PostgresOptions};
use tokio_postgres::Config;

async fn replica(database: &Config) -> Postgres {
    Postgres::open(PostgresOptions::new(database.clone())).await.unwrap()
}

fn now() -> Timestamp {
    Clock::system().now()
}

fn every(name: &str, hours: u64) -> Schedule {
    Schedule::new(name, "declared.first", Spec::every(Duration::from_secs(hours * 3_600)))
}

/// Declares these, all of the configuration.
async fn declare(store: &Postgres, schedules: &[Schedule]) {
    declare_and_keep(store, schedules, &[]).await;
}

async fn declare_and_keep(store: &Postgres, schedules: &[Schedule], kept: &[&str]) {
    let schedules = schedules.iter().map(|schedule| (Source::Configuration, schedule.clone())).collect();
    let kept = kept.iter().map(|name| (*name).to_owned()).collect();
    store.declare_schedules(Declare { now: now(), zone_database: "2026a", schedules, kept }).await.unwrap();
}

/// Those that are not retired.
async fn kept(store: &Postgres) -> Vec<Schedule> {
    let rows = store.schedules(ListSchedules { limit: 99, ..ListSchedules::default() }).await.unwrap();
    rows.into_iter().filter(|row: &ScheduleRow| row.retired_at.is_none()).map(|row| row.schedule).collect()
}

async fn has_to_declare(store: &Postgres) -> bool {
    store.shared().unwrap().schedule_news().await.unwrap().declare
}

#[tokio::test]
async fn old_and_new_replicas_do_not_take_each_others_schedules_back() {
    let database = database(Release::Newest).await;
    let (before, after) = ([every("both", 1), every("old", 1)], [every("both", 2), every("new", 1)]);
    let old = replica(&database).await;
    assert!(has_to_declare(&old).await);
    declare(&old, &before).await;
    assert!(!has_to_declare(&old).await);
    let new = replica(&database).await;
    declare(&new, &after).await;
    let all = [every("both", 2), every("new", 1), every("old", 1)];
    assert_eq!(kept(&new).await, all, "the old replica lives, and what the new one says of both came later");

    // Another of the old release starts again in the middle of the rollout.
    let again = replica(&database).await;
    declare(&again, &before).await;
    declare(&old, &before).await;
    assert_eq!(kept(&new).await, all);
    for store in [&old, &new, &again] {
        assert!(!has_to_declare(store).await);
    }

    again.close().await.unwrap();
    assert!(!has_to_declare(&new).await, "another one lives that declares it");
    old.close().await.unwrap();
    assert!(has_to_declare(&new).await);
    declare(&new, &after).await;
    assert_eq!(kept(&new).await, after);
    assert!(!has_to_declare(&new).await);
}

#[tokio::test]
async fn a_release_that_is_rolled_back_declares_what_it_declared_before() {
    let database = database(Release::Newest).await;
    let (before, after) = ([every("both", 1)], [every("both", 2), every("new", 1)]);
    let old = replica(&database).await;
    declare(&old, &before).await;
    old.close().await.unwrap();
    let new = replica(&database).await;
    declare(&new, &after).await;
    let back = replica(&database).await;
    declare(&back, &before).await;
    assert_eq!(kept(&back).await, [every("both", 1), every("new", 1)], "it appeared last");
    new.close().await.unwrap();
    declare(&back, &before).await;
    assert_eq!(kept(&back).await, before);
}

#[tokio::test]
async fn the_last_replica_that_lives_says_what_there_is_also_where_a_newer_one_was_lost() {
    let database = database(Release::Newest).await;
    let old = replica(&database).await;
    declare(&old, &[every("both", 1)]).await;
    let new = replica(&database).await;
    declare(&new, &[every("both", 2), every("new", 1)]).await;
    new.die();
    assert!(!has_to_declare(&old).await, "its lease lasts");
    expire(&database, new.lease()).await;
    assert!(has_to_declare(&old).await);
    declare(&old, &[every("both", 1)]).await;
    assert_eq!(kept(&old).await, [every("both", 1)]);
}

#[tokio::test]
async fn a_schedule_that_one_replica_cannot_keep_is_retired_by_none() {
    let database = database(Release::Newest).await;
    let [one, two] = [replica(&database).await, replica(&database).await];
    declare(&one, &[every("both", 1)]).await;
    declare_and_keep(&two, &[], &["both"]).await;
    one.close().await.unwrap();
    assert!(!has_to_declare(&two).await);
    declare_and_keep(&two, &[], &["both"]).await;
    assert_eq!(kept(&two).await, [every("both", 1)]);
}
