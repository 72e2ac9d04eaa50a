//! Schedules when clocks are set, run fast or slow, or stand still: no tick twice, none lost beyond the policy, never a busy
//! loop, and every late start says why (C2).

use std::time::Duration;

use engine::schedule::{CatchUpMode, Overlap, Spec};
use engine::store::{Declare, Schedule, Source, Store as _, TickOutcome};
use engine::testing::{Probe, World, set_zone};
use jiff::SignedDuration;

use crate::scheduling::{
    HOUR, MINUTE, SECOND, asked, at, catching_up, ledger, minute, minutely, row, run, runs, told, with, world,
};

use TickOutcome::{Missed, Started};

/// Nominal times that started runs, in the order of their starts, as minutes.
pub(crate) async fn started(world: &World) -> Vec<i64> {
    let rows = ledger(world).await;
    rows.iter().filter(|row| row.outcome == Started).map(|row| minute(row.first)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_stops_no_schedule_and_starts_no_tick_twice() {
    let world = world();
    let stop = run(&world, vec![with(Overlap::AllowAll, 1)]);
    tokio::time::sleep(MINUTE * 3 + SECOND).await;
    world.clocks().set_back(HOUR * 2);
    tokio::time::sleep(MINUTE * 3).await;
    // It continues within its interval, at the times that clocks show now.
    assert_eq!(runs(&world).await.len(), 6, "{:?}", told(&world).await);
    stop.cancel();
    let world = world.crash(Probe::counting());
    run(&world, vec![with(Overlap::AllowAll, 1)]);
    tokio::time::sleep(HOUR * 2).await;
    let mut nominal: Vec<i64> =
        runs(&world).await.iter().map(|run| minute(run.origin.as_ref().unwrap().nominal)).collect();
    nominal.sort_unstable();
    let count = nominal.len();
    nominal.dedup();
    assert_eq!(nominal.len(), count, "no tick twice");
    assert_eq!(nominal, (nominal[0]..nominal[0] + i64::try_from(count).unwrap()).collect::<Vec<_>>(), "none lost");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_forward_and_back_again_silences_nothing() {
    let world = world();
    run(&world, vec![with(Overlap::AllowAll, 1)]);
    tokio::time::sleep(MINUTE + SECOND).await;
    world.clocks().set_forward(HOUR * 2);
    tokio::time::sleep(SECOND * 10).await;
    assert_eq!(started(&world).await, [1, 121], "the last one is made up for");
    let late = ledger(&world).await.into_iter().find(|row| minute(row.first) == 121).unwrap().reason;
    assert_eq!(late, "", "it has just come");
    world.clocks().set_back(HOUR * 2);
    tokio::time::sleep(MINUTE * 3).await;
    assert_eq!(started(&world).await, [1, 121, 2, 3, 4]);
    tokio::time::sleep(HOUR * 2).await;
    let mut all = started(&world).await;
    all.sort_unstable();
    assert_eq!(all, (1..=124).collect::<Vec<_>>(), "each once, also the one that came early");
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_slept_for_a_day_makes_up_for_the_last_tick_and_says_why() {
    let world = world();
    run(&world, vec![with(Overlap::AllowAll, 1)]);
    tokio::time::sleep(MINUTE + SECOND).await;
    world.clocks().suspend(HOUR * 24 + SECOND * 30);
    tokio::time::sleep(SECOND * 10).await;
    let rows = ledger(&world).await;
    assert_eq!((minute(rows[1].first), rows[1].outcome, rows[2].outcome), (2, Missed, Started));
    assert_eq!(rows[1].count, 1_439);
    assert_eq!(rows[1].reason, "the machine slept for 24h 30s, and only the last one is made up for");
    assert_eq!(rows[2].reason, "31s late: the machine slept for 24h 30s");
    tokio::time::sleep(MINUTE).await;
    assert_eq!(told(&world).await.last().map(|told| told.2), Some(Started));
}

/// What the clock did, and when it was noticed.
fn steps(world: &World) -> Vec<SignedDuration> {
    world.engine().clock_steps().last().map(|step| step.by).collect()
}

/// How long after its nominal time each tick started its run, by the clock of the time.
async fn latest(world: &World) -> Duration {
    let rows = ledger(world).await;
    rows.iter().filter(|row| row.outcome == Started).map(|row| row.at.since(row.first)).max().unwrap()
}

#[tokio::test(start_paused = true)]
async fn whenever_a_clock_that_was_ahead_is_set_back_no_tick_is_lost() {
    // Around a nominal time, and at every place between two looks of the loop.
    for millis in (50_000..=70_000).step_by(700) {
        let world = world();
        run(&world, vec![with(Overlap::AllowAll, 1)]);
        tokio::time::sleep(MINUTE * 2 + SECOND * 5).await;
        world.clocks().set_forward(HOUR * 6);
        tokio::time::sleep(Duration::from_millis(millis)).await;
        world.clocks().set_back(HOUR * 6);
        tokio::time::sleep(MINUTE * 5).await;
        let mut all = started(&world).await;
        all.sort_unstable();
        let (ahead, now): (Vec<i64>, Vec<i64>) = all.iter().partition(|minute| **minute > 60);
        assert!((1..=2).contains(&ahead.len()), "after {millis} ms: {ahead:?}");
        let last = minute(world.clocks().wall());
        assert_eq!(now, (1..=last).collect::<Vec<_>>(), "after {millis} ms: {:?}", told(&world).await);
        assert!(told(&world).await.iter().all(|told| told.2 == Started), "{:?}", told(&world).await);
        for row in ledger(&world).await {
            let late = row.at.since(row.first) >= SECOND * 10;
            assert_eq!(late, row.reason.contains("the clock was ahead until it was set back by 6h"), "{row:?}");
        }
        assert_eq!(row(&world).await.facts.missed, 0, "what was missed only by the wrong clock is not counted");
        assert_eq!(steps(&world), [SignedDuration::from_hours(6), SignedDuration::from_hours(-6)]);
    }
}

#[tokio::test(start_paused = true)]
async fn whenever_a_clock_is_set_by_two_hours_each_tick_has_one_row() {
    for (forward, millis) in
        [true, false].into_iter().flat_map(|how| [49_000, 55_500, 59_900, 60_100].map(|at| (how, at)))
    {
        let world = world();
        run(&world, vec![with(Overlap::AllowAll, 1)]);
        tokio::time::sleep(MINUTE * 130 + Duration::from_millis(millis)).await;
        if forward {
            world.clocks().set_forward(HOUR * 2);
        } else {
            world.clocks().set_back(HOUR * 2);
        }
        tokio::time::sleep(HOUR * 3).await;
        let mut all: Vec<i64> = Vec::new();
        let mut lost = 0;
        for row in ledger(&world).await {
            all.extend(minute(row.first)..=minute(row.last));
            lost += if row.outcome == Missed { row.count } else { 0 };
        }
        all.sort_unstable();
        assert_eq!(all, (1..=minute(world.clocks().wall())).collect::<Vec<_>>(), "{forward} {millis}");
        // The last one is made up for, or another has come by then.
        assert!(if forward { (119..=120).contains(&lost) } else { lost == 0 }, "{forward} {millis}: {lost}");
        let by = SignedDuration::from_hours(if forward { 2 } else { -2 });
        assert_eq!(steps(&world), [by]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_runs_fast_or_slow_loses_no_tick_and_is_not_taken_for_one_that_was_set() {
    for fast in [true, false] {
        let world = world();
        run(&world, vec![with(Overlap::AllowAll, 1)]);
        for _ in 0..3_600 {
            tokio::time::sleep(SECOND).await;
            let drift = Duration::from_micros(500);
            if fast { world.clocks().set_forward(drift) } else { world.clocks().set_back(drift) }
        }
        let last = minute(world.clocks().wall());
        assert_eq!(started(&world).await, (1..=last).collect::<Vec<_>>());
        assert!(latest(&world).await < SECOND, "{:?}", latest(&world).await);
        assert_eq!(steps(&world), []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_ahead_over_a_restart_stops_no_schedule_and_is_told() {
    let world = world();
    let stop = run(&world, vec![with(Overlap::AllowAll, 1)]);
    tokio::time::sleep(MINUTE * 2 + SECOND * 5).await;
    world.clocks().set_forward(HOUR * 6);
    tokio::time::sleep(SECOND * 30).await;
    stop.cancel();
    world.clocks().set_back(HOUR * 6);
    tokio::time::sleep(MINUTE * 3).await;
    let world = world.crash(Probe::counting());
    run(&world, vec![with(Overlap::AllowAll, 1)]);
    tokio::time::sleep(MINUTE).await;
    assert_eq!(started(&world).await, [1, 2, 362, 5, 6]);
    let rows = ledger(&world).await;
    let told: Vec<&str> = rows[3..].iter().map(|row| row.reason.as_str()).collect();
    assert_eq!(
        told,
        [
            "no replica was there, or its clock was ahead, and only the last one is made up for",
            "35s late: no replica was there, or its clock was ahead",
            ""
        ]
    );
    let [by] = steps(&world)[..] else { panic!("{:?}", steps(&world)) };
    assert!(by < -SignedDuration::from_hours(5), "at least by so much: {by:?}");
}

#[tokio::test(start_paused = true)]
async fn a_schedule_that_was_made_under_a_clock_that_was_ahead_keeps_no_loop_busy() {
    for start in [None, Some(at(9))] {
        let world = world();
        run(&world, Vec::new());
        tokio::time::sleep(MINUTE + SECOND * 30).await;
        world.clocks().set_forward(HOUR * 6);
        tokio::time::sleep(SECOND * 7).await;
        let spec = Spec { start, ..Spec::every(MINUTE) };
        world.engine().create_schedule(Schedule { spec, ..minutely(1) }, asked()).await.unwrap();
        tokio::time::sleep(SECOND).await;
        world.clocks().set_back(HOUR * 6);
        tokio::time::sleep(SECOND * 6).await;
        let before = world.engine().progress();
        tokio::time::sleep(MINUTE * 10).await;
        let looks = world.engine().progress() - before;
        assert!(looks < 2_000, "{looks} looks in ten minutes");
        let first = if start.is_some() { 9 } else { 2 };
        assert_eq!(started(&world).await, (first..=11).collect::<Vec<_>>(), "{:?}", told(&world).await);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_clock_jumped_over_is_made_up_for_as_the_schedule_says() {
    for (mode, expected) in [
        (CatchUpMode::Last, vec![(2, 11, Missed), (12, 12, Started)]),
        (CatchUpMode::None, vec![(2, 12, Missed)]),
        (CatchUpMode::All, vec![(2, 9, Missed), (10, 10, Started), (11, 11, Started), (12, 12, Started)]),
    ] {
        let world = world();
        run(&world, vec![catching_up(mode, HOUR, 3)]);
        tokio::time::sleep(MINUTE + SECOND * 30).await;
        world.clocks().set_forward(MINUTE * 11);
        tokio::time::sleep(SECOND * 10).await;
        assert_eq!(told(&world).await[1..], expected, "{mode:?}");
        for row in &ledger(&world).await[1..] {
            assert!(row.reason.contains("the clock was set forward by 11m"), "{}", row.reason);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_tick_that_waits_for_its_jitter_is_not_lost_when_the_clock_is_set_back() {
    let world = world();
    let mut schedule = with(Overlap::AllowAll, 1);
    schedule.spec.jitter = SECOND * 50;
    run(&world, vec![schedule]);
    tokio::time::sleep(MINUTE * 3 + SECOND * 30).await;
    world.clocks().set_forward(HOUR);
    tokio::time::sleep(SECOND * 20).await;
    world.clocks().set_back(HOUR);
    tokio::time::sleep(MINUTE * 10).await;
    let mut all = started(&world).await;
    all.retain(|minute| *minute < 60);
    all.sort_unstable();
    assert_eq!(all, (1..=i64::try_from(all.len()).unwrap()).collect::<Vec<_>>(), "{:?}", told(&world).await);
    assert!(all.len() >= 12);
}

#[tokio::test(start_paused = true)]
async fn a_tick_that_the_store_held_up_says_so() {
    let world = world();
    run(&world, vec![with(Overlap::AllowAll, 1)]);
    tokio::time::sleep(SECOND * 50).await;
    world.time_out(100, true);
    tokio::time::sleep(SECOND * 40).await;
    world.time_out(0, false);
    tokio::time::sleep(SECOND * 10).await;
    let rows = ledger(&world).await;
    assert_eq!((rows.len(), rows[0].outcome), (1, Started));
    assert!(
        rows[0].reason.is_empty() || rows[0].reason.ends_with("late: the store did not answer"),
        "{}",
        rows[0].reason
    );
}

/// At nine in a zone whose data the test sets.
fn at_nine(zone: &str) -> Schedule {
    let mut schedule = with(Overlap::AllowAll, 1);
    schedule.spec = Spec::cron("0 9 * * *", zone);
    schedule
}

#[tokio::test(start_paused = true)]
async fn a_zone_database_that_changes_between_two_starts_starts_no_tick_twice_and_loses_none() {
    // Hours of UTC at which it is nine before and after the change, and the hour of the change.
    for (zone, before, after, restart, expected, late) in [
        ("Test/Later", ("Etc/GMT-1", 8), ("Etc/GMT", 9), 8, vec![8, 9, 33], 0),
        ("Test/LaterAfterIt", ("Etc/GMT-1", 8), ("Etc/GMT", 9), 9, vec![8, 9, 33], 1),
        ("Test/Earlier", ("Etc/GMT", 9), ("Etc/GMT-2", 7), 7, vec![7, 31], 1),
        ("Test/EarlierAfterIt", ("Etc/GMT", 9), ("Etc/GMT-2", 7), 10, vec![9, 31], 0),
    ] {
        set_zone(zone, before.0);
        let world = world();
        let stop = run(&world, vec![at_nine(zone)]);
        tokio::time::sleep(HOUR * restart + MINUTE * 30).await;
        stop.cancel();
        // That replica went by an older database.
        let schedules = vec![(Source::Configuration, world.engine().check_schedule(at_nine(zone)).unwrap())];
        let declare = Declare { now: world.clocks().wall(), zone_database: "2025a", schedules, kept: Vec::new() };
        world.store().declare_schedules(declare).await.unwrap();
        set_zone(zone, after.0);
        let world = world.crash(Probe::counting());
        run(&world, vec![at_nine(zone)]);
        tokio::time::sleep(HOUR * 24).await;
        let looks = world.engine().progress();
        tokio::time::sleep(HOUR).await;
        assert!(world.engine().progress() - looks < 12_000, "{zone}: no busy loop");
        let hours: Vec<i64> = started(&world).await.iter().map(|minute| minute / 60).collect();
        assert_eq!(hours, expected, "{zone}: {:?}", told(&world).await);
        let told: Vec<String> =
            ledger(&world).await.into_iter().map(|row| row.reason).filter(|why| !why.is_empty()).collect();
        let why = "late: no replica was there, or its zone database had another time";
        assert_eq!(told.len(), late, "{zone}: {told:?}");
        assert!(told.iter().all(|told| told.starts_with("30m ") && told.ends_with(why)), "{zone}: {told:?}");
    }
}
