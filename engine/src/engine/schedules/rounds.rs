//! The looks of the loop of schedules: what the clocks did between two of them, and so what a late tick is late for.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::Instant;
use uuid::Uuid;

use crate::store::ScheduleRow;
use crate::time::{Clock, Timestamp};

/// A wall clock that is off by less than this was not set.
pub(super) const STEP: Duration = Duration::from_millis(500);
/// A machine that stood still for less than this did not sleep.
const SLEEP: Duration = Duration::from_secs(1);
/// Gaps that are remembered, at most.
const REMEMBERED: usize = 100;

/// Why a tick was not dealt with when it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    NotThere,
    /// The process before this one had dealt with later times.
    NotThereOrAhead,
    /// The process before this one went by another zone database.
    NotThereOrOtherZones,
    /// Neither code nor configuration had the schedule.
    NotDeclared,
    SetForward(Duration),
    SetBack(Duration),
    Slept(Duration),
    StoreFailed,
    HeldUp,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotThere => f.write_str("no replica was there"),
            Self::NotThereOrAhead => f.write_str("no replica was there, or its clock was ahead"),
            Self::NotThereOrOtherZones => f.write_str("no replica was there, or its zone database had another time"),
            Self::NotDeclared => f.write_str("the schedule was retired: code and configuration did not have it"),
            Self::SetForward(by) => write!(f, "the clock was set forward by {}", nearest(*by)),
            Self::SetBack(by) => write!(f, "the clock was ahead until it was set back by {}", nearest(*by)),
            Self::Slept(span) => write!(f, "the machine slept for {}", nearest(*span)),
            Self::StoreFailed => f.write_str("the store did not answer"),
            Self::HeldUp => f.write_str("the replica was held up"),
        }
    }
}

/// A span as people write it, in seconds that are over.
pub(super) fn whole(span: Duration) -> String {
    let seconds = i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    format!("{:#}", SignedDuration::from_secs(seconds))
}

/// A span that was measured, to the nearest second.
fn nearest(span: Duration) -> String {
    whole(span.saturating_add(Duration::from_millis(500)))
}

/// One look of the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Round {
    /// What the wall clock says. Everything in a round is seen as of this moment.
    pub(super) now: Timestamp,
    /// What the wall clock would have said at the look before, if it had been set by then as it is now.
    pub(super) before: Timestamp,
    /// By how much the wall clock was set since the look before.
    pub(super) step: SignedDuration,
}

impl Round {
    pub(super) fn is_set_back(&self) -> bool {
        self.step.is_negative()
    }
}

/// The looks so far.
pub(super) struct Rounds {
    clock: Clock,
    /// When the loop began, on the boot clock.
    begun: Timestamp,
    /// The last look, on each clock.
    wall: Timestamp,
    process: Timestamp,
    steady: Instant,
    zones_changed: bool,
    /// Schedules that were retired until the loop began, and since when.
    retired: HashMap<Uuid, Timestamp>,
    /// Times from this on were looked at, and the store failed.
    failing: Option<Timestamp>,
    /// Stretches of the wall clock at whose end nothing of them was dealt with. Of two the later one is the cause.
    gaps: Vec<Gap>,
}

struct Gap {
    after: Timestamp,
    until: Timestamp,
    cause: Cause,
}

impl Rounds {
    pub(super) fn begin(clock: Clock) -> Self {
        let (wall, process) = (clock.wall(), clock.now());
        let before = Gap { after: Timestamp::from_micros(i64::MIN), until: wall, cause: Cause::NotThere };
        let steady = Instant::now();
        let retired = HashMap::new();
        let (zones_changed, failing, gaps) = (false, None, vec![before]);
        Self { clock, begun: process, wall, process, steady, zones_changed, retired, failing, gaps }
    }

    /// What the wall clock said when the loop began.
    pub(super) const fn wall(&self) -> Timestamp {
        self.wall
    }

    /// A schedule was dealt with up to a time that is later than now, so the clock was ahead.
    pub(super) fn was_ahead(&mut self) {
        let Some(first) = self.gaps.first_mut() else { return };
        first.cause = Cause::NotThereOrAhead;
    }

    /// The process before this one went by another zone database.
    pub(super) fn zones_changed(&mut self) {
        self.zones_changed = true;
    }

    /// These schedules were retired since then, and are back.
    pub(super) fn were_retired(&mut self, schedules: Vec<(Uuid, Timestamp)>) {
        self.retired.extend(schedules);
    }

    pub(super) fn look(&mut self) -> Round {
        let (now, process, steady) = (self.clock.wall(), self.clock.now(), Instant::now());
        let elapsed = process.since(self.process);
        let expected = self.wall.after(elapsed);
        let slept = elapsed.saturating_sub(steady.duration_since(self.steady));
        // The clock may have been set at any moment since the last look, but for the time that the machine slept.
        let mut last = self.wall;
        if slept > SLEEP {
            self.remember(self.wall, expected, Cause::Slept(slept));
            last = expected;
        }
        let mut round = Round { now, before: self.wall, step: SignedDuration::ZERO };
        if now.after(STEP) < expected {
            let by = expected.since(now);
            round.before = now.before(elapsed);
            round.step = -signed(by);
            // What came before this process did is told from it by the steady clock.
            let begun = now.before(process.since(self.begun));
            self.gaps.truncate(1);
            self.gaps.iter_mut().for_each(|first| first.until = begun);
            self.remember(begun, round.before, Cause::SetBack(by));
        } else if now > expected.after(STEP) {
            let by = now.since(expected);
            round.step = signed(by);
            self.remember(last, now, Cause::SetForward(by));
        }
        (self.wall, self.process, self.steady) = (now, process, steady);
        round
    }

    fn remember(&mut self, after: Timestamp, until: Timestamp, cause: Cause) {
        if self.gaps.len() >= REMEMBERED {
            // The first is of the time before the process.
            self.gaps.remove(1);
        }
        self.gaps.push(Gap { after, until, cause });
    }

    /// Whether the store failed in this round.
    pub(super) fn store_failed(&mut self, failed: bool, round: &Round) {
        self.failing = failed.then(|| self.failing.unwrap_or(round.before));
    }

    /// What a tick of this schedule that came at this time is late for, if it is.
    pub(super) fn cause_of(&self, row: &ScheduleRow, due: Timestamp) -> Cause {
        let begun = self.gaps.first().map(|first| first.until);
        match self.retired.get(&row.uid) {
            Some(since) if due > *since && begun.is_some_and(|begun| due <= begun) => Cause::NotDeclared,
            _ => self.cause(due, row.schedule.spec.zone != "UTC"),
        }
    }

    /// What a tick that came at this time is late for, if it is. A schedule that is `zoned` goes by a zone with changing clocks.
    pub(super) fn cause(&self, due: Timestamp, zoned: bool) -> Cause {
        if self.failing.is_some_and(|failing| due > failing) {
            return Cause::StoreFailed;
        }
        let gap = self.gaps.iter().rev().find(|gap| gap.after < due && due <= gap.until);
        match gap.map_or(Cause::HeldUp, |gap| gap.cause) {
            Cause::NotThere if zoned && self.zones_changed => Cause::NotThereOrOtherZones,
            cause => cause,
        }
    }
}

fn signed(span: Duration) -> SignedDuration {
    SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const BEGINNING: i64 = 1_767_225_600;

    /// Seconds since the beginning of the test.
    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros((BEGINNING + seconds) * 1_000_000)
    }

    /// A wall clock and a boot clock that go with tokio's, and what is added to each, in microseconds.
    #[derive(Clone, Default)]
    struct Machine {
        wall: Arc<AtomicI64>,
        boot: Arc<AtomicI64>,
    }

    impl Machine {
        fn rounds(&self) -> Rounds {
            let (began, machine, other) = (Instant::now(), self.clone(), self.clone());
            let of = |added: &AtomicI64| Duration::from_micros(added.load(Ordering::SeqCst).try_into().unwrap());
            Rounds::begin(Clock::from_sources(
                move || {
                    let set = Timestamp::from_micros(at(0).as_micros() + machine.wall.load(Ordering::SeqCst));
                    set.after(began.elapsed() + of(&machine.boot))
                },
                move || began.elapsed() + of(&other.boot),
            ))
        }

        fn set(&self, by: i64) {
            self.wall.fetch_add(by * 1_000_000, Ordering::SeqCst);
        }

        fn sleep(&self, span: Duration) {
            self.boot.fetch_add(span.as_micros().try_into().unwrap(), Ordering::SeqCst);
        }
    }

    async fn pass(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_is_seen_with_by_how_much_and_once() {
        let machine = Machine::default();
        let mut rounds = machine.rounds();
        for by in [7_200, -7_200, -7_200, 7_200] {
            pass(5).await;
            assert_eq!(rounds.look().step, SignedDuration::ZERO);
            pass(3).await;
            machine.set(by);
            pass(2).await;
            let round = rounds.look();
            assert_eq!(round.step, SignedDuration::from_secs(by));
            if by < 0 {
                assert_eq!(round.now.since(round.before), Duration::from_secs(5), "its last look, by the clock of now");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_runs_fast_or_slow_was_not_set() {
        for micros in [500, -500] {
            let machine = Machine::default();
            let mut rounds = machine.rounds();
            for _ in 0..20_000 {
                pass(5).await;
                machine.wall.fetch_add(5 * micros, Ordering::SeqCst);
                assert_eq!(rounds.look().step, SignedDuration::ZERO);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_time_has_the_cause_of_its_lateness() {
        let machine = Machine::default();
        let mut rounds = machine.rounds();
        pass(10).await;
        rounds.look();
        machine.sleep(HOUR);
        assert_eq!(rounds.look().step, SignedDuration::ZERO, "both clocks continue while the machine sleeps");
        pass(10).await;
        machine.set(7_200);
        rounds.look();
        let causes = [0, 5, 11, 3_610, 3_611, 3_621, 10_820, 10_821].map(|second| rounds.cause(at(second), true));
        let (slept, set) = (Cause::Slept(HOUR), Cause::SetForward(HOUR * 2));
        assert_eq!(causes, [Cause::NotThere, Cause::HeldUp, slept, slept, set, set, set, Cause::HeldUp]);
        pass(5).await;
        machine.set(-7_200);
        rounds.look();
        let causes = [-1, 1, 3_620, 3_621].map(|second| rounds.cause(at(second), true));
        let ahead = Cause::SetBack(HOUR * 2);
        assert_eq!(causes, [Cause::NotThere, ahead, ahead, Cause::HeldUp]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_fails_is_the_cause_until_it_answers() {
        let mut rounds = Machine::default().rounds();
        pass(5).await;
        let round = rounds.look();
        rounds.store_failed(true, &round);
        pass(60).await;
        let round = rounds.look();
        rounds.store_failed(true, &round);
        assert_eq!([1, 5, 65].map(|second| rounds.cause(at(second), true)), [Cause::StoreFailed; 3]);
        rounds.store_failed(false, &round);
        assert_eq!(rounds.cause(at(65), true), Cause::HeldUp);
    }

    #[test]
    fn causes_read_as_sentences() {
        let said = [Cause::SetForward(HOUR * 2), Cause::SetBack(HOUR), Cause::Slept(Duration::from_secs(86_430))];
        assert_eq!(
            said.map(|cause| cause.to_string()),
            [
                "the clock was set forward by 2h",
                "the clock was ahead until it was set back by 1h",
                "the machine slept for 24h 30s"
            ]
        );
    }
}
