//! Schedules: a tick starts one run, or none, and is over.

use super::*;
use crate::store::{Origin, Schedule, ScheduleRow, Tick, Ticked};

fn hourly() -> Schedule {
    Schedule { name: "hourly".to_owned(), workflow: WORKFLOW.to_owned(), interval: 60 * MINUTE }
}

async fn declared(store: &dyn Store) -> ScheduleRow {
    let mut rows = store.declare_schedules(vec![hourly()]).await.unwrap();
    assert_eq!(rows.len(), 1);
    rows.remove(0)
}

fn tick(schedule: &ScheduleRow, nominal: Timestamp) -> Tick {
    let schedule_name = schedule.schedule.name.clone();
    let origin = Origin { schedule: schedule_name.clone(), nominal };
    let run = NewRun { origin: Some(origin), ..pending() };
    Tick { schedule: schedule_name, uid: schedule.uid, nominal, run }
}

async fn end(store: &dyn Store, state: State) {
    for run in claim_at(store, now().after(MINUTE), 10).await.runs {
        let end = Append { status: status(state), ..fact(run.id, run.epoch, run.sequence) };
        assert_eq!(store.append(end).await, Ok(Appended::Done));
    }
}

pub(super) async fn a_tick_starts_its_run_once(stores: &dyn Stores) {
    let store = stores.empty().await;
    let schedule = declared(&*store).await;
    assert_eq!((schedule.high_water, schedule.last_run), (None, None));
    let nominal = now();
    let tick = tick(&schedule, nominal);
    assert_eq!(store.tick(tick.clone()).await, Ok(Ticked::Started));
    let marked = store.schedules().await.unwrap();
    assert_eq!((marked[0].high_water, marked[0].last_run), (Some(nominal), Some(tick.run.id)));
    end(&*store, State::Succeeded).await;
    assert_eq!(store.tick(tick.clone()).await, Ok(Ticked::Past));
    let earlier = Timestamp::from_micros(nominal.as_micros() - 1);
    assert_eq!(store.tick(Tick { nominal: earlier, ..self::tick(&schedule, earlier) }).await, Ok(Ticked::Past));
    let row = row(&*store, tick.run.id).await;
    assert_eq!(row.origin, tick.run.origin);
}

pub(super) async fn a_tick_during_the_last_run_is_skipped(stores: &dyn Stores) {
    let store = stores.empty().await;
    let schedule = declared(&*store).await;
    let first = tick(&schedule, now());
    assert_eq!(store.tick(first.clone()).await, Ok(Ticked::Started));
    let second = tick(&schedule, now().after(MINUTE));
    assert_eq!(store.tick(second.clone()).await, Ok(Ticked::Overlapped(first.run.id)));
    assert_eq!(store.run(second.run.id).await, Ok(None));
    let marked = store.schedules().await.unwrap();
    assert_eq!((marked[0].high_water, marked[0].last_run), (Some(second.nominal), Some(first.run.id)));
    end(&*store, State::Succeeded).await;
    assert_eq!(store.tick(second).await, Ok(Ticked::Past));
}

pub(super) async fn a_tick_after_the_end_of_the_last_run_starts(stores: &dyn Stores) {
    let store = stores.empty().await;
    let schedule = declared(&*store).await;
    let start = now();
    for (hours, state) in [(0, State::Succeeded), (1, State::Failed), (2, State::Cancelled)] {
        let tick = tick(&schedule, start.after(hours * 60 * MINUTE));
        assert_eq!(store.tick(tick).await, Ok(Ticked::Started));
        end(&*store, state).await;
    }
}

pub(super) async fn marks_of_schedules_that_stay_are_kept(stores: &dyn Stores) {
    let store = stores.empty().await;
    let schedule = declared(&*store).await;
    assert_eq!(store.tick(tick(&schedule, now())).await, Ok(Ticked::Started));
    let marked = store.schedules().await.unwrap();
    let store = stores.succeed(store).await;
    assert_eq!(store.schedules().await.unwrap(), marked);
    let faster = Schedule { interval: MINUTE, ..hourly() };
    let added = Schedule { name: "another".to_owned(), ..hourly() };
    let rows = store.declare_schedules(vec![faster.clone(), added.clone()]).await.unwrap();
    assert_eq!(rows[0].schedule, added);
    assert_eq!(rows[1], ScheduleRow { schedule: faster, ..marked[0].clone() });
}

pub(super) async fn a_schedule_that_left_and_came_back_is_another_one(stores: &dyn Stores) {
    let store = stores.empty().await;
    let first = declared(&*store).await;
    assert_eq!(store.declare_schedules(Vec::new()).await, Ok(Vec::new()));
    assert_eq!(store.tick(tick(&first, now())).await, Ok(Ticked::Past));
    let second = declared(&*store).await;
    assert_ne!(first.uid, second.uid);
    assert_eq!(store.tick(tick(&first, now())).await, Ok(Ticked::Past));
    assert_eq!(store.tick(tick(&second, now())).await, Ok(Ticked::Started));
}
