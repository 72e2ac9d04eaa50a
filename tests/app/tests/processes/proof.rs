//! Everything that can happen to replicas and to their database, in any order, under load: nothing is lost and nothing is doubled.
//!
//! `ORCHESTRATOR_TEST_SECONDS` says for how long, `ORCHESTRATOR_TEST_SEED` in which order.

use std::time::{Duration, Instant};

use postgres_store::testing::{Faults, Proxy, Release, Server, Stop, connect, own_server, settings};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;
use tokio::task::block_in_place;

use crate::clocks::WallClock;
use crate::load::Load;
use crate::process::Orchestrator;
use crate::replicas::any;
use crate::world::World;
use crate::{SETTLED, WITHOUT_SCHEDULES, audit};

const REPLICAS: usize = 3;

/// Longer than the leases of the replicas.
const PAST_ITS_LEASE: Duration = Duration::from_secs(5);

/// From this length on the database is held down for a minute.
const LONG: Duration = Duration::from_secs(300);

/// What happens at commits while it does.
const HARM: Faults = Faults {
    refused: 0.2,
    answer_lost: 0.05,
    request_lost: 0.05,
    late: 0.05,
    delayed: 0.1,
    delay: Duration::from_millis(200),
};

/// What happens to a replica, or to the database.
#[derive(Clone, Copy, Debug)]
enum Blow {
    Killed,
    Frozen,
    /// Its connections stay, and nothing moves on them.
    HalfOpen,
    /// Its connections end, and it gets no others.
    CutOff,
    CommitsHarmed,
    DatabaseRestarted,
    DatabaseCrashed,
    DatabaseHeldDown,
    /// All replicas, one after the other.
    Rolled,
    ClockSet,
}

const BLOWS: [Blow; 10] = [
    Blow::Killed,
    Blow::Frozen,
    Blow::HalfOpen,
    Blow::CutOff,
    Blow::CommitsHarmed,
    Blow::DatabaseRestarted,
    Blow::DatabaseCrashed,
    Blow::DatabaseHeldDown,
    Blow::Rolled,
    Blow::ClockSet,
];

/// A replica, the clock of its machine, and what is between it and the database.
struct Replica {
    process: Orchestrator,
    clock: WallClock,
    proxy: Proxy,
}

impl Replica {
    async fn new(world: &World, server: &Server, seed: u64) -> Self {
        let proxy = Proxy::before(&server.config(), seed).await.unwrap();
        let (url, password) = settings(&proxy.config());
        let mut process = Orchestrator::sharing(world, &url, password.as_deref());
        let clock = WallClock::new();
        process.launched_by(clock.launcher());
        Self { process, clock, proxy }
    }
}

async fn strike(blow: Blow, replicas: &mut [Replica], server: &mut Server, long: bool, dice: &mut StdRng) {
    let hit = dice.random_range(0..replicas.len());
    let Replica { process, clock, proxy } = &mut replicas[hit];
    println!("{blow:?}, replica {hit}");
    match blow {
        Blow::Killed => {
            process.kill().await;
            process.spawn(&[]);
        }
        Blow::Frozen => {
            process.signal(Signal::STOP);
            tokio::time::sleep(PAST_ITS_LEASE).await;
            process.signal(Signal::CONT);
        }
        Blow::HalfOpen => {
            proxy.half_open();
            tokio::time::sleep(PAST_ITS_LEASE).await;
            proxy.open();
        }
        Blow::CutOff => {
            proxy.refuse();
            tokio::time::sleep(PAST_ITS_LEASE).await;
            proxy.open();
        }
        Blow::CommitsHarmed => {
            proxy.harm(HARM);
            tokio::time::sleep(PAST_ITS_LEASE).await;
            proxy.harm(Faults::default());
        }
        Blow::DatabaseRestarted => restarted(server, Stop::Fast, Duration::ZERO).await,
        Blow::DatabaseCrashed => restarted(server, Stop::Immediate, Duration::ZERO).await,
        Blow::DatabaseHeldDown => {
            let down = if long { Duration::from_secs(60) } else { PAST_ITS_LEASE };
            restarted(server, Stop::Fast, down).await;
        }
        Blow::Rolled => {
            for replica in replicas {
                replica.process.ready().await;
                replica.process.stop(Duration::from_secs(40)).await;
                replica.process.start(&[]).await;
            }
        }
        Blow::ClockSet => clock.set(dice.random_range(-600..=600)),
    }
}

async fn restarted(server: &mut Server, how: Stop, down: Duration) {
    block_in_place(|| server.stop(how)).unwrap();
    tokio::time::sleep(down).await;
    block_in_place(|| server.begin()).unwrap();
}

/// A number that the environment gives.
fn given(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|said| said.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_to_replicas_and_their_database_nothing_is_lost_and_nothing_is_doubled() {
    let seed = given("ORCHESTRATOR_TEST_SEED").unwrap_or_else(rand::random);
    let seconds = Duration::from_secs(given("ORCHESTRATOR_TEST_SECONDS").unwrap_or(1));
    println!("set ORCHESTRATOR_TEST_SEED={seed} to try it again");
    let mut dice = StdRng::seed_from_u64(seed);
    let world = World::unreliable().await;
    let mut server = own_server(Release::Newest, &[], &["listen_addresses=".to_owned()]);
    let mut replicas = Vec::new();
    for number in 0..REPLICAS as u64 {
        let mut replica = Replica::new(&world, &server, seed.wrapping_add(number)).await;
        // Some minutes apart from the beginning.
        replica.clock.set(dice.random_range(-600..=600));
        replica.process.start(&[]).await;
        replicas.push(replica);
    }
    let load = Load::begin(any(replicas.iter().map(|replica| &replica.process)), seed);

    let begun = Instant::now();
    let mut rounds = 0;
    // Everything happens at least once.
    while rounds == 0 || begun.elapsed() < seconds {
        let mut blows = BLOWS;
        blows.shuffle(&mut dice);
        for blow in blows {
            tokio::time::sleep(Duration::from_millis(dice.random_range(300..1_200))).await;
            strike(blow, &mut replicas, &mut server, seconds >= LONG, &mut dice).await;
        }
        rounds += 1;
    }
    for replica in &mut replicas {
        replica.process.ready().await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;

    let started = load.end().await;
    // One of them finishes what the others began.
    for replica in &mut replicas {
        replica.process.kill().await;
    }
    let last = &mut replicas[0];
    last.process.start(&WITHOUT_SCHEDULES).await;
    let figures = audit::settle(&world, last.process.runs(), &started, SETTLED).await;
    println!("{rounds} rounds in {:?}, {figures}", begun.elapsed());
    journals_are_in_order(&server).await;
}

/// No owner wrote after the one that took over from it, and no entry is there twice.
async fn journals_are_in_order(server: &Server) {
    let client = connect(&server.config()).await;
    let out_of_order = "SELECT count(*) FILTER (WHERE epoch < before), count(DISTINCT epoch)
                        FROM (SELECT epoch, lag(epoch) OVER (PARTITION BY run ORDER BY sequence) AS before
                              FROM journal) AS entries";
    let row = client.query_one(out_of_order, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 0, "an outdated owner has written");
    assert!(row.get::<_, i64>(1) > 1, "no run was ever taken over");
    let twice = "SELECT count(*) FROM live JOIN ended USING (id)";
    assert_eq!(client.query_one(twice, &[]).await.unwrap().get::<_, i64>(0), 0, "a run lives and has ended");
}
