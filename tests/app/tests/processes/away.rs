//! A database that is not there when a replica starts.

use std::time::Duration;

use engine::store::Store;
use postgres_store::testing::{Release, Stop, connect, own_server, settings};
use postgres_store::{Postgres, PostgresOptions};
use tonic_health::pb::health_check_response::ServingStatus;

use crate::process::Orchestrator;
use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_starts_before_its_database_waits_for_it_and_says_so_once() {
    let world = World::unreliable().await;
    let mut server = own_server(Release::Newest, &[], &["listen_addresses=".to_owned()]);
    let (url, password) = settings(&server.config());
    let mut replica = Orchestrator::sharing(&world, &url, password.as_deref());
    server.stop(Stop::Fast).unwrap();
    replica.spawn(&[]);
    replica.says(ServingStatus::NotServing).await;
    assert_eq!(replica.status("liveness").await, Some(ServingStatus::Serving));
    // Several tries.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(replica.status("readiness").await, Some(ServingStatus::NotServing));

    server.begin().unwrap();
    replica.ready().await;
    let told =
        |message: &str| replica.logged(&["WARN", "INFO"]).iter().filter(|line| line["message"] == message).count();
    assert_eq!((told("store is not reachable, the start waits for it"), told("store is reachable")), (1, 1));
    replica.stop(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_waits_for_its_database_ends_when_it_is_told_to() {
    let world = World::unreliable().await;
    let mut replica = Orchestrator::sharing(&world, "host=/no/such/folder user=guras", None);
    replica.spawn(&[]);
    replica.says(ServingStatus::NotServing).await;
    replica.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waiting_does_not_mend_ends_the_start() {
    let world = World::unreliable().await;
    let server = own_server(Release::Oldest, &[], &["listen_addresses=".to_owned()]);
    let (url, _) = settings(&server.config());
    let ends = async |url: &str| {
        let mut replica = Orchestrator::sharing(&world, url, None);
        replica.spawn(&[]);
        let status = replica.ended(Duration::from_secs(20)).await;
        (status.code(), replica.said())
    };
    let (code, said) = ends(&url.replace("user=postgres", "user=nobody")).await;
    assert!(code == Some(1) && said.contains("role \"nobody\" does not exist"), "{code:?} {said}");
    let (code, said) = ends(&url.replace("dbname=postgres", "dbname=nothing")).await;
    assert!(code == Some(1) && said.contains("database \"nothing\" does not exist"), "{code:?} {said}");

    let options = PostgresOptions::new(server.config());
    Postgres::open(options).await.unwrap().close().await.unwrap();
    let newer = "UPDATE store SET version = 9999, oldest_reader = 9999";
    connect(&server.config()).await.batch_execute(newer).await.unwrap();
    let (code, said) = ends(&url).await;
    assert!(code == Some(1) && said.contains("its schema has version 9999"), "{code:?} {said}");
}
