//! What becomes of ticks: overlap, catch-up, pauses, triggers, backfills, and what the ledger says of each.

use std::collections::HashMap;
use std::time::Duration;

use engine::engine::{Backfill, EngineError};
use engine::schedule::{CatchUp, CatchUpMode, Overlap, Spec};
use engine::store::{ListRuns, RequestKey, Requester, RunRow, Schedule, ScheduleRow, TickOrigin, TickOutcome, TickRow};
use engine::testing::{Probe, World};
use engine::time::Timestamp;
use engine::{Code, Context, Failure, State, Workflow};
use prost::Message;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::common::{Input, Output, Put, services};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

/// Takes so many seconds, and fails where its input says so. Says which tick it is of.
pub(crate) struct Job;

impl Workflow for Job {
    const NAME: &'static str = "test.job";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, input: Input) -> Result<Output, Failure> {
        ctx.call(Put::of("begun", 1)).await?;
        ctx.sleep("work", SECOND * input.number).await?;
        if input.text == "fail" {
            return Err(Failure::new(Code::Aborted, "as it was told"));
        }
        let tick = ctx.schedule().map(|tick| format!("{} {} {:?}", tick.schedule, tick.nominal, tick.previous_success));
        Ok(Output::of(tick.unwrap_or_default(), 0))
    }
}

pub(crate) fn world() -> World {
    World::new(services(), |registry| registry.register(|| Job))
}

/// Every minute, each run taking so many seconds.
pub(crate) fn minutely(seconds: u32) -> Schedule {
    let mut schedule = Schedule::new("each", Job::NAME, Spec::every(MINUTE));
    schedule.input = Input::of("", seconds).encode_to_vec().into();
    schedule
}

fn failing() -> Schedule {
    Schedule { input: Input::of("fail", 1).encode_to_vec().into(), ..minutely(1) }
}

pub(crate) fn with(overlap: Overlap, seconds: u32) -> Schedule {
    let mut schedule = minutely(seconds);
    schedule.policy.overlap = overlap;
    schedule
}

pub(crate) fn catching_up(mode: CatchUpMode, window: Duration, limit: u32) -> Schedule {
    let mut schedule = with(Overlap::AllowAll, 1);
    schedule.policy.catch_up = CatchUp { mode, window, limit };
    schedule
}

/// Runs the loop over these.
pub(crate) fn run(world: &World, schedules: Vec<Schedule>) -> CancellationToken {
    let (engine, stop) = (world.engine().clone(), CancellationToken::new());
    let stopped = stop.clone();
    tokio::spawn(async move { engine.run_schedules(schedules, stopped).await.unwrap() });
    stop
}

pub(crate) async fn runs(world: &World) -> Vec<RunRow> {
    let mut runs = world.engine().store().list(ListRuns { limit: 1_000, ..ListRuns::default() }).await.unwrap();
    runs.reverse();
    runs
}

pub(crate) async fn row(world: &World) -> ScheduleRow {
    world.engine().schedule("each").await.unwrap()
}

/// The ledger, oldest first.
pub(crate) async fn ledger(world: &World) -> Vec<TickRow> {
    let mut rows = world.engine().ticks("each", None, 1_000).await.unwrap();
    rows.reverse();
    rows
}

/// Minutes since the beginning of the test, and what became of each.
pub(crate) async fn told(world: &World) -> Vec<(i64, i64, TickOutcome)> {
    let rows = ledger(world).await;
    rows.iter().map(|row| (minute(row.first), minute(row.last), row.outcome)).collect()
}

pub(crate) fn minute(at: Timestamp) -> i64 {
    (at.as_micros() - BEGINNING) / 60_000_000
}

pub(crate) const BEGINNING: i64 = 1_767_225_600_000_000;

pub(crate) fn at(minute: i64) -> Timestamp {
    Timestamp::from_micros(BEGINNING + minute * 60_000_000)
}

pub(crate) fn asked() -> Requester {
    Requester::new("someone", "a reason")
}

use TickOutcome::{BufferFull, Excluded, Failed, Missed, Paused, Skipped, Started};

#[tokio::test(start_paused = true)]
async fn a_tick_is_told_with_its_run_and_its_lateness() {
    let world = world();
    run(&world, vec![minutely(1)]);
    tokio::time::sleep(MINUTE * 3 + SECOND * 5).await;
    let (rows, runs, row) = (ledger(&world).await, runs(&world).await, row(&world).await);
    assert_eq!(told(&world).await, [(1, 1, Started), (2, 2, Started), (3, 3, Started)]);
    for (row, run) in rows.iter().zip(&runs) {
        assert_eq!((row.run, row.count, row.origin), (Some(run.id), 1, TickOrigin::Clock));
        assert_eq!(run.origin.as_ref().map(|origin| origin.nominal), Some(row.first));
    }
    let facts = row.facts;
    assert_eq!((facts.started, facts.last_run, facts.missed), (3, Some(runs[2].id), 0));
    assert_eq!((facts.last_success, facts.last_success_nominal), (runs[2].ended_at, Some(at(3))));
    assert!(facts.lateness.unwrap() < 100_000, "{:?}", facts.lateness);
}

#[tokio::test(start_paused = true)]
async fn code_is_told_its_tick_and_the_success_before_it() {
    let world = world();
    run(&world, vec![minutely(1)]);
    tokio::time::sleep(MINUTE * 2 + SECOND * 5).await;
    let runs = runs(&world).await;
    let mut said = Vec::new();
    for run in &runs {
        said.push(world.result_of::<Job>(run.id).await.unwrap().text);
    }
    let previous = format!("{:?}", Some(at(1)));
    assert_eq!(said, [format!("each {} None", at(1)), format!("each {} {previous}", at(2))]);
    assert_eq!(world.run::<Job>(Input::default()).await.unwrap().text, "", "nobody's tick");
}

#[tokio::test(start_paused = true)]
async fn skipped_ticks_say_for_which_run_and_are_counted_in_a_row() {
    let world = world();
    run(&world, vec![with(Overlap::Skip, 150)]);
    tokio::time::sleep(MINUTE * 3 + SECOND * 5).await;
    assert_eq!(told(&world).await, [(1, 1, Started), (2, 3, Skipped)]);
    let (rows, facts) = (ledger(&world).await, row(&world).await.facts);
    assert_eq!((rows[1].run, rows[1].reason.as_str()), (rows[0].run, "an earlier run continues"));
    assert_eq!((facts.consecutive_skips, facts.missed, facts.last_missed), (2, 2, Some(at(3))));
    tokio::time::sleep(MINUTE).await;
    assert_eq!(row(&world).await.facts.consecutive_skips, 0);
}

#[tokio::test(start_paused = true)]
async fn a_tick_that_waits_starts_at_the_end_of_the_run_before_it() {
    for (overlap, expected) in [
        (Overlap::BufferOne, vec![(1, 1, Started), (2, 2, Started), (3, 3, BufferFull)]),
        (Overlap::BufferAll(5), vec![(1, 1, Started), (2, 2, Started), (3, 3, Started)]),
    ] {
        let world = world();
        let stop = run(&world, vec![with(overlap, 150)]);
        tokio::time::sleep(MINUTE * 3 + SECOND * 20).await;
        stop.cancel();
        // The loop is gone: another replica continues with what waits.
        let world = world.crash(Probe::counting());
        let mut paused = with(overlap, 150);
        paused.spec.end = Some(at(4));
        run(&world, vec![paused]);
        tokio::time::sleep(MINUTE * 10).await;
        assert_eq!(told(&world).await, expected);
        let runs = runs(&world).await;
        for pair in runs.windows(2) {
            let gap = pair[1].created_at.since(pair[0].ended_at.unwrap());
            assert!(gap < SECOND * 6, "{gap:?} after the end of the one before");
        }
        assert!(runs.iter().all(|run| run.status.state == State::Succeeded));
        assert_eq!(row(&world).await.facts.buffered, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn as_many_runs_go_on_as_are_allowed() {
    for (overlap, most) in [(Overlap::AllowAll, 5), (Overlap::AllowN(2), 2)] {
        let world = world();
        run(&world, vec![with(overlap, 3_600)]);
        tokio::time::sleep(MINUTE * 5 + SECOND).await;
        assert_eq!(row(&world).await.open.len(), most, "{overlap:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_run_before_is_cancelled_and_the_next_begins_behind_its_end() {
    let world = world();
    run(&world, vec![with(Overlap::CancelOther, 90)]);
    tokio::time::sleep(MINUTE * 3 + SECOND * 5).await;
    let runs = runs(&world).await;
    let states: Vec<State> = runs.iter().map(|run| run.status.state).collect();
    assert_eq!(states, [State::Cancelled, State::Cancelled, State::Waiting]);
    assert_eq!(told(&world).await, [(1, 1, Started), (2, 2, Started), (3, 3, Started)]);
    let begun: Vec<u64> = runs.iter().map(|run| run.epoch).collect();
    assert!(begun.iter().all(|epoch| *epoch > 0), "each has begun: {begun:?}");
    let audit =
        world.engine().store().audit(engine::store::ListAudit { limit: 9, ..Default::default() }).await.unwrap();
    assert!(audit.iter().all(|entry| entry.caller == "schedule each" && entry.detail == "CANCEL_OTHER"));
}

#[tokio::test(start_paused = true)]
async fn a_paused_run_that_is_cancelled_makes_way_for_the_next() {
    let world = world();
    run(&world, vec![with(Overlap::CancelOther, 3_600)]);
    tokio::time::sleep(MINUTE + SECOND * 10).await;
    let first = runs(&world).await[0].id;
    world.engine().pause(first, true, asked()).await.unwrap();
    world.until(first, State::Paused).await;
    tokio::time::sleep(MINUTE).await;
    let runs = runs(&world).await;
    assert_eq!((runs[0].status.state, runs[1].status.state), (State::Cancelled, State::Waiting));
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_made_up_for_as_the_schedule_says() {
    for (mode, window, limit, expected) in [
        (CatchUpMode::Last, HOUR, 100, vec![(2, 11, Missed), (12, 12, Started)]),
        (CatchUpMode::Last, MINUTE * 5, 100, vec![(2, 7, Missed), (8, 11, Missed), (12, 12, Started)]),
        (CatchUpMode::None, HOUR, 100, vec![(2, 12, Missed)]),
        (CatchUpMode::All, HOUR, 3, vec![(2, 9, Missed), (10, 10, Started), (11, 11, Started), (12, 12, Started)]),
        (CatchUpMode::All, MINUTE, 100, vec![(2, 11, Missed), (12, 12, Started)]),
    ] {
        let world = world();
        let stop = run(&world, vec![catching_up(mode, window, limit)]);
        tokio::time::sleep(MINUTE + SECOND * 5).await;
        stop.cancel();
        tokio::time::sleep(MINUTE * 11 + SECOND * 30).await;
        let world = world.crash(Probe::counting());
        run(&world, vec![catching_up(mode, window, limit)]);
        tokio::time::sleep(SECOND * 10).await;
        assert_eq!(told(&world).await[1..], expected, "{mode:?} {window:?} {limit}");
        let rows = ledger(&world).await;
        for row in rows.iter().skip(1) {
            let says = if row.outcome == Started { "late: no replica was there" } else { "no replica was there" };
            assert!(row.reason.contains(says), "{}", row.reason);
        }
        tokio::time::sleep(MINUTE).await;
        assert_eq!(told(&world).await.last(), Some(&(13, 13, Started)));
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_tick_that_a_restart_falls_on_is_made_up_for() {
    let world = world();
    let stop = run(&world, vec![minutely(1)]);
    tokio::time::sleep(SECOND * 30).await;
    stop.cancel();
    tokio::time::sleep(MINUTE).await;
    let world = world.crash(Probe::counting());
    run(&world, vec![minutely(1)]);
    tokio::time::sleep(SECOND).await;
    assert_eq!(told(&world).await, [(1, 1, Started)]);
}

#[tokio::test(start_paused = true)]
async fn a_pause_holds_over_restarts_and_its_ticks_say_so() {
    let world = world();
    let stop = run(&world, vec![minutely(1)]);
    tokio::time::sleep(MINUTE + SECOND * 5).await;
    let paused = world.engine().pause_schedule("each".to_owned(), asked()).await.unwrap().paused.unwrap();
    assert_eq!((paused.by.as_str(), paused.note.as_str()), ("someone", "a reason"));
    tokio::time::sleep(MINUTE * 2).await;
    stop.cancel();
    let world = world.crash(Probe::counting());
    run(&world, vec![minutely(1)]);
    tokio::time::sleep(MINUTE * 2).await;
    world.engine().resume_schedule("each".to_owned(), asked()).await.unwrap();
    tokio::time::sleep(MINUTE).await;
    assert_eq!(told(&world).await, [(1, 1, Started), (2, 5, Paused), (6, 6, Started)]);
    assert_eq!(row(&world).await.facts.missed, 0, "nobody missed what somebody paused");
}

#[tokio::test(start_paused = true)]
async fn a_failure_pauses_a_schedule_that_is_to_be() {
    let world = world();
    let mut schedule = failing();
    schedule.policy.pause_on_failure = true;
    run(&world, vec![schedule]);
    tokio::time::sleep(MINUTE * 3 + SECOND * 5).await;
    assert_eq!(told(&world).await, [(1, 1, Started), (2, 3, Paused)]);
    let row = row(&world).await;
    assert_eq!((row.facts.consecutive_failures, row.facts.last_success), (1, None));
    assert!(row.paused.unwrap().note.starts_with("run "));
    world.engine().resume_schedule("each".to_owned(), asked()).await.unwrap();
    tokio::time::sleep(MINUTE).await;
    assert_eq!(told(&world).await.last(), Some(&(4, 4, Started)));
}

#[tokio::test(start_paused = true)]
async fn a_trigger_starts_a_run_now_each_time_and_says_what_it_met() {
    let world = world();
    let stop = run(&world, vec![minutely(50)]);
    tokio::time::sleep(SECOND).await;
    let trigger = |overlap, asked| world.engine().trigger_schedule("each".to_owned(), overlap, asked);
    let first = trigger(None, asked()).await.unwrap();
    assert_eq!(first.outcome, Some(Started));
    let second = trigger(None, asked()).await.unwrap();
    assert_eq!((second.outcome, second.run), (Some(Skipped), first.run), "by the schedule's own policy");
    let third = trigger(Some(Overlap::AllowAll), asked()).await.unwrap();
    let fourth = trigger(Some(Overlap::AllowAll), asked()).await.unwrap();
    assert_eq!((third.outcome, fourth.outcome), (Some(Started), Some(Started)));
    assert_ne!(third.run, fourth.run, "two in the same second are two");
    let request = RequestKey { id: Uuid::from_u128(7), hash: [1; 32] };
    let once = Requester { request: Some(request), ..asked() };
    let fifth = trigger(Some(Overlap::AllowAll), once.clone()).await.unwrap();
    let again = trigger(Some(Overlap::AllowAll), once).await.unwrap();
    assert_eq!(again, fifth, "the same request is the same trigger");
    assert_eq!(runs(&world).await.len(), 4);
    world.engine().pause_schedule("each".to_owned(), asked()).await.unwrap();
    assert_eq!(trigger(Some(Overlap::AllowAll), asked()).await.unwrap().outcome, Some(Started), "also in a pause");
    let unknown = world.engine().trigger_schedule("other".to_owned(), None, asked()).await;
    assert!(matches!(unknown, Err(EngineError::Schedule(_))));
    stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_trigger_that_waits_is_started_as_a_trigger() {
    let world = world();
    let mut schedule = with(Overlap::BufferAll(3), 20);
    schedule.spec.start = Some(at(60));
    run(&world, vec![schedule]);
    tokio::time::sleep(SECOND).await;
    for _ in 0..3 {
        world.engine().trigger_schedule("each".to_owned(), None, asked()).await.unwrap();
    }
    tokio::time::sleep(MINUTE * 2).await;
    let rows = ledger(&world).await;
    assert!(rows.iter().all(|row| row.outcome == Started && matches!(row.origin, TickOrigin::Trigger(_))));
    let mut runs: Vec<_> = rows.iter().map(|row| row.run.unwrap()).collect();
    runs.dedup();
    assert_eq!(runs.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_backfill_starts_every_time_of_its_range_as_fast_as_it_may() {
    let world = world();
    run(&world, vec![minutely(10)]);
    tokio::time::sleep(SECOND * 5).await;
    let backfill = Backfill { from: at(-100), until: at(-80), at_once: 2, per_minute: 4 };
    let planned = world.engine().plan_backfill("each", &backfill).await.unwrap();
    assert_eq!((planned.total, runs(&world).await.len()), (20, 0), "a dry run starts nothing");
    let started = world.engine().backfill_schedule("each".to_owned(), backfill, asked()).await.unwrap();
    tokio::time::sleep(MINUTE * 2 + SECOND * 30).await;
    let uid = row(&world).await.uid;
    let known = world.engine().store().backfills(uid).await.unwrap().remove(0);
    assert!((9..=11).contains(&known.started) && known.ended_at.is_none(), "four a minute: {known:?}");
    tokio::time::sleep(MINUTE * 4).await;
    let known = world.engine().store().backfills(uid).await.unwrap().remove(0);
    assert_eq!((known.id, known.started, known.passed, known.open), (started.id, 20, 0, 0));
    assert!(known.ended_at.is_some());
    let own = ledger(&world).await.into_iter().filter(|row| row.origin == TickOrigin::Clock);
    assert_eq!(own.count(), 6, "the schedule's own ticks continued");
    let filled = runs(&world).await.into_iter().filter(|run| run.origin.as_ref().unwrap().nominal < at(0));
    let nominal: Vec<i64> = filled.map(|run| minute(run.origin.unwrap().nominal)).collect();
    assert_eq!(nominal.len(), 20);
    assert!((-100..-80).all(|minute| nominal.contains(&minute)));
}

#[tokio::test(start_paused = true)]
async fn a_backfill_has_the_times_for_which_it_was_asked_whatever_becomes_of_its_schedule() {
    let world = world();
    let stop = run(&world, Vec::new());
    world.engine().create_schedule(minutely(1), asked()).await.unwrap();
    let backfill = Backfill { from: at(-20), until: at(-10), at_once: 1, per_minute: 6 };
    world.engine().backfill_schedule("each".to_owned(), backfill, asked()).await.unwrap();
    tokio::time::sleep(SECOND * 25).await;
    let other = Spec::every(SECOND * 7);
    world.engine().update_schedule(Schedule { spec: other, ..minutely(1) }, None, asked()).await.unwrap();
    world.engine().pause_schedule("each".to_owned(), asked()).await.unwrap();
    stop.cancel();
    let world = world.crash(Probe::counting());
    run(&world, Vec::new());
    tokio::time::sleep(MINUTE * 3).await;
    let known = world.engine().store().backfills(row(&world).await.uid).await.unwrap().remove(0);
    assert_eq!((known.started, known.total, known.ended_at.is_some()), (10, 10, true), "{known:?}");
    let of_it = ledger(&world).await.into_iter().filter(|row| row.origin == TickOrigin::Backfill(known.id));
    assert_eq!(of_it.map(|row| row.first).collect::<Vec<_>>(), (-20..-10).map(at).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_backfill_that_is_cancelled_starts_no_more() {
    let world = world();
    let stop = run(&world, vec![minutely(30)]);
    tokio::time::sleep(SECOND).await;
    let backfill = Backfill { from: at(-100), until: at(0), at_once: 1, per_minute: 0 };
    let started = world.engine().backfill_schedule("each".to_owned(), backfill, asked()).await.unwrap();
    tokio::time::sleep(SECOND * 40).await;
    stop.cancel();
    // Another replica continues with it.
    let world = world.crash(Probe::counting());
    run(&world, vec![minutely(30)]);
    tokio::time::sleep(SECOND * 25).await;
    world.engine().cancel_backfill("each".to_owned(), started.id, asked()).await.unwrap();
    tokio::time::sleep(MINUTE * 5).await;
    let known = world.engine().store().backfills(row(&world).await.uid).await.unwrap().remove(0);
    assert!(known.cancelled && known.started >= 2 && known.started <= 4, "{known:?}");
}

#[tokio::test(start_paused = true)]
async fn a_backfill_has_an_overlap_of_its_own_beside_every_policy_of_its_schedule() {
    for overlap in [Overlap::Skip, Overlap::BufferOne, Overlap::AllowAll, Overlap::CancelOther] {
        let world = world();
        let mut schedule = with(overlap, 90);
        schedule.spec.end = Some(at(10));
        let stop = run(&world, vec![schedule.clone()]);
        tokio::time::sleep(SECOND).await;
        let backfill = Backfill { from: at(-10), until: at(-4), at_once: 3, per_minute: 0 };
        world.engine().backfill_schedule("each".to_owned(), backfill, asked()).await.unwrap();
        // A pause of the schedule does not stop a backfill, and neither does a replica that dies.
        world.engine().pause_schedule("each".to_owned(), asked()).await.unwrap();
        tokio::time::sleep(SECOND * 30).await;
        let filled = |runs: Vec<RunRow>| {
            runs.into_iter().filter(|run| run.origin.as_ref().unwrap().nominal < at(0)).collect::<Vec<_>>()
        };
        assert_eq!(filled(runs(&world).await).len(), 3, "{overlap:?}: three at the same time");
        stop.cancel();
        let world = world.crash(Probe::counting());
        run(&world, vec![schedule]);
        world.engine().resume_schedule("each".to_owned(), asked()).await.unwrap();
        tokio::time::sleep(MINUTE * 5).await;
        let known = world.engine().store().backfills(row(&world).await.uid).await.unwrap().remove(0);
        assert_eq!((known.started, known.open, known.ended_at.is_some()), (6, 0, true), "{overlap:?}: {known:?}");
        let filled = filled(runs(&world).await);
        assert!(filled.iter().all(|run| run.status.state == State::Succeeded), "{overlap:?}: none was cancelled");
        let at_once = filled.iter().map(|run| {
            let began = run.created_at;
            filled.iter().filter(|other| other.created_at <= began && other.ended_at.unwrap() > began).count()
        });
        assert_eq!(at_once.max(), Some(3), "{overlap:?}");
        assert!(started_own(&world).await > 0, "{overlap:?}: the schedule's own ticks continue");
    }
}

/// Runs that the schedule's own ticks started.
async fn started_own(world: &World) -> usize {
    let rows = ledger(world).await;
    rows.iter().filter(|row| row.origin == TickOrigin::Clock && row.outcome == Started).count()
}

#[tokio::test(start_paused = true)]
async fn exclusions_and_limits_are_told() {
    let world = world();
    let mut schedule = minutely(1);
    schedule.spec.exclude.patterns.push("2-3 * * * *".to_owned());
    schedule.policy.run_limit = Some(2);
    run(&world, vec![schedule]);
    tokio::time::sleep(MINUTE * 9 + SECOND).await;
    assert_eq!(told(&world).await, [(1, 1, Started), (2, 3, Excluded), (4, 4, Started), (5, 5, TickOutcome::Ended)],);
}

#[tokio::test(start_paused = true)]
async fn jitter_delays_a_start_and_is_no_lateness() {
    let world = world();
    let mut schedule = catching_up(CatchUpMode::None, SECOND, 1);
    schedule.spec.jitter = SECOND * 50;
    run(&world, vec![schedule]);
    tokio::time::sleep(MINUTE * 30).await;
    let rows = ledger(&world).await;
    assert!(rows.len() >= 28 && rows.iter().all(|row| row.outcome == Started && row.reason.is_empty()));
    let waits: Vec<u64> = rows.iter().map(|row| row.at.since(row.first).as_secs()).collect();
    assert!(waits.iter().any(|wait| *wait < 15) && waits.iter().any(|wait| *wait > 35), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn a_schedule_is_created_changed_and_deleted_while_the_loop_runs() {
    let world = world();
    run(&world, Vec::new());
    tokio::time::sleep(SECOND * 10).await;
    let row = world.engine().create_schedule(minutely(1), asked()).await.unwrap();
    tokio::time::sleep(MINUTE).await;
    let slower = Schedule { spec: Spec::every(MINUTE * 3), ..minutely(1) };
    let stale = world.engine().update_schedule(slower.clone(), Some(row.generation + 1), asked()).await;
    assert!(matches!(stale, Err(EngineError::Schedule(_))));
    world.engine().update_schedule(slower, Some(row.generation), asked()).await.unwrap();
    tokio::time::sleep(MINUTE * 5).await;
    assert_eq!(told(&world).await, [(1, 1, Started), (3, 3, Started), (6, 6, Started)]);
    world.engine().delete_schedule("each".to_owned(), None, asked()).await.unwrap();
    let before = runs(&world).await.len();
    tokio::time::sleep(MINUTE * 9).await;
    assert_eq!(runs(&world).await.len(), before);
    // The same name again is another schedule, with ids of its own.
    world.engine().create_schedule(minutely(1), asked()).await.unwrap();
    tokio::time::sleep(MINUTE).await;
    assert_eq!(runs(&world).await.len(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn times_that_came_before_a_schedule_got_others_leave_their_rows() {
    let hourly = || Schedule { spec: Spec::every(HOUR), ..minutely(1) };
    // Declared otherwise after an outage.
    let world = world();
    let stop = run(&world, vec![minutely(1)]);
    tokio::time::sleep(MINUTE + SECOND * 5).await;
    stop.cancel();
    tokio::time::sleep(MINUTE * 10 + SECOND * 30).await;
    let world = world.crash(Probe::counting());
    let stop = run(&world, vec![hourly()]);
    tokio::time::sleep(SECOND).await;
    assert_eq!(told(&world).await, [(1, 1, Started), (2, 11, Missed)]);
    assert_eq!(ledger(&world).await[1].reason, "no replica was there, and the schedule got other times");
    tokio::time::sleep(HOUR).await;
    assert_eq!(told(&world).await.last(), Some(&(60, 60, Started)));
    stop.cancel();

    // Changed immediately after a sleep, before the loop has looked.
    let world = self::world();
    run(&world, Vec::new());
    tokio::time::sleep(SECOND).await;
    world.engine().create_schedule(minutely(1), asked()).await.unwrap();
    tokio::time::sleep(MINUTE + SECOND * 30).await;
    world.clocks().suspend(MINUTE * 10 + SECOND * 32);
    world.engine().update_schedule(hourly(), None, asked()).await.unwrap();
    tokio::time::sleep(SECOND * 10).await;
    assert_eq!(told(&world).await, [(1, 1, Started), (2, 11, Missed), (12, 12, Started)], "the last one has just come");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_kept_is_refused_when_it_is_saved() {
    let world = world();
    let problem = |schedule: Schedule| world.engine().check_schedule(schedule).unwrap_err().to_string();
    let unreadable = Schedule { input: vec![0xff, 0xff].into(), ..minutely(1) };
    assert!(problem(unreadable).starts_with("schedule each: input: it is not a test.Input: "));
    let other = Schedule { workflow: "test.other".to_owned(), ..minutely(1) };
    assert_eq!(problem(other), "workflow test.other is not known here");
    let cron = Schedule { spec: Spec::cron("61 * * * *", ""), ..minutely(1) };
    assert_eq!(
        problem(cron),
        "schedule each: spec: rules[0].cron: minute, column 1: \"61\" is not allowed; 0 to 59 are"
    );
    let name = Schedule { name: "Each".to_owned(), ..minutely(1) };
    assert_eq!(problem(name), "schedule Each: name: \"Each\" is not allowed; 1 to 63 of a-z, 0-9, _, - and . are");
    let none = with(Overlap::AllowN(0), 1);
    assert_eq!(problem(none), "schedule each: overlap_limit: 0 is not allowed; 1 to 10000 are");
    let effective = world.engine().check_schedule(Schedule { spec: Spec::cron("@daily", ""), ..minutely(1) }).unwrap();
    assert_eq!(effective.spec.zone, "UTC");
}

#[tokio::test(start_paused = true)]
async fn a_schedule_whose_workflow_is_gone_says_so_at_every_tick() {
    let world = world();
    let stop = run(&world, Vec::new());
    world.engine().create_schedule(minutely(1), asked()).await.unwrap();
    tokio::time::sleep(MINUTE + SECOND).await;
    stop.cancel();
    let world = world.crash_and_change(|_| Ok(()));
    run(&world, Vec::new());
    tokio::time::sleep(MINUTE * 2).await;
    assert_eq!(told(&world).await, [(1, 1, Started), (2, 3, Failed)]);
    let facts = row(&world).await.facts;
    assert_eq!(facts.problem, "workflow test.job is not known to this release");
    assert_eq!((facts.missed, facts.last_missed), (2, Some(at(3))));
}

#[tokio::test(start_paused = true)]
async fn what_waits_of_a_schedule_whose_workflow_is_gone_says_so_and_starts_once_it_is_back() {
    let world = world();
    let stop = run(&world, Vec::new());
    let mut buffered = with(Overlap::BufferOne, 90);
    buffered.spec.end = Some(at(3));
    world.engine().create_schedule(buffered, asked()).await.unwrap();
    tokio::time::sleep(MINUTE * 2 + SECOND * 2).await;
    assert_eq!(told(&world).await, [(1, 1, Started), (2, 2, TickOutcome::Buffered)]);
    let backfill = Backfill { from: at(-3), until: at(0), at_once: 1, per_minute: 0 };
    let backfill = world.engine().backfill_schedule("each".to_owned(), backfill, asked()).await.unwrap().id;
    for run in runs(&world).await {
        world.engine().cancel(run.id, asked()).await.unwrap();
    }
    stop.cancel();
    tokio::time::sleep(SECOND * 20).await;
    let begun = runs(&world).await.len();
    let world = world.crash_and_change(|_| Ok(()));
    let stop = run(&world, Vec::new());
    tokio::time::sleep(MINUTE * 2).await;
    let seen = row(&world).await;
    assert_eq!(seen.facts.problem, "workflow test.job is not known to this release");
    assert_eq!((seen.facts.buffered, seen.backfilling, runs(&world).await.len()), (1, 1, begun), "both wait");
    stop.cancel();
    let world = world.crash_and_change(|registry| registry.register(|| Job));
    run(&world, Vec::new());
    tokio::time::sleep(MINUTE * 10).await;
    let seen = row(&world).await;
    assert_eq!((seen.facts.problem.as_str(), seen.facts.buffered, seen.backfilling), ("", 0, 0));
    let backfill = world.engine().store().backfill(backfill).await.unwrap().unwrap();
    assert_eq!((backfill.started, backfill.passed, backfill.cancelled), (3, 0, false));
    assert!(ledger(&world).await.iter().all(|row| row.outcome == Started));
}

#[tokio::test(start_paused = true)]
async fn a_run_says_what_of_its_schedule_started_it() {
    let world = world();
    let stop = run(&world, vec![minutely(1)]);
    tokio::time::sleep(MINUTE + SECOND * 3).await;
    world.engine().trigger_schedule("each".to_owned(), None, asked()).await.unwrap();
    let backfill = Backfill { from: at(-1), until: at(0), at_once: 1, per_minute: 0 };
    let backfill = world.engine().backfill_schedule("each".to_owned(), backfill, asked()).await.unwrap().id;
    tokio::time::sleep(SECOND * 10).await;
    stop.cancel();
    // In the row, so a restart does not matter.
    let world = world.crash(Probe::counting());
    let by: HashMap<Uuid, TickOrigin> =
        runs(&world).await.into_iter().map(|run| (run.id, run.origin.unwrap().by.unwrap())).collect();
    let rows = ledger(&world).await;
    assert_eq!((by.len(), rows.len()), (3, 3));
    for row in rows {
        assert_eq!(by.get(&row.run.unwrap()), Some(&row.origin), "as its row of the ledger says");
    }
    assert!(by.values().any(|origin| *origin == TickOrigin::Backfill(backfill)));
    assert!(by.values().any(|origin| matches!(origin, TickOrigin::Trigger(_))));
}

/// Brings a schedule of its own.
struct Nightly;

impl Workflow for Nightly {
    const NAME: &'static str = "test.nightly";
    type Input = Input;
    type Output = Output;

    fn schedules() -> Vec<Schedule> {
        vec![Schedule::new("each", Self::NAME, Spec::every(MINUTE))]
    }

    async fn run(&self, _ctx: &Context, _input: Input) -> Result<Output, Failure> {
        Ok(Output::default())
    }
}

#[tokio::test(start_paused = true)]
async fn a_schedule_is_declared_in_code_and_the_configuration_wins() {
    let world = World::new(services(), |registry| registry.register(|| Nightly).and(registry.register(|| Job)));
    let stop = run(&world, Vec::new());
    tokio::time::sleep(MINUTE * 2 + SECOND).await;
    assert_eq!((row(&world).await.source, told(&world).await.len()), (engine::store::Source::Code, 2));
    stop.cancel();
    let stop = run(&world, vec![Schedule { spec: Spec::every(HOUR), ..minutely(1) }]);
    tokio::time::sleep(SECOND).await;
    let configured = row(&world).await;
    assert_eq!(
        (configured.source, configured.schedule.workflow.as_str()),
        (engine::store::Source::Configuration, Job::NAME)
    );
    stop.cancel();
    run(&world, Vec::new());
    tokio::time::sleep(SECOND).await;
    assert_eq!(row(&world).await.source, engine::store::Source::Code);
}

#[tokio::test(start_paused = true)]
async fn a_schedule_that_is_not_declared_any_more_is_retired_and_goes_on_from_its_mark_when_it_is_back() {
    let world = world();
    let stop = run(&world, vec![minutely(1)]);
    tokio::time::sleep(MINUTE + SECOND).await;
    stop.cancel();
    let stop = run(&world, Vec::new());
    tokio::time::sleep(MINUTE * 2 + SECOND * 20).await;
    let retired = row(&world).await;
    assert!(retired.retired_at.is_some());
    assert_eq!(told(&world).await, [(1, 1, Started)]);
    stop.cancel();
    run(&world, vec![minutely(1)]);
    tokio::time::sleep(SECOND).await;
    let back = row(&world).await;
    assert_eq!((back.retired_at, back.uid), (None, retired.uid));
    assert_eq!(told(&world).await, [(1, 1, Started), (2, 2, Missed), (3, 3, Started)]);
    let why: Vec<String> = ledger(&world).await.into_iter().map(|row| row.reason).collect();
    let retired = "the schedule was retired: code and configuration did not have it";
    assert_eq!(why[1], format!("{retired}, and only the last one is made up for"));
    assert!(why[2].ends_with(&format!(" late: {retired}")), "{why:?}");
    // What comes while no replica is there is late for that alone.
    tokio::time::sleep(SECOND * 10).await;
    let world = world.crash(Probe::counting());
    tokio::time::sleep(MINUTE * 2).await;
    run(&world, vec![minutely(1)]);
    tokio::time::sleep(SECOND).await;
    assert!(ledger(&world).await.last().unwrap().reason.ends_with("no replica was there"));
}
