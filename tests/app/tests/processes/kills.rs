//! SIGKILL at moments that no one chose.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::load::Load;
use crate::process::Orchestrator;
use crate::world::World;
use crate::{SETTLED, WITHOUT_SCHEDULES, audit};

const KILLS: usize = 8;
/// The same seed kills at the same moments.
const SEED: &str = "ORCHESTRATOR_TEST_SEED";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_moments_under_load_it_loses_nothing_and_doubles_nothing() {
    let seed = std::env::var(SEED).map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("seed {seed}; set {SEED}={seed} to try it again");
    let mut dice = StdRng::seed_from_u64(seed);
    let world = World::unreliable().await;
    let mut orchestrator = Orchestrator::over(&world);
    orchestrator.start(&[]).await;
    let load = Load::begin(orchestrator.runs(), seed);

    let begun = Instant::now();
    for kill in 1..=KILLS {
        // Now and then while it still starts, mostly while it works.
        let life = if dice.random_bool(0.25) { 20..400 } else { 1_000..3_500 };
        let life = Duration::from_millis(dice.random_range(life));
        tokio::time::sleep(life).await;
        orchestrator.kill().await;
        println!("kill {kill} at {:?}, after a life of {life:?}", begun.elapsed());
        orchestrator.spawn(&[]);
    }
    orchestrator.ready().await;
    tokio::time::sleep(Duration::from_secs(1)).await;

    let started = load.end().await;
    // Schedules would continue starting runs for ever.
    orchestrator.kill().await;
    orchestrator.start(&WITHOUT_SCHEDULES).await;
    println!("kills {}, {}", KILLS + 1, audit::settle(&world, orchestrator.runs(), &started, SETTLED).await);
}
