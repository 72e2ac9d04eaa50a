//! When a step is tried again: policy as plain data.

use std::time::Duration;

/// How a step is tried again after an attempt that the contract allows to repeat.
///
/// Attempts are spaced `first · factor^(n−1)`, at most `cap`, spread by `jitter`; a service that names a time to
/// come back is given it. What stops the tries: the number of attempts, the time for all of them ([`Retry::within`]),
/// the run's deadline, or an outcome that the contract does not allow to repeat.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retry {
    attempts: u32,
    first: Duration,
    factor: f64,
    cap: Duration,
    jitter: f64,
    total: Option<Duration>,
}

/// A policy that contradicts itself.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RetryError {
    /// There are no attempts.
    #[error("retry attempts is 0, expected at least 1")]
    NoAttempts,
    /// The factor between two pauses is out of range.
    #[error("retry factor is {0}, expected a number from 1 to 100")]
    Factor(f64),
    /// The variation of pauses is out of range.
    #[error("retry jitter is {0}, expected a number from 0 to 1")]
    Jitter(f64),
    /// The longest pause is shorter than the first.
    #[error("retry cap {cap:?} is shorter than the first delay {first:?}")]
    Cap {
        /// The first pause.
        first: Duration,
        /// The longest pause.
        cap: Duration,
    },
}

impl Retry {
    /// Ten attempts over about a minute and a half: 200 ms, doubled up to 30 s, ±20 %.
    pub const fn standard() -> Self {
        Self {
            attempts: 10,
            first: Duration::from_millis(200),
            factor: 2.0,
            cap: Duration::from_secs(30),
            jitter: 0.2,
            total: None,
        }
    }

    /// Four attempts within two seconds, for steps of which others should not wait long.
    pub const fn brief() -> Self {
        Self {
            attempts: 4,
            first: Duration::from_millis(200),
            factor: 2.0,
            cap: Duration::from_secs(2),
            jitter: 0.2,
            total: None,
        }
    }

    /// Until the run's deadline: 1 s, doubled up to one hour, ±20 %.
    pub const fn patient() -> Self {
        Self {
            attempts: u32::MAX,
            first: Duration::from_secs(1),
            factor: 2.0,
            cap: Duration::from_secs(3_600),
            jitter: 0.2,
            total: None,
        }
    }

    /// Thirty attempts over about two hours: 1 s, doubled up to 5 min, ±20 %. What undos have where nothing is said.
    pub const fn stubborn() -> Self {
        Self {
            attempts: 30,
            first: Duration::from_secs(1),
            factor: 2.0,
            cap: Duration::from_secs(300),
            jitter: 0.2,
            total: None,
        }
    }

    /// One attempt.
    pub const fn never() -> Self {
        Self { attempts: 1, first: Duration::ZERO, factor: 1.0, cap: Duration::ZERO, jitter: 0.0, total: None }
    }

    /// A policy of one's own.
    ///
    /// # Errors
    /// If the numbers contradict each other.
    pub fn try_new(
        attempts: u32,
        first: Duration,
        factor: f64,
        cap: Duration,
        jitter: f64,
    ) -> Result<Self, RetryError> {
        if attempts == 0 {
            return Err(RetryError::NoAttempts);
        }
        if !(1.0..=100.0).contains(&factor) {
            return Err(RetryError::Factor(factor));
        }
        if !(0.0..=1.0).contains(&jitter) {
            return Err(RetryError::Jitter(jitter));
        }
        if cap < first {
            return Err(RetryError::Cap { first, cap });
        }
        Ok(Self { attempts, first, factor, cap, jitter, total: None })
    }

    /// The same, and all attempts together have this time, counted from the first: no attempt begins later, and none is
    /// waited for longer. It continues over restarts, and while the service is down between two attempts; an operator's
    /// retry of the run begins it again.
    #[must_use]
    pub const fn within(mut self, total: Duration) -> Self {
        self.total = Some(total);
        self
    }

    /// The time for all attempts together, where one is said.
    pub(crate) const fn total(&self) -> Option<Duration> {
        self.total
    }

    /// Attempts, first, factor, cap and jitter, as [`Retry::try_new`] takes them.
    pub(crate) const fn parts(&self) -> (u32, Duration, f64, Duration, f64) {
        (self.attempts, self.first, self.factor, self.cap, self.jitter)
    }

    /// The pause after the attempt with this number (from 1), or none where it was the last.
    /// `spread` is a random number from 0 to 1.
    pub(crate) fn pause_after(&self, attempt: u32, retry_after: Option<Duration>, spread: f64) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let capped = (self.first.as_secs_f64() * self.factor.powi(exponent)).min(self.cap.as_secs_f64());
        let jittered = capped * (1.0 + self.jitter * (2.0 * spread - 1.0));
        let pause = Duration::try_from_secs_f64(jittered).unwrap_or(self.cap);
        Some(pause.max(retry_after.unwrap_or_default()))
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self::standard()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap_and_end_with_the_attempts() {
        let retry = Retry::standard();
        let pauses: Vec<_> = (1..=10).map(|n| retry.pause_after(n, None, 0.5).map(|p| p.as_millis())).collect();
        let expected = [200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000].map(Some);
        assert_eq!(pauses[..9], expected);
        assert_eq!(pauses[9], None);
    }

    #[test]
    fn jitter_stays_within_its_share_and_a_service_that_names_a_time_gets_it() {
        let retry = Retry::standard();
        assert_eq!(retry.pause_after(1, None, 0.0), Some(Duration::from_millis(160)));
        assert_eq!(retry.pause_after(1, None, 1.0), Some(Duration::from_millis(240)));
        assert_eq!(retry.pause_after(1, Some(Duration::from_secs(9)), 0.5), Some(Duration::from_secs(9)));
    }

    #[test]
    fn a_patient_policy_never_overflows() {
        assert_eq!(Retry::patient().pause_after(u32::MAX - 1, None, 0.5), Some(Duration::from_secs(3_600)));
    }

    #[test]
    fn a_policy_that_contradicts_itself_is_refused() {
        let second = Duration::from_secs(1);
        assert_eq!(Retry::try_new(0, second, 2.0, second, 0.0), Err(RetryError::NoAttempts));
        assert!(matches!(Retry::try_new(1, second, f64::NAN, second, 0.0), Err(RetryError::Factor(_))));
        assert_eq!(Retry::try_new(1, second, 2.0, second, 2.0), Err(RetryError::Jitter(2.0)));
        assert!(matches!(Retry::try_new(1, second, 2.0, Duration::ZERO, 0.0), Err(RetryError::Cap { .. })));
    }
}
