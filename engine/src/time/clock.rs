//! The clock of a process: steady for spans, and the wall clock for nominal times (semantics.md C1, C2).

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::SignedDuration;

use super::Timestamp;

/// Tells the time in two ways.
///
/// [`Clock::now`] begins with the wall clock's time when the process starts, and goes with the boot clock from then on: it
/// continues while the machine is suspended, and no one can set it. Everything that lasts is measured on it. [`Clock::wall`]
/// is the wall clock as it is set at the moment: only what has a nominal time looks at it.
#[derive(Clone)]
pub struct Clock(Arc<Process>);

struct Process {
    sources: Arc<Sources>,
    /// What both clocks said when the process began.
    begun: (Timestamp, Duration),
}

struct Sources {
    wall: Box<dyn Fn() -> Timestamp + Send + Sync>,
    boot: Box<dyn Fn() -> Duration + Send + Sync>,
}

impl Clock {
    /// The machine's clocks.
    pub fn system() -> Self {
        Self::from_sources(system_wall, system_boot)
    }

    /// A clock that starts at `start` and goes with tokio's, so that paused time moves it too.
    pub fn following_tokio(start: Timestamp) -> Self {
        let origin = tokio::time::Instant::now();
        Self::from_fn(move || start.after(origin.elapsed()))
    }

    /// This wall clock, which may be set, beside a boot clock that goes with tokio's.
    pub fn from_fn(wall: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let origin = tokio::time::Instant::now();
        Self::from_sources(wall, move || origin.elapsed())
    }

    /// This wall clock, and this time since the machine was started.
    pub fn from_sources(
        wall: impl Fn() -> Timestamp + Send + Sync + 'static,
        boot: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Self {
        Self::begin(Arc::new(Sources { wall: Box::new(wall), boot: Box::new(boot) }))
    }

    /// The clock that another process has, which starts now on the same machine.
    #[must_use]
    pub fn restarted(&self) -> Self {
        Self::begin(Arc::clone(&self.0.sources))
    }

    fn begin(sources: Arc<Sources>) -> Self {
        let begun = ((sources.wall)(), (sources.boot)());
        Self(Arc::new(Process { sources, begun }))
    }

    /// The time now, as far as this process can tell: no step of the wall clock moves it.
    pub fn now(&self) -> Timestamp {
        let (wall, boot) = self.0.begun;
        wall.after((self.0.sources.boot)().saturating_sub(boot))
    }

    /// What the wall clock says now.
    pub fn wall(&self) -> Timestamp {
        (self.0.sources.wall)()
    }

    /// How far the wall clock is ahead of [`Clock::now`]: by how much it was set since the process began.
    pub fn set_by(&self) -> SignedDuration {
        SignedDuration::from_micros(self.wall().as_micros().saturating_sub(self.now().as_micros()))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

fn system_wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn system_boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn system_boot() -> Duration {
    use std::sync::LazyLock;
    static ORIGIN: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);
    ORIGIN.elapsed()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn a_wall_clock_that_is_set_moves_nothing_but_itself() {
        let hours = |hours: u64| Duration::from_secs(hours * 3_600);
        let (wall, boot) =
            (Arc::new(Mutex::new(Timestamp::from_micros(0).after(hours(100)))), Arc::new(Mutex::new(hours(7))));
        let (said, since) = (Arc::clone(&wall), Arc::clone(&boot));
        let clock = Clock::from_sources(move || *said.lock().unwrap(), move || *since.lock().unwrap());
        let begun = clock.now();
        assert_eq!((clock.wall(), clock.set_by()), (begun, SignedDuration::ZERO));
        *wall.lock().unwrap() = begun.before(hours(2));
        *boot.lock().unwrap() += hours(1);
        assert_eq!(clock.now(), begun.after(hours(1)));
        assert_eq!((clock.wall(), clock.set_by()), (begun.before(hours(2)), SignedDuration::from_hours(-3)));
        let next = clock.restarted();
        assert_eq!((next.now(), next.set_by()), (begun.before(hours(2)), SignedDuration::ZERO));
        assert_eq!(clock.now(), begun.after(hours(1)), "the process before it goes by its own");
    }

    #[test]
    fn the_machine_has_both_clocks() {
        let clock = Clock::system();
        assert!(clock.set_by().abs() < SignedDuration::from_secs(5));
        assert!(clock.now().as_micros() > 1_700_000_000_000_000);
    }
}
