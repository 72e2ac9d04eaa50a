//! How long to leave a peer alone after a failure (gRPC connection back-off).

use std::time::Duration;

use super::ChannelConfig;

/// How much longer each pause is than the one before.
const GROWTH: f64 = 1.6;

/// Pauses that grow with each failure in a row.
#[derive(Debug)]
pub(crate) struct BackOff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl BackOff {
    pub(crate) fn of(config: &ChannelConfig) -> Self {
        Self { first: config.back_off, longest: config.max_back_off, failures: 0 }
    }

    /// The pause after one more failure; a fifth up or down, so that replicas do not come all at the same time.
    pub(crate) fn next(&mut self) -> Duration {
        self.next_with(rand::random_range(0.8..1.2))
    }

    /// It went well.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    fn next_with(&mut self, jitter: f64) -> Duration {
        let grown = self.first.as_secs_f64() * GROWTH.powi(self.failures.min(64).cast_signed());
        self.failures = self.failures.saturating_add(1);
        let bounded = grown.min(self.longest.as_secs_f64());
        Duration::try_from_secs_f64(bounded * jitter).unwrap_or(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest_and_begin_anew_after_a_success() {
        let (back_off, max_back_off) = (Duration::from_millis(100), Duration::from_millis(300));
        let mut pauses = BackOff::of(&ChannelConfig { back_off, max_back_off, ..ChannelConfig::default() });
        let mut next = |jitter| pauses.next_with(jitter).as_millis();
        assert_eq!([next(1.0), next(1.0), next(1.0), next(1.0), next(1.2)], [100, 160, 256, 300, 360]);
        pauses.reset();
        assert_eq!(pauses.next_with(0.8).as_millis(), 80);
    }

    #[test]
    fn no_number_of_failures_is_too_large() {
        let mut pauses = BackOff { failures: u32::MAX, ..BackOff::of(&ChannelConfig::default()) };
        assert_eq!(pauses.next_with(1.0), ChannelConfig::default().max_back_off);
    }
}
