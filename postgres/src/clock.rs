//! The database's clock, as this replica knows it between two heartbeats: all replicas go by it, whatever their own wall
//! clocks say (semantics.md C2).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use engine::time::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// What is more than this between two heartbeats is no drift: somebody has set a clock.
const LEAP: i64 = 1_000_000;

/// The time since this machine was started, that in which it was suspended included.
pub(crate) fn boot_clock() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// What the database said, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said {
    /// This machine's boot clock when it was asked,
    pub(crate) asked: Duration,
    /// and when it had answered.
    pub(crate) answered: Duration,
    pub(crate) time: Timestamp,
}

/// How far the database's clock is ahead of this machine's boot clock.
#[derive(Debug)]
pub(crate) struct DatabaseClock(Mutex<Ahead>);

#[derive(Debug)]
struct Ahead {
    /// As it is set at the moment, in microseconds,
    wall: i64,
    /// and without what it was set by since the beginning.
    steady: i64,
    begun: i64,
    /// The steady clock never goes back.
    last: Duration,
}

impl DatabaseClock {
    pub(crate) fn new(said: Said) -> Self {
        let (earliest, latest) = ahead(said);
        let middle = earliest.midpoint(latest);
        Self(Mutex::new(Ahead { wall: middle, steady: middle, begun: middle, last: Duration::ZERO }))
    }

    /// It was heard again. What is known stays as far as it fits what was heard.
    pub(crate) fn hear(&self, said: Said) {
        let (earliest, latest) = ahead(said);
        let mut known = self.lock();
        let moved = known.wall.clamp(earliest, latest) - known.wall;
        known.wall += moved;
        if moved.abs() <= LEAP {
            known.steady += moved;
        } else {
            let by = format_args!("{:.3} s", Duration::from_micros(moved.unsigned_abs()).as_secs_f64()).to_string();
            let direction = if moved > 0 { "forward" } else { "back" };
            tracing::warn!(by, direction, "the clock of the database was set");
        }
    }

    /// What it says now.
    pub(crate) fn wall(&self) -> Timestamp {
        let ahead = self.lock().wall;
        Timestamp::from_micros(micros(boot_clock()).saturating_add(ahead))
    }

    /// This machine's boot clock, at the pace of the database's.
    pub(crate) fn steady(&self) -> Duration {
        self.steady_at(boot_clock())
    }

    fn steady_at(&self, boot: Duration) -> Duration {
        let mut known = self.lock();
        let paced = micros(boot).saturating_add(known.steady - known.begun);
        known.last = known.last.max(Duration::from_micros(u64::try_from(paced).unwrap_or_default()));
        known.last
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Ahead> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// It was read at some moment between the question and the answer.
fn ahead(said: Said) -> (i64, i64) {
    let time = said.time.as_micros();
    (time.saturating_sub(micros(said.answered)), time.saturating_sub(micros(said.asked)))
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    /// Asked at this second of the boot clock and answered a fifth of a second later.
    fn said(asked: u64, time: i64) -> Said {
        let asked = Duration::from_secs(asked);
        Said { asked, answered: asked + Duration::from_millis(200), time: Timestamp::from_micros(time) }
    }

    fn ahead_of(clock: &DatabaseClock) -> (i64, i64) {
        let known = clock.lock();
        (known.wall, known.steady)
    }

    #[test]
    fn what_is_known_stays_as_far_as_it_fits_what_is_heard() {
        let clock = DatabaseClock::new(said(10, 1_000 * SECOND));
        let known = 990 * SECOND - 100_000;
        assert_eq!(ahead_of(&clock), (known, known), "it was read half way");
        clock.hear(said(15, 1_005 * SECOND + 50_000));
        assert_eq!(ahead_of(&clock), (known, known), "it may have been read later on the way");
        clock.hear(said(20, 1_010 * SECOND + 500_000));
        assert_eq!(ahead_of(&clock), (990 * SECOND + 300_000, 990 * SECOND + 300_000), "it goes faster");
    }

    #[test]
    fn a_leap_moves_the_wall_clock_only() {
        let clock = DatabaseClock::new(said(10, 1_000 * SECOND));
        let (_, steady) = ahead_of(&clock);
        clock.hear(said(15, 1_005 * SECOND + 3_600 * SECOND));
        assert_eq!(ahead_of(&clock), (4_590 * SECOND - 200_000, steady));
        clock.hear(said(20, 1_010 * SECOND));
        assert_eq!(ahead_of(&clock), (990 * SECOND, steady));
    }

    #[test]
    fn the_steady_clock_never_goes_back() {
        let clock = DatabaseClock::new(said(10, 1_000 * SECOND));
        let before = clock.steady_at(Duration::from_secs(20));
        clock.hear(said(20, 1_009 * SECOND));
        assert_eq!(clock.steady_at(Duration::from_secs(20)), before);
        assert!(clock.steady_at(Duration::from_secs(25)) > before);
    }
}
