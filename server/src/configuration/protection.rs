//! What keeps a service from more calls than it can take: how often it is called, and when it is not.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use transport::{BreakerConfig, RateLimit};

use super::duration;

/// How often a service is called at most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rate {
    /// Calls in a period; none: as many as there are.
    pub calls: u32,
    #[serde(with = "duration")]
    pub period: Duration,
    /// Calls that may begin at the same time; if not set, those of a period.
    pub burst: u32,
}

/// When a service counts as down, and how it is called again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Breaker {
    pub enabled: bool,
    /// Failures one after the other.
    pub consecutive_failures: u32,
    /// Share of the attempts in the window.
    pub failure_percent: u32,
    /// Fewer attempts in the window say nothing.
    pub min_attempts: u32,
    #[serde(with = "duration")]
    pub window: Duration,
    /// Before it is called again; doubles while it stays down.
    #[serde(with = "duration")]
    pub pause: Duration,
    #[serde(with = "duration")]
    pub max_pause: Duration,
    /// Calls at a time that find out whether it is back.
    pub probes: u32,
    /// Until it is called as much as ever.
    #[serde(with = "duration")]
    pub slow_start: Duration,
}

impl Default for Rate {
    fn default() -> Self {
        Self { calls: 0, period: Duration::from_secs(1), burst: 0 }
    }
}

impl Rate {
    pub(crate) fn limit(&self) -> Option<RateLimit> {
        let Self { calls, period, burst } = *self;
        let per_second = f64::from(calls) / period.as_secs_f64();
        let burst = if burst == 0 { calls } else { burst };
        (calls > 0).then_some(RateLimit { per_second, burst })
    }
}

impl Default for Breaker {
    fn default() -> Self {
        let BreakerConfig {
            enabled,
            consecutive_failures,
            failure_percent,
            min_attempts,
            window,
            pause,
            max_pause,
            probes,
            slow_start,
        } = BreakerConfig::default();
        Self {
            enabled,
            consecutive_failures,
            failure_percent,
            min_attempts,
            window,
            pause,
            max_pause,
            probes,
            slow_start,
        }
    }
}

impl From<&Breaker> for BreakerConfig {
    fn from(breaker: &Breaker) -> Self {
        Self {
            enabled: breaker.enabled,
            consecutive_failures: breaker.consecutive_failures,
            failure_percent: breaker.failure_percent,
            min_attempts: breaker.min_attempts,
            window: breaker.window,
            pause: breaker.pause,
            max_pause: breaker.max_pause,
            probes: breaker.probes,
            slow_start: breaker.slow_start,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_of_nothing_is_no_limit_and_a_burst_of_nothing_is_a_period() {
        assert_eq!(Rate::default().limit(), None);
        let rate = Rate { calls: 30, period: Duration::from_secs(60), burst: 0 };
        assert_eq!(rate.limit(), Some(RateLimit { per_second: 0.5, burst: 30 }));
        assert_eq!(Rate { burst: 2, ..rate }.limit(), Some(RateLimit { per_second: 0.5, burst: 2 }));
    }
}
