//! Several replicas over one database, killed and frozen under load: what one lets go the others take.

use std::time::Duration;

use postgres_store::testing::{Release, database, settings};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;
use server::proto::orchestrator::admin::v1::run_service_client::RunServiceClient;
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

use crate::load::{Load, invite};
use crate::process::Orchestrator;
use crate::world::World;
use crate::{SETTLED, WITHOUT_SCHEDULES, audit};

const REPLICAS: usize = 3;
const BLOWS: usize = 6;
/// Longer than the leases of the replicas.
const FROZEN: Duration = Duration::from_secs(5);

/// Replicas over one new database; nothing runs yet.
pub(crate) async fn replicas(world: &World, count: usize) -> Vec<Orchestrator> {
    let (url, password) = settings(&database(Release::Newest).await);
    (0..count).map(|_| Orchestrator::sharing(world, &url, password.as_deref())).collect()
}

/// Calls whichever replica answers.
pub(crate) fn any<'r>(replicas: impl IntoIterator<Item = &'r Orchestrator>) -> RunServiceClient<Channel> {
    let addresses = replicas.into_iter().map(|replica| format!("http://{}", replica.admin()));
    RunServiceClient::new(Channel::balance_list(addresses.map(|address| Endpoint::from_shared(address).unwrap())))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_are_killed_and_frozen_lose_nothing_and_double_nothing() {
    let seed = std::env::var("ORCHESTRATOR_TEST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("seed {seed}; set ORCHESTRATOR_TEST_SEED={seed} to try it again");
    let mut dice = StdRng::seed_from_u64(seed);
    let world = World::unreliable().await;
    let mut replicas = replicas(&world, REPLICAS).await;
    for replica in &mut replicas {
        replica.start(&[]).await;
    }
    let load = Load::begin(any(&replicas), seed);

    let numbers: Vec<usize> = (0..REPLICAS).collect();
    for blow in 1..=BLOWS {
        tokio::time::sleep(Duration::from_millis(dice.random_range(500..2_500))).await;
        let hit = *numbers.choose(&mut dice).unwrap();
        let replica = &mut replicas[hit];
        if blow % 3 == 0 {
            println!("blow {blow}: replica {hit} is frozen for longer than its lease");
            replica.signal(Signal::STOP);
            tokio::time::sleep(FROZEN).await;
            replica.signal(Signal::CONT);
        } else {
            println!("blow {blow}: replica {hit} is killed");
            replica.kill().await;
            replica.spawn(&[]);
        }
    }
    for replica in &mut replicas {
        replica.ready().await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;

    let started = load.end().await;
    // One of them finishes what the others began.
    for replica in &mut replicas {
        replica.kill().await;
    }
    replicas[0].start(&WITHOUT_SCHEDULES).await;
    println!("blows {BLOWS}, {}", audit::settle(&world, replicas[0].runs(), &started, SETTLED).await);
}

/// A service that takes two calls at the same time, from all replicas together.
const STRICT: [&str; 6] = [
    "--set",
    "services.users.max_in_flight=2",
    "--set",
    "services.users.strict_max_in_flight=true",
    "--set",
    "schedules.invite.enabled=false",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strict_limit_counts_over_replicas_and_a_lost_one_gives_its_places_back() {
    let world = World::slow(Duration::from_millis(30)).await;
    let mut replicas = replicas(&world, REPLICAS).await;
    for replica in &mut replicas {
        replica.start(&STRICT).await;
    }
    let mut runs = any(&replicas);
    let mut ids = Vec::new();
    for _ in 0..30 {
        ids.push(runs.start_run(invite(Uuid::new_v4())).await.unwrap().into_inner().run_id);
    }
    replicas[1].kill().await;
    replicas.remove(1);
    let ended = audit::all_ended(&mut any(&replicas), SETTLED).await;
    assert_eq!(ended.len(), ids.len());
    assert_eq!(world.crowd.most(), 2);
}
