//! Who is let through to a service, in which order and how fast.

use std::time::Duration;

use engine::failure::Code;
use engine::transport::Unsent;
use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::time::{advance, sleep, timeout};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const WIDE: Uuid = Uuid::from_u128(1);
const NARROW: Uuid = Uuid::from_u128(2);

fn gate(max_in_flight: usize, rate: Option<RateLimit>) -> Arc<Gate> {
    let breaker = BreakerConfig { enabled: false, ..BreakerConfig::default() };
    Gate::new("echo", GateConfig { max_in_flight, rate, breaker }, || usize::MAX)
}

/// One with a breaker.
fn guarded() -> Arc<Gate> {
    Gate::new("echo", GateConfig { max_in_flight: 100, rate: None, breaker: BreakerConfig::default() }, || usize::MAX)
}

fn unsent() -> Unsent {
    Unsent { failure: Failure::new(Code::Unavailable, "connection refused"), retry_after: None }
}

fn answered(mut pass: Pass) {
    pass.begin();
    pass.ended(Sign::Well, None, None);
}

#[tokio::test(start_paused = true)]
async fn a_run_with_one_call_passes_one_with_ten_thousand() {
    let gate = gate(2, None);
    let held = [gate.try_enter().unwrap(), gate.try_enter().unwrap()];
    assert!(gate.try_enter().is_none());
    let mut wide: Vec<_> = (0..10_000).map(|_| gate.queue(WIDE, true)).collect();
    let narrow = gate.queue(NARROW, true);
    let state = gate.state();
    assert_eq!((state.in_flight, state.waiting_calls, state.waiting_runs), (2, 10_001, 2));
    drop(held);
    // The wide run was there first, and its second call is not.
    let let_in = [(&mut wide[0]).now_or_never(), (&mut wide[1]).now_or_never(), narrow.now_or_never()];
    assert_eq!(let_in.map(|pass| pass.is_some()), [true, false, true]);
}

#[tokio::test(start_paused = true)]
async fn a_share_of_the_places_is_kept_to_and_calls_in_flight_keep_theirs() {
    let gate = gate(3, None);
    gate.set_share(0);
    assert!(gate.try_enter().is_none());
    let mut waiting: Vec<_> = (0..4).map(|_| gate.queue(WIDE, true)).collect();
    let let_in = |waiting: &mut Vec<Queued>| {
        let mut passes = Vec::new();
        waiting.retain_mut(|queued| queued.now_or_never().map(|pass| passes.push(pass)).is_none());
        passes
    };
    assert_eq!(let_in(&mut waiting).len(), 0);
    gate.set_share(2);
    let mut held = let_in(&mut waiting);
    assert_eq!((held.len(), gate.state().max_in_flight), (2, 2));
    gate.set_share(1);
    drop(held.pop());
    assert_eq!(let_in(&mut waiting).len(), 0, "one is in flight");
    drop(held);
    let held = let_in(&mut waiting);
    assert_eq!(held.len(), 1);
    gate.set_share(usize::MAX);
    assert_eq!((let_in(&mut waiting).len(), gate.state().max_in_flight), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn nobody_goes_before_those_who_wait() {
    let gate = gate(1, None);
    let held = gate.try_enter().unwrap();
    let waiting = gate.queue(WIDE, true);
    drop(held);
    // The place is given, though not yet taken.
    assert!(gate.try_enter().is_none());
    answered(waiting.await);
    assert!(gate.try_enter().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_dropped_leaves_nothing_behind() {
    let gate = gate(1, None);
    let held = gate.try_enter().unwrap();
    let (gone, next) = (gate.queue(WIDE, true), gate.queue(NARROW, true));
    drop(gone);
    assert_eq!((gate.state().waiting_calls, gate.state().waiting_runs), (1, 1));
    drop(held);
    // It has its place, and goes without having looked.
    drop(next);
    assert_eq!((gate.state().in_flight, gate.state().waiting_calls), (0, 0));
    assert!(gate.try_enter().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_takes_fewer_calls_is_given_fewer() {
    let takes = Arc::new(AtomicUsize::new(2));
    let capacity = Arc::clone(&takes);
    let breaker = BreakerConfig { enabled: false, ..BreakerConfig::default() };
    let config = GateConfig { max_in_flight: 100, rate: None, breaker };
    let gate = Gate::new("echo", config, move || capacity.load(Ordering::Relaxed));
    let mut waiting: Vec<_> = (0..4).map(|_| gate.queue(WIDE, true)).collect();
    let mut passes: Vec<_> = waiting.iter_mut().filter_map(|queued| queued.now_or_never()).collect();
    assert_eq!(passes.len(), 2);
    // One that takes nothing for the moment gets one call, which then waits at its connection.
    takes.store(0, Ordering::Relaxed);
    passes.clear();
    passes.extend(waiting.iter_mut().skip(2).filter_map(|queued| queued.now_or_never()));
    assert_eq!(passes.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn calls_begin_at_the_rate_and_at_once_no_more_than_the_burst() {
    let gate = gate(1_000, Some(RateLimit { per_second: 10.0, burst: 5 }));
    let begun = Instant::now();
    let calls = (0..55_u128).map(|number| {
        let gate = Arc::clone(&gate);
        async move {
            answered(gate.queue(Uuid::from_u128(number % 7), true).await);
            begun.elapsed().as_millis()
        }
    });
    let mut times = join_all(calls).await;
    times.sort_unstable();
    assert!(times[4] == 0 && times[5] >= 100, "{times:?}");
    assert!((4_990..=5_050).contains(&times[54]), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn a_place_that_was_not_used_costs_nothing_of_the_rate() {
    let gate = gate(1_000, Some(RateLimit { per_second: 1.0, burst: 1 }));
    for _ in 0..5 {
        drop(gate.try_enter().unwrap());
    }
    let mut begun = gate.try_enter().unwrap();
    begun.begin();
    drop(begun);
    assert!(gate.try_enter().is_none());
    assert_eq!(gate.state().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_are_told_when_the_service_is_found_down_and_let_in_when_it_is_back() {
    let gate = guarded();
    let probes: Vec<_> = (0..4).map(|_| gate.try_enter().unwrap()).collect();
    let mut waiting = gate.queue(WIDE, true);
    assert!((&mut waiting).now_or_never().is_none());
    let told = tokio::spawn({
        let gate = Arc::clone(&gate);
        async move { gate.outage().await }
    });
    tokio::task::yield_now().await;
    for probe in probes {
        probe.not_connected(&unsent());
    }
    let outage = told.await.unwrap();
    assert_eq!((&*outage.service, outage.error.as_str()), ("echo", "connection refused"));
    assert!(gate.is_down() && gate.try_enter().is_none());

    let asked = Instant::now();
    answered(timeout(10 * SECOND, waiting).await.unwrap());
    assert!(asked.elapsed() >= 4 * SECOND, "{:?}", asked.elapsed());
    for _ in 0..3 {
        answered(gate.try_enter().unwrap());
    }
    assert_eq!((gate.state().breaker, gate.is_down()), (BreakerState::SlowStart, false));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_be_repeated_finds_out_whether_the_service_is_back_before_one_that_may_not() {
    let gate = guarded();
    let mut held: Vec<_> = (0..4).map(|_| gate.try_enter().unwrap()).collect();
    let mut risky: Vec<_> = (0..4).map(|_| gate.queue(WIDE, false)).collect();
    let mut safe = gate.queue(NARROW, true);
    held.pop().unwrap().not_connected(&unsent());
    held.clear();
    sleep(10 * SECOND).await;
    let safe = (&mut safe).now_or_never().unwrap();
    let let_in: Vec<_> = risky.iter_mut().filter_map(|queued| queued.now_or_never()).collect();
    assert_eq!((let_in.len(), gate.state().waiting_calls), (3, 1), "all four probes are made");
    drop(let_in);
    answered(safe);
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_service_costs_no_task_once_nobody_waits() {
    let gate = guarded();
    gate.try_enter().unwrap().not_connected(&unsent());
    drop(gate.queue(WIDE, true));
    advance(10 * SECOND).await;
    tokio::task::yield_now().await;
    assert!(!gate.lock().attended);
}

#[tokio::test(start_paused = true)]
async fn what_is_shown_is_what_happened() {
    let gate = gate(10, None);
    for _ in 0..6 {
        answered(gate.try_enter().unwrap());
    }
    let failure = Failure::new(Code::Unavailable, "gone");
    gate.try_enter().unwrap().ended(Sign::Unwell, Some(&failure), None);
    advance(2 * SECOND).await;
    let state = gate.state();
    assert_eq!((state.attempts_per_second, state.failures_per_second), (3.5, 0.5));
    let seen = state.last_error.unwrap();
    assert_eq!((seen.failure.message(), seen.at.elapsed()), ("gone", 2 * SECOND));
}
