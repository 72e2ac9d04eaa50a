//! Schedules whose clock was set back: no time that was dealt with starts a run twice.

use super::ticking::{declared, done, end, hour, ledger, schedule, tick};
use super::*;
use crate::schedule::Overlap;
use crate::store::{CutTicks, PassedTicks, Rewind, ScheduleRow, Tick, TickOrigin, TickOutcome, TickStart, Ticked};

fn rewind(row: &ScheduleRow, to: Timestamp) -> Tick {
    Tick { rewind: Some(Rewind { to, cut: None }), ..Tick::of(row, TickOrigin::Clock, to) }
}

pub(super) async fn a_clock_that_is_set_back_starts_no_run_twice_and_stops_nothing(stores: &dyn Stores) {
    let store = stores.empty().await;
    let mut row = declared(&*store, Overlap::AllowAll).await;
    for nominal in [1, 2] {
        row = done(&*store, tick(&row, hour(nominal))).await.row;
    }
    let passed = PassedTicks {
        first: hour(3),
        last: hour(4),
        count: 2,
        outcome: TickOutcome::Missed,
        reason: "the clock was set forward".to_owned(),
    };
    row = done(&*store, Tick { passed: vec![passed], ..tick(&row, hour(5)) }).await.row;
    let rewound = done(&*store, rewind(&row, hour(2))).await.row;
    assert_eq!((rewound.high_water, rewound.ahead.clone()), (hour(2), vec![hour(5)]));
    // What was only written down as missed comes, and what ran does not come again.
    let third = done(&*store, tick(&rewound, hour(3))).await;
    assert_eq!(third.outcome, Some(TickOutcome::Started));
    let fourth = done(&*store, tick(&third.row, hour(4))).await;
    let fifth = done(&*store, tick(&fourth.row, hour(5))).await;
    assert_eq!((fifth.outcome, fifth.row.high_water, fifth.row.ahead), (None, hour(5), Vec::new()));
    let mut started: Vec<Timestamp> = ledger(&*store, &row).await.iter().map(|row| row.first).collect();
    started.sort_unstable();
    assert_eq!(started, [1, 2, 3, 4, 5].map(hour), "one row for each, all of them started");
    // A mark is never set forward this way.
    let forward = rewind(&fourth.row, hour(9));
    assert_eq!(done(&*store, forward).await.row.high_water, hour(5));
}

pub(super) async fn no_row_stands_for_a_time_that_has_one(stores: &dyn Stores) {
    let store = stores.empty().await;
    let mut row = declared(&*store, Overlap::AllowAll).await;
    row = done(&*store, tick(&row, hour(3))).await.row;
    row = done(&*store, rewind(&row, hour(0))).await.row;
    let passed = |row: &ScheduleRow, first: u64, last: u64, known: Option<u64>| {
        let (first, last, count) = (hour(first), hour(last), last - first + 1);
        let passed = PassedTicks { first, last, count, outcome: TickOutcome::Paused, reason: String::new() };
        Tick { passed: vec![passed], known: known.map(hour), start: None, ..tick(row, last) }
    };
    // Times on both sides of one that has started its run.
    row = done(&*store, passed(&row, 1, 2, Some(3))).await.row;
    assert_eq!((row.high_water, row.ahead.clone()), (hour(3), Vec::new()));
    assert_eq!(store.tick(Tick { known: Some(hour(3)), start: None, ..tick(&row, hour(3)) }).await, Ok(Ticked::Past));
    for nominal in [4, 5] {
        row = done(&*store, passed(&row, nominal, nominal, None)).await.row;
    }
    let spans: Vec<_> = ledger(&*store, &row).await.iter().map(|row| (row.first, row.last, row.count)).collect();
    assert_eq!(spans, [(4, 5, 2), (1, 2, 2), (3, 3, 1)].map(|(first, last, count)| (hour(first), hour(last), count)));
    // The row on both sides of the new mark is cut, and what it no longer stands for is not counted.
    let missed = PassedTicks {
        first: hour(6),
        last: hour(9),
        count: 4,
        outcome: TickOutcome::Skipped,
        reason: "an earlier run continues".to_owned(),
    };
    row = done(&*store, Tick { passed: vec![missed], start: None, ..tick(&row, hour(6)) }).await.row;
    assert_eq!((row.facts.missed, row.facts.last_missed, row.facts.consecutive_skips), (4, Some(hour(9)), 4));
    let number = ledger(&*store, &row).await[0].number;
    let cut = Some(CutTicks { number, last: hour(7), count: 2 });
    let back = Tick { rewind: Some(Rewind { to: hour(7), cut }), ..rewind(&row, hour(7)) };
    let generation = row.generation;
    row = done(&*store, back).await.row;
    assert_eq!((row.facts.missed, row.facts.last_missed, row.facts.consecutive_skips), (2, Some(hour(7)), 2));
    assert!(row.generation > generation, "a caller that saw the mark before does not continue from there");
    let newest = ledger(&*store, &row).await.remove(0);
    assert_eq!((newest.first, newest.last, newest.count), (hour(6), hour(7), 2));
}

pub(super) async fn a_time_whose_row_was_dropped_starts_no_run_twice_after_the_clock_is_set_back(stores: &dyn Stores) {
    let store = stores.empty().await;
    let mut row = declared(&*store, Overlap::AllowAll).await;
    let first = tick(&row, hour(1));
    row = done(&*store, first.clone()).await.row;
    for nominal in 2..600 {
        let outcome = if nominal % 2 == 0 { TickOutcome::Excluded } else { TickOutcome::Paused };
        let (first, last) = (hour(nominal), hour(nominal));
        let passed = PassedTicks { first, last, count: 1, outcome, reason: String::new() };
        row = done(&*store, Tick { passed: vec![passed], start: None, ..tick(&row, hour(nominal)) }).await.row;
    }
    // Nor does it if the run is gone as well, which a claim that finds none shows.
    end(&*store, State::Succeeded).await;
    let run = first.start.as_ref().unwrap().run.id;
    let change = change("DeleteRun", None);
    store.command(Command { run, now: now(), change, kind: CommandKind::Delete }).await.unwrap();
    row = store.settle_schedule(row.uid).await.unwrap().row;
    row = done(&*store, rewind(&row, hour(0))).await.row;
    assert_eq!((row.ahead.clone(), row.high_water), (Vec::new(), hour(1)), "the mark goes back to what is known");
    let previous_success = row.facts.last_success_nominal;
    let start = first.start.clone().map(|start| TickStart { run: NewRun { previous_success, ..start.run }, ..start });
    assert_eq!(store.tick(Tick { generation: row.generation, start, ..first }).await, Ok(Ticked::Past));
    assert_eq!((store.run(run).await, schedule(&*store, &row.schedule.name).await.facts.started), (Ok(None), 1));
    assert_eq!(
        done(&*store, tick(&row, hour(2))).await.outcome,
        Some(TickOutcome::Started),
        "which it dealt with too early"
    );
}
