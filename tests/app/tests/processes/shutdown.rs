//! SIGTERM, the way a rollout ends a replica.

use std::time::Duration;

use server::proto::orchestrator::admin::v1::WatchRunRequest;

use crate::load::{Load, Started, invite};
use crate::process::Orchestrator;
use crate::world::World;
use crate::{SETTLED, WITHOUT_SCHEDULES, audit};

/// `drain.grace` of the configuration, and a little for closing.
const GRACE: Duration = Duration::from_secs(25 + 5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_under_load_it_ends_in_order_and_the_next_start_goes_on() {
    let world = World::unreliable().await;
    let mut orchestrator = Orchestrator::over(&world);
    orchestrator.start(&[]).await;
    let load = Load::begin(orchestrator.runs(), 7);

    let mut watched = Vec::new();
    for stop in 1..=3 {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        // A client that watches holds nothing up.
        let mut runs = orchestrator.runs();
        let request = invite(uuid::Uuid::new_v4());
        let run_id = runs.start_run(request.clone()).await.unwrap().into_inner().run_id;
        watched.push(Started { request, run_id: run_id.clone() });
        let mut watch = runs.watch_run(WatchRunRequest { run_id, ..Default::default() }).await.unwrap().into_inner();
        let watching = tokio::spawn(async move { while let Ok(Some(_)) = watch.message().await {} });

        let took = orchestrator.stop(GRACE).await;
        println!("stop {stop} took {took:?}");
        watching.await.unwrap();
        orchestrator.start(&[]).await;
    }

    let mut started = load.end().await;
    started.append(&mut watched);
    orchestrator.stop(GRACE).await;
    orchestrator.start(&WITHOUT_SCHEDULES).await;
    println!("{}", audit::settle(&world, orchestrator.runs(), &started, SETTLED).await);
    orchestrator.stop(GRACE).await;
}
