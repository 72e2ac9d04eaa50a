//! SIGSTOP and SIGCONT: a process that stands still while the world continues.

use std::time::Duration;

use rustix::process::Signal;

use crate::load::Load;
use crate::process::Orchestrator;
use crate::world::World;
use crate::{SETTLED, WITHOUT_SCHEDULES, audit};

const FROZEN: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_for_a_while_it_goes_on_where_it_was() {
    let world = World::unreliable().await;
    let mut orchestrator = Orchestrator::over(&world);
    orchestrator.start(&[]).await;
    let load = Load::begin(orchestrator.runs(), 11);

    tokio::time::sleep(Duration::from_millis(1_500)).await;
    orchestrator.signal(Signal::STOP);
    tokio::time::sleep(FROZEN).await;
    orchestrator.signal(Signal::CONT);
    orchestrator.ready().await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;

    let started = load.end().await;
    orchestrator.stop(Duration::from_secs(30)).await;
    orchestrator.start(&WITHOUT_SCHEDULES).await;
    println!("{}", audit::settle(&world, orchestrator.runs(), &started, SETTLED).await);
}
