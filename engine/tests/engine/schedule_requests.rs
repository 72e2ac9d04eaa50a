//! One request id, one change, one answer for everything that is asked of schedules (D4): at the same moment, later, in another
//! process, and after the schedule was deleted.

use engine::engine::{Backfill, Engine, EngineError};
use engine::schedule::{Overlap, Spec};
use engine::store::{ListAudit, RequestKey, Requester, Schedule, Store as _};
use engine::testing::{Probe, World};
use engine::{Workflow as _, store::ListRuns};
use uuid::Uuid;

use crate::scheduling::{HOUR, Job, MINUTE, at, world};

const METHODS: [&str; 8] = [
    "CreateSchedule",
    "UpdateSchedule",
    "DeleteSchedule",
    "PauseSchedule",
    "ResumeSchedule",
    "TriggerSchedule",
    "BackfillSchedule",
    "CancelBackfill",
];

/// Hourly, so that no tick of its own comes.
fn hourly() -> Schedule {
    Schedule::new("hourly", Job::NAME, Spec::every(HOUR))
}

fn range() -> Backfill {
    Backfill { from: at(-600), until: at(-60), at_once: 1, per_minute: 1 }
}

/// A schedule in which the method may do what it does, and its backfill.
async fn prepared(world: &World, method: &str) -> Uuid {
    let (engine, asked) = (world.engine(), || Requester::new("ann", ""));
    if method == "CreateSchedule" {
        return Uuid::nil();
    }
    engine.create_schedule(hourly(), asked()).await.unwrap();
    match method {
        "ResumeSchedule" => drop(engine.pause_schedule("hourly".to_owned(), asked()).await.unwrap()),
        "CancelBackfill" => return engine.backfill_schedule("hourly".to_owned(), range(), asked()).await.unwrap().id,
        _ => {}
    }
    Uuid::nil()
}

/// Asks, and says what the answer names.
async fn ask(engine: &Engine, method: &str, backfill: Uuid, asked: Requester) -> Result<String, EngineError> {
    let name = "hourly".to_owned();
    let named = |row: engine::store::ScheduleRow| format!("{} {}", row.schedule.name, row.uid);
    Ok(match method {
        "CreateSchedule" => named(engine.create_schedule(hourly(), asked).await?),
        "UpdateSchedule" => {
            let slower = Schedule { spec: Spec::every(HOUR * 2), ..hourly() };
            named(engine.update_schedule(slower, Some(1), asked).await?)
        }
        "DeleteSchedule" => engine.delete_schedule(name, Some(1), asked).await.map(|()| "deleted".to_owned())?,
        "PauseSchedule" => named(engine.pause_schedule(name, asked).await?),
        "ResumeSchedule" => named(engine.resume_schedule(name, asked).await?),
        "TriggerSchedule" => {
            let triggered = engine.trigger_schedule(name, Some(Overlap::Skip), asked).await?;
            format!("{:?} {:?}", triggered.outcome, triggered.run)
        }
        "BackfillSchedule" => engine.backfill_schedule(name, range(), asked).await?.id.to_string(),
        "CancelBackfill" => engine.cancel_backfill(name, backfill, asked).await?.id.to_string(),
        other => panic!("{other} is not among the methods"),
    })
}

fn request(caller: &str, id: Uuid, hash: u8) -> Requester {
    Requester { request: Some(RequestKey { id, hash: [hash; 32] }), ..Requester::new(caller, "") }
}

/// How often a request of the method was carried out, and how many runs there are.
async fn done(world: &World, method: &str) -> (usize, usize) {
    let entries = world.store().audit(ListAudit { limit: 100, ..ListAudit::default() }).await.unwrap();
    let runs = world.store().list(ListRuns { limit: 100, ..ListRuns::default() }).await.unwrap();
    (entries.iter().filter(|entry| entry.action == method && entry.request.is_some()).count(), runs.len())
}

#[tokio::test(start_paused = true)]
async fn the_same_request_about_a_schedule_is_one_change_with_one_answer() {
    for method in METHODS {
        let world = world();
        let backfill = prepared(&world, method).await;
        let (id, engine) = (Uuid::new_v4(), world.engine());
        let (first, second) = tokio::join!(
            ask(engine, method, backfill, request("ann", id, 1)),
            ask(engine, method, backfill, request("bob", id, 1)),
        );
        let first = first.unwrap_or_else(|error| panic!("{method}: {error}"));
        assert_eq!(second.as_deref().ok(), Some(first.as_str()), "{method} at the same moment");
        tokio::time::sleep(MINUTE).await;
        let known = done(&world, method).await;
        assert_eq!(known, (1, usize::from(method == "TriggerSchedule")), "{method}");
        let same = |answer: Result<String, EngineError>, when: &str| match answer {
            Ok(answer) => assert_eq!(answer, first, "{method} {when}"),
            Err(error) => panic!("{method} {when}: {error}"),
        };
        same(ask(engine, method, backfill, request("ann", id, 1)).await, "later");
        let other = ask(engine, method, backfill, request("ann", id, 2)).await;
        assert!(matches!(other, Err(EngineError::RequestMismatch(_))), "{method} for another request: {other:?}");

        world.probe().kill();
        let world = world.crash(Probe::counting());
        let engine = world.engine();
        same(ask(engine, method, backfill, request("ann", id, 1)).await, "in another process");
        if method != "DeleteSchedule" {
            engine.delete_schedule("hourly".to_owned(), None, Requester::new("ann", "")).await.unwrap();
        }
        same(ask(engine, method, backfill, request("ann", id, 1)).await, "after the schedule was deleted");
        // One of the same name is another schedule.
        engine.create_schedule(hourly(), Requester::new("ann", "")).await.unwrap();
        same(ask(engine, method, backfill, request("ann", id, 1)).await, "after its name was given again");
        assert_eq!(done(&world, method).await, known, "{method}");
        assert_eq!(engine.store().backfills(engine.schedule("hourly").await.unwrap().uid).await.unwrap(), []);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_of_a_deleted_schedule_is_forgotten_after_a_day() {
    let world = world();
    let id = Uuid::new_v4();
    let backfill = prepared(&world, "CancelBackfill").await;
    ask(world.engine(), "CancelBackfill", backfill, request("ann", id, 1)).await.unwrap();
    world.engine().delete_schedule("hourly".to_owned(), None, Requester::new("ann", "")).await.unwrap();
    assert!(world.store().backfill(backfill).await.unwrap().is_some());
    // Longer than a request is remembered; what is old is looked for when something is written.
    for _ in 0..3 {
        tokio::time::sleep(HOUR * 13).await;
        world.engine().create_schedule(hourly(), Requester::new("ann", "")).await.unwrap();
        world.engine().delete_schedule("hourly".to_owned(), None, Requester::new("ann", "")).await.unwrap();
    }
    assert_eq!(world.store().backfill(backfill).await, Ok(None));
    let again = ask(world.engine(), "CancelBackfill", backfill, request("ann", id, 1)).await;
    assert!(matches!(again, Err(EngineError::Schedule(_))), "{again:?}");
}
