//! The outcomes of the attempts of the last seconds.

use std::time::Duration;

use tokio::time::Instant;

/// Parts of a window; it moves on by one of them at a time.
const PARTS: u32 = 10;

/// Counts over a time that moves on.
#[derive(Debug)]
pub(crate) struct Window {
    parts: [Counts; PARTS as usize],
    current: usize,
    part: Duration,
    /// When the current part is over.
    until: Instant,
    began: Instant,
}

/// Attempts, and what was said of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// All that ended.
    pub(crate) attempts: u32,
    /// Those that the service answered.
    pub(crate) well: u32,
    /// Those that say that the service is unwell.
    pub(crate) unwell: u32,
}

impl Window {
    pub(crate) fn new(span: Duration, now: Instant) -> Self {
        let part = (span / PARTS).max(Duration::from_millis(1));
        Self { parts: Default::default(), current: 0, part, until: now + part, began: now }
    }

    /// The counts of this moment.
    pub(crate) fn at(&mut self, now: Instant) -> &mut Counts {
        if now >= self.until {
            self.move_on(now);
        }
        &mut self.parts[self.current]
    }

    /// All that is not older than the window.
    pub(crate) fn sum(&mut self, now: Instant) -> Counts {
        self.at(now);
        self.parts.iter().fold(Counts::default(), |sum, part| Counts {
            attempts: sum.attempts.saturating_add(part.attempts),
            well: sum.well.saturating_add(part.well),
            unwell: sum.unwell.saturating_add(part.unwell),
        })
    }

    /// Attempts a second and those of them that say that the service is unwell.
    pub(crate) fn rates(&mut self, now: Instant) -> (f64, f64) {
        let sum = self.sum(now);
        let age = now.saturating_duration_since(self.began);
        let time = age.clamp(self.part, self.part * PARTS).as_secs_f64();
        (f64::from(sum.attempts) / time, f64::from(sum.unwell) / time)
    }

    /// Answers a second in the best part.
    pub(crate) fn best_rate(&self) -> f64 {
        let best = self.parts.iter().map(|part| part.well).max().unwrap_or_default();
        f64::from(best) / self.part.as_secs_f64()
    }

    /// Forgets what was counted, for those who judge by it.
    pub(crate) fn forget(&mut self) {
        for part in &mut self.parts {
            (part.well, part.unwell) = (0, 0);
        }
    }

    fn move_on(&mut self, now: Instant) {
        let late = now.saturating_duration_since(self.until);
        let over = (late.as_nanos() / self.part.as_nanos()).min(u128::from(PARTS)) as usize;
        for _ in 0..=over.min(PARTS as usize - 1) {
            self.current = (self.current + 1) % PARTS as usize;
            self.parts[self.current] = Counts::default();
        }
        let rest = late.as_nanos() % self.part.as_nanos();
        self.until = now + self.part - Duration::from_nanos(u64::try_from(rest).unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn what_is_older_than_the_window_is_forgotten_part_by_part() {
        let began = Instant::now();
        let mut window = Window::new(10 * SECOND, began);
        for second in 0..10 {
            window.at(began + second * SECOND).attempts += 1;
        }
        assert_eq!(window.sum(began + 9 * SECOND).attempts, 10);
        assert_eq!(window.sum(began + 12 * SECOND + SECOND / 2).attempts, 7);
        assert_eq!(window.sum(began + 3_600 * SECOND).attempts, 0);
        window.at(began + 3_600 * SECOND).unwell += 3;
        assert_eq!(window.sum(began + 3_609 * SECOND).unwell, 3);
        assert_eq!(window.sum(began + 3_610 * SECOND).unwell, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn rates_are_over_the_time_that_was_seen() {
        let began = Instant::now();
        let mut window = Window::new(10 * SECOND, began);
        window.at(began).attempts += 8;
        window.at(began).unwell += 4;
        assert_eq!(window.rates(began + 2 * SECOND), (4.0, 2.0));
        assert_eq!(window.rates(began + 9 * SECOND + SECOND / 2).0, 8.0 / 9.5);
        assert_eq!(window.rates(began + 60 * SECOND), (0.0, 0.0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_best_rate_is_that_of_the_part_with_most_answers() {
        let began = Instant::now();
        let mut window = Window::new(20 * SECOND, began);
        window.at(began).well += 100;
        window.at(began + 3 * SECOND).well += 300;
        assert_eq!(window.best_rate(), 150.0);
        window.forget();
        assert_eq!(window.best_rate(), 0.0);
    }
}
