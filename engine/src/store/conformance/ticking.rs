//! Ticks: each is decided, written down and started in one transaction, or is not.

use super::*;
use crate::schedule::{Overlap, Spec};
use crate::store::{
    Declare, ListSchedules, ListTicks, Origin, PassedTicks, Schedule, ScheduleRow, Source, Tick, TickDone, TickOrigin,
    TickOutcome, TickRow, TickStart, Ticked,
};

pub(super) fn hourly() -> Schedule {
    Schedule::new("hourly", WORKFLOW, Spec::every(60 * MINUTE))
}

pub(super) async fn declare(store: &dyn Store, schedules: Vec<Schedule>, now: Timestamp) -> Vec<ScheduleRow> {
    let schedules = schedules.into_iter().map(|schedule| (Source::Configuration, schedule)).collect();
    store.declare_schedules(Declare { now, zone_database: "2026a", schedules, kept: Vec::new() }).await.unwrap().rows
}

/// An hourly schedule that was declared at the epoch, under a name of its own.
pub(super) async fn declared(store: &dyn Store, overlap: Overlap) -> ScheduleRow {
    let mut schedule = Schedule { name: format!("hourly-{overlap:?}-{}", Uuid::new_v4()), ..hourly() };
    schedule.policy.overlap = overlap;
    declare(store, vec![schedule], Timestamp::default()).await.remove(0)
}

pub(super) async fn schedule(store: &dyn Store, name: &str) -> ScheduleRow {
    let filter = ListSchedules { name: Some(name.to_owned()), limit: 1, ..ListSchedules::default() };
    store.schedules(filter).await.unwrap().remove(0)
}

pub(super) fn hour(hour: u64) -> Timestamp {
    Timestamp::from_micros(1_767_225_600_000_000).after(Duration::from_secs(hour * 3_600))
}

pub(super) fn start(row: &ScheduleRow, nominal: Timestamp) -> TickStart {
    let origin = Origin { schedule: row.schedule.name.clone(), nominal, by: Some(TickOrigin::Clock) };
    let run = NewRun { origin: Some(origin), previous_success: row.facts.last_success_nominal, ..pending() };
    TickStart { nominal, overlap: row.schedule.policy.overlap, run, buffered: None, late: String::new() }
}

pub(super) fn tick(row: &ScheduleRow, nominal: Timestamp) -> Tick {
    let now = nominal.after(Duration::from_millis(5));
    Tick { start: Some(start(row, nominal)), ..Tick::of(row, TickOrigin::Clock, now) }
}

pub(super) async fn done(store: &dyn Store, tick: Tick) -> TickDone {
    match store.tick(tick).await {
        Ok(Ticked::Done(done)) => *done,
        other => panic!("{other:?}"),
    }
}

pub(super) async fn end(store: &dyn Store, state: State) {
    for run in claim_at(store, now().after(MINUTE), 10).await.runs {
        let end = Append { status: status(state), ..fact(run.id, run.epoch, run.sequence) };
        assert_eq!(store.append(end).await, Ok(Appended::Done));
    }
}

pub(super) async fn ledger(store: &dyn Store, row: &ScheduleRow) -> Vec<TickRow> {
    store.ticks(ListTicks { schedule: row.uid, before: None, limit: 1_000 }).await.unwrap()
}

async fn outcomes(store: &dyn Store, row: &ScheduleRow) -> Vec<(TickOutcome, u64)> {
    ledger(store, row).await.iter().map(|row| (row.outcome, row.count)).collect()
}

pub(super) async fn a_tick_starts_its_run_once(stores: &dyn Stores) {
    let store = stores.empty().await;
    let row = declared(&*store, Overlap::Skip).await;
    let tick = tick(&row, hour(1));
    let run = tick.start.as_ref().unwrap().run.clone();
    let started = done(&*store, tick.clone()).await;
    assert_eq!((started.outcome, started.run), (Some(TickOutcome::Started), Some(run.id)));
    assert_eq!((started.row.high_water, started.row.facts.last_run), (hour(1), Some(run.id)));
    assert_eq!((started.row.facts.lateness, started.row.open.clone()), (Some(5_000), vec![run.id]));
    assert_eq!(store.tick(tick.clone()).await, Ok(Ticked::Past));
    end(&*store, State::Failed).await;
    assert_eq!(store.tick(tick).await, Ok(Ticked::Past));
    assert_eq!(store.tick(self::tick(&row, Timestamp::from_micros(hour(1).as_micros() - 1))).await, Ok(Ticked::Past));
    assert_eq!(super::row(&*store, run.id).await.origin, run.origin);
    let [written] = &ledger(&*store, &row).await[..] else { panic!("one row") };
    assert_eq!((written.first, written.last, written.count, written.run), (hour(1), hour(1), 1, Some(run.id)));
}

pub(super) async fn the_run_of_a_tick_is_held_from_the_start_if_that_is_asked_for_and_it_may_begin(
    stores: &dyn Stores,
) {
    let store = stores.empty().await;
    let row = declared(&*store, Overlap::CancelOther).await;
    let held = |row: &ScheduleRow, nominal| {
        let mut tick = tick(row, nominal);
        tick.start.as_mut().unwrap().run.claimed = true;
        tick
    };
    let first = done(&*store, held(&row, hour(1))).await;
    let run = first.held.expect("held");
    assert_eq!((Some(run.id), run.owned, run.epoch, run.sequence), (first.run, true, 1, 1));
    assert_eq!(super::row(&*store, run.id).await, *run);
    assert_eq!(claim_at(&*store, now().after(MINUTE), 10).await.runs, [], "no claim finds it");
    // One that waits for the end of others is no one's.
    let second = done(&*store, held(&first.row, hour(2))).await;
    assert_eq!((second.outcome, second.held), (Some(TickOutcome::Started), None));
    assert!(!super::row(&*store, second.run.unwrap()).await.owned);
    let end = Append { status: status(State::Cancelled), ..fact(run.id, run.epoch, run.sequence) };
    assert_eq!(store.append(end).await, Ok(Appended::Done));
    // What starts no run holds none.
    let skips = declared(&*store, Overlap::Skip).await;
    let first = done(&*store, held(&skips, hour(1))).await;
    let skipped = done(&*store, held(&first.row, hour(2))).await;
    assert_eq!((skipped.outcome, skipped.held), (Some(TickOutcome::Skipped), None));
}

pub(super) async fn a_tick_during_the_last_run_is_skipped_and_says_for_which(stores: &dyn Stores) {
    let store = stores.empty().await;
    let row = declared(&*store, Overlap::Skip).await;
    let first = done(&*store, tick(&row, hour(1))).await;
    for skipped in [2, 3] {
        let skip = tick(&first.row, hour(skipped));
        let run = skip.start.as_ref().unwrap().run.id;
        let skip = done(&*store, skip).await;
        assert_eq!((skip.outcome, skip.run), (Some(TickOutcome::Skipped), first.run));
        assert_eq!(skip.row.facts.consecutive_skips, skipped - 1);
        assert_eq!(store.run(run).await, Ok(None));
    }
    // Equal neighbours are one row.
    assert_eq!(outcomes(&*store, &row).await, [(TickOutcome::Skipped, 2), (TickOutcome::Started, 1)]);
    let marked = schedule(&*store, &row.schedule.name).await;
    assert_eq!((marked.high_water, marked.facts.missed, marked.facts.last_missed), (hour(3), 2, Some(hour(3))));
    end(&*store, State::Cancelled).await;
    let next = done(&*store, tick(&marked, hour(4))).await;
    assert_eq!((next.outcome, next.row.facts.consecutive_skips), (Some(TickOutcome::Started), 0));
}

pub(super) async fn a_parked_run_counts_as_running(stores: &dyn Stores) {
    let store = stores.empty().await;
    for state in [State::Blocked, State::NeedsDecision, State::Paused, State::Waiting] {
        let row = declared(&*store, Overlap::Skip).await;
        let first = done(&*store, tick(&row, hour(1))).await;
        let run = claim_at(&*store, now().after(MINUTE), 1).await.runs.remove(0);
        let park = Append { status: status(state), release: true, ..fact(run.id, run.epoch, run.sequence) };
        assert_eq!(store.append(park).await, Ok(Appended::Done));
        let next = done(&*store, tick(&first.row, hour(2))).await;
        assert_eq!(next.outcome, Some(TickOutcome::Skipped), "{state}");
    }
}

pub(super) async fn ticks_wait_in_their_order_and_no_more_than_there_is_room_for(stores: &dyn Stores) {
    let store = stores.empty().await;
    for (overlap, room) in [(Overlap::BufferOne, 1), (Overlap::BufferAll(2), 2)] {
        let mut row = declared(&*store, overlap).await;
        row = done(&*store, tick(&row, hour(1))).await.row;
        for nominal in 2..2 + room {
            let waits = done(&*store, tick(&row, hour(nominal))).await;
            assert_eq!(waits.outcome, Some(TickOutcome::Buffered));
            row = waits.row;
        }
        let full = done(&*store, tick(&row, hour(9))).await;
        assert_eq!((full.outcome, u64::from(full.row.facts.buffered)), (Some(TickOutcome::BufferFull), room));
        assert_eq!(store.settle_schedule(row.uid).await.unwrap().ready, []);
        for nominal in 2..2 + room {
            end(&*store, State::Succeeded).await;
            let settled = store.settle_schedule(row.uid).await.unwrap();
            assert_eq!(settled.row.facts.last_success_nominal, Some(hour(nominal - 1)));
            assert_eq!(settled.ready[0].first, hour(nominal));
            let number = Some(settled.ready[0].number);
            let start = TickStart { buffered: number, ..start(&settled.row, hour(nominal)) };
            let tick = Tick { start: Some(start), ..tick(&settled.row, hour(nominal)) };
            let started = done(&*store, tick.clone()).await;
            assert_eq!(started.outcome, Some(TickOutcome::Started));
            let seen = TickStart {
                run: NewRun { id: Uuid::now_v7(), ..tick.start.clone().unwrap().run },
                ..tick.start.clone().unwrap()
            };
            assert_eq!(done(&*store, Tick { start: Some(seen), ..tick }).await.outcome, None, "it waits no more");
        }
        end(&*store, State::Succeeded).await;
        let kinds: Vec<TickOutcome> = ledger(&*store, &row).await.iter().map(|row| row.outcome).collect();
        let started = usize::try_from(room).unwrap() + 1;
        assert_eq!(kinds, [&[TickOutcome::BufferFull][..], &vec![TickOutcome::Started; started]].concat());
    }
}

pub(super) async fn so_many_runs_go_on_as_are_allowed(stores: &dyn Stores) {
    let store = stores.empty().await;
    for (overlap, allowed) in [(Overlap::AllowAll, 5), (Overlap::AllowN(3), 3), (Overlap::AllowN(1), 1)] {
        let mut row = declared(&*store, overlap).await;
        let mut started = 0;
        for nominal in 1..=5 {
            let ticked = done(&*store, tick(&row, hour(nominal))).await;
            started += usize::from(ticked.outcome == Some(TickOutcome::Started));
            row = ticked.row;
        }
        assert_eq!((started, row.open.len()), (allowed, allowed), "{overlap:?}");
    }
}

pub(super) async fn the_next_run_waits_for_the_end_of_those_that_it_cancels(stores: &dyn Stores) {
    let store = stores.empty().await;
    for state in [State::Pending, State::Blocked, State::NeedsDecision, State::Paused] {
        let row = declared(&*store, Overlap::CancelOther).await;
        let first = done(&*store, tick(&row, hour(1))).await;
        let run = first.run.unwrap();
        if state != State::Pending {
            let held = claim_at(&*store, now().after(MINUTE), 1).await.runs.remove(0);
            let park = Append { status: status(state), release: true, ..fact(held.id, held.epoch, held.sequence) };
            assert_eq!(store.append(park).await, Ok(Appended::Done));
        }
        let second = done(&*store, tick(&first.row, hour(2))).await;
        assert_eq!((second.outcome, second.cancelled.clone()), (Some(TickOutcome::Started), vec![run]));
        let behind = super::row(&*store, second.run.unwrap()).await;
        assert_eq!(behind.status.state, State::Pending);
        assert!(behind.status.reason.starts_with("BEHIND: "), "{}", behind.status.reason);
        // Only the one that is asked to end is due, whatever it did.
        let claimed = claim_at(&*store, now().after(MINUTE), 10).await.runs;
        assert_eq!(claimed.iter().map(|run| run.id).collect::<Vec<_>>(), [run], "{state}");
        assert!(claimed[0].cancel_requested.is_some());
        let end = Append { status: status(State::Cancelled), ..fact(run, claimed[0].epoch, claimed[0].sequence) };
        assert_eq!(store.append(end).await, Ok(Appended::Done));
        assert!(store.settle_schedule(row.uid).await.unwrap().due);
        let claimed = claim_at(&*store, now().after(MINUTE), 10).await.runs;
        assert_eq!(claimed.iter().map(|run| run.id).collect::<Vec<_>>(), [second.run.unwrap()], "{state}");
    }
}

pub(super) async fn times_that_start_nothing_are_written_down_with_the_one_that_does(stores: &dyn Stores) {
    let store = stores.empty().await;
    let row = declared(&*store, Overlap::Skip).await;
    let passed = |first, last, count, outcome| PassedTicks {
        first: hour(first),
        last: hour(last),
        count,
        outcome,
        reason: "why".to_owned(),
    };
    let times = vec![passed(1, 3, 3, TickOutcome::Missed), passed(4, 4, 1, TickOutcome::Excluded)];
    let ticked = done(&*store, Tick { passed: times, ..tick(&row, hour(5)) }).await;
    assert_eq!((ticked.row.high_water, ticked.row.facts.missed), (hour(5), 3));
    assert_eq!(
        outcomes(&*store, &row).await,
        [(TickOutcome::Started, 1), (TickOutcome::Excluded, 1), (TickOutcome::Missed, 3)]
    );
    // Nothing but times that start nothing, as in a pause.
    let paused = Tick { passed: vec![passed(6, 6, 1, TickOutcome::Paused)], start: None, ..tick(&ticked.row, hour(6)) };
    let row = done(&*store, paused).await.row;
    assert_eq!(row.high_water, hour(6));
    let missed = ListSchedules { missed_since: Some(hour(3)), limit: 10, ..ListSchedules::default() };
    assert_eq!(store.schedules(missed).await.unwrap().len(), 1);
    let later = ListSchedules { missed_since: Some(hour(4)), limit: 10, ..ListSchedules::default() };
    assert_eq!(store.schedules(later).await, Ok(Vec::new()));
}

pub(super) async fn a_tick_of_another_generation_or_success_writes_nothing(stores: &dyn Stores) {
    let store = stores.empty().await;
    let row = declared(&*store, Overlap::Skip).await;
    let older = Tick { generation: row.generation + 1, ..tick(&row, hour(1)) };
    assert_eq!(store.tick(older).await, Ok(Ticked::Stale(Box::new(row.clone()))));
    let first = done(&*store, tick(&row, hour(1))).await;
    end(&*store, State::Succeeded).await;
    // The success is a fact of the next run, so the one who makes that must know of it.
    let Ok(Ticked::Stale(seen)) = store.tick(tick(&first.row, hour(2))).await else { panic!("stale") };
    assert_eq!((seen.facts.last_success_nominal, seen.high_water), (Some(hour(1)), hour(1)));
    assert_eq!(done(&*store, tick(&seen, hour(2))).await.outcome, Some(TickOutcome::Started));
}

pub(super) async fn a_schedule_is_over_after_as_many_runs_as_it_may_start(stores: &dyn Stores) {
    let store = stores.empty().await;
    let mut limited = hourly();
    limited.policy.run_limit = Some(2);
    limited.policy.overlap = Overlap::AllowAll;
    let mut row = declare(&*store, vec![limited], Timestamp::default()).await.remove(0);
    for expected in [TickOutcome::Started, TickOutcome::Started, TickOutcome::Ended] {
        let nominal = hour(row.facts.rows + 1);
        let ticked = done(&*store, tick(&row, nominal)).await;
        assert_eq!(ticked.outcome, Some(expected));
        row = ticked.row;
    }
    // A trigger is none of its ticks.
    let id = Uuid::now_v7();
    let trigger = Tick { origin: TickOrigin::Trigger(id), ..tick(&row, hour(9)) };
    assert_eq!(done(&*store, trigger).await.outcome, Some(TickOutcome::Started));
    assert_eq!(ledger(&*store, &row).await[0].origin, TickOrigin::Trigger(id));
    assert_eq!(schedule(&*store, &row.schedule.name).await.high_water, hour(3));
}

pub(super) async fn a_run_that_fails_pauses_a_schedule_that_says_so(stores: &dyn Stores) {
    let store = stores.empty().await;
    let mut careful = hourly();
    careful.policy.pause_on_failure = true;
    let row = declare(&*store, vec![careful], Timestamp::default()).await.remove(0);
    let first = done(&*store, tick(&row, hour(1))).await;
    end(&*store, State::Failed).await;
    let Ok(Ticked::Stale(paused)) = store.tick(tick(&first.row, hour(2))).await else { panic!("stale") };
    let pause = paused.paused.as_ref().unwrap();
    assert_eq!(
        (pause.note.clone(), paused.facts.consecutive_failures),
        (format!("run {} failed", first.run.unwrap()), 1)
    );
    let entry = store.audit(ListAudit { limit: 1, ..ListAudit::default() }).await.unwrap().remove(0);
    assert_eq!((&*entry.action, &*entry.caller, &entry.reason), ("PauseSchedule", "pause on failure", &pause.note));
    assert_eq!(entry.schedule.as_ref(), Some(&paused.schedule.name));
}

pub(super) async fn the_ledger_keeps_its_newest_rows_and_those_that_wait(stores: &dyn Stores) {
    let store = stores.empty().await;
    let mut row = declared(&*store, Overlap::BufferOne).await;
    for nominal in [1, 2] {
        row = done(&*store, tick(&row, hour(nominal))).await.row;
    }
    for nominal in 3..703 {
        let outcome = if nominal % 2 == 0 { TickOutcome::Excluded } else { TickOutcome::Paused };
        let (first, last) = (hour(nominal), hour(nominal));
        let passed = PassedTicks { first, last, count: 1, outcome, reason: String::new() };
        row = done(&*store, Tick { passed: vec![passed], start: None, ..tick(&row, hour(nominal)) }).await.row;
    }
    let rows = ledger(&*store, &row).await;
    assert_eq!((rows.len(), rows[0].first, row.facts.rows), (501, hour(702), 702));
    assert_eq!(rows.last().map(|row| row.outcome), Some(TickOutcome::Buffered));
    let page = store.ticks(ListTicks { schedule: row.uid, before: Some(rows[0].number), limit: 2 }).await.unwrap();
    assert_eq!(page, rows[1..3]);
}
