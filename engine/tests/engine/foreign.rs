//! Code that waits for what is no step: refused in tests, told in production, and never mistaken.

use std::sync::Arc;
use std::time::Duration;

use engine::engine::{Engine, Parts, Start};
use engine::random::RandomSource;
use engine::store::sqlite::Sqlite;
use engine::testing::World;
use engine::time::{Clock, Timestamp};
use engine::transport::{Reserving, Transport};
use engine::{Failure, Limits, Registry, Retention, State, Workflow};
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::common::{Input, Look, Output, services, until, workflow};
use crate::told::Told;

const MINUTE: Duration = Duration::from_secs(60);

workflow!(Naps, "test.naps", |ctx, input| {
    ctx.sleep("first", MINUTE).await?;
    tokio::time::sleep(MINUTE).await;
    ctx.sleep("second", MINUTE).await?;
    tokio::time::sleep(MINUTE).await;
    Ok(Output::of("awake", input.number))
});

#[tokio::test(start_paused = true)]
async fn a_wait_for_no_step_blocks_the_run_in_a_test_and_says_where() {
    let world = World::new(services(), |r| r.register(|| Naps));
    let run = world.start::<Naps>(Input::of("", 1)).await.unwrap();
    let reason = until(&world, run, &[State::Blocked]).await.row.status.reason;
    assert!(reason.starts_with("FOREIGN_WAIT: after first#0 the code waits for something that is no step"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_wake_from_elsewhere_blocks_the_run_in_a_test_although_a_step_is_open() {
    workflow!(Hears, "test.hears", |ctx, input| {
        let (tell, told) = oneshot::channel();
        tokio::spawn(async move {
            tokio::time::sleep(MINUTE).await;
            let _ = tell.send(());
        });
        let night = ctx.sleep("night", 100 * MINUTE);
        let told = async { told.await.map_err(|_| Failure::new(engine::Code::Internal, "nobody told")) };
        futures_util::try_join!(night, told)?;
        Ok(Output::of("", input.number))
    });
    let limits = Limits { linger: 200 * MINUTE, ..Limits::default() };
    let probe = engine::testing::Probe::counting();
    let world = World::with(services(), |r| r.register(|| Hears), limits, probe);
    let run = world.start::<Hears>(Input::of("", 1)).await.unwrap();
    let reason = until(&world, run, &[State::Blocked]).await.row.status.reason;
    assert!(reason.starts_with("FOREIGN_WAIT: after night#0"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn what_the_branches_of_one_run_wait_for_from_each_other_is_its_own() {
    workflow!(Shares, "test.shares", |ctx, input| {
        let (tell, mut told) = mpsc::channel(1);
        let turn = Arc::new(Mutex::new(0));
        let tells = ctx.branch("tells", {
            let turn = Arc::clone(&turn);
            |ctx| async move {
                for number in 0..input.number {
                    let mut turn = turn.lock().await;
                    *turn += ctx.call(Look::of("tell", number)).await?.number;
                    let _ = tell.send(*turn).await;
                }
                Ok(())
            }
        });
        let hears = ctx.branch("hears", |ctx| async move {
            let mut heard = 0;
            while let Some(number) = told.recv().await {
                let _turn = turn.lock().await;
                heard = ctx.call(Look::of("hear", number)).await?.number;
            }
            Ok(heard)
        });
        let ((), heard) = ctx.all((tells, hears)).await?;
        Ok(Output::of("heard", heard))
    });
    let world = World::new(services(), |r| r.register(|| Shares));
    assert_eq!(world.run::<Shares>(Input::of("", 4)).await, Ok(Output::of("heard", 11)));
}

/// Where no call is ever made.
struct Nowhere;

impl Transport for Nowhere {
    fn reserve(&self, _: &str, _: uuid::Uuid, _: Duration) -> Reserving {
        Box::pin(std::future::pending())
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_no_step_is_told_once_in_production_and_code_goes_on_after_it() {
    let told = Told::by_this_thread();
    let clock = Clock::following_tokio(Timestamp::from_micros(1_767_225_600_000_000));
    let mut workflows = Registry::new();
    workflows.register(|| Naps).unwrap();
    let engine = Engine::new(Parts {
        store: Arc::new(Sqlite::in_memory(clock.clone()).unwrap()),
        transport: Arc::new(Nowhere),
        workflows,
        clock,
        random: RandomSource::seeded(0),
        limits: Limits { linger: 10 * MINUTE, ..Limits::default() },
        retention: Retention::default(),
    });
    let input = prost::Message::encode_to_vec(&Input::of("", 7)).into();
    let start = Start { workflow: Naps::NAME.to_owned(), input, asked: None, deadline: None };
    let (_, ended) = engine.start_and_wait(start, 10 * MINUTE).await.unwrap();
    let ended = ended.unwrap();
    assert_eq!(ended.row.status.state, State::Succeeded);
    assert_eq!(told.of("workflow waits for what is no step, a crash meanwhile can block its run"), 1);
}
