//! How much one principal may take of the admin API: calls in flight, and calls in a second. So that one of them cannot keep
//! out the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Denied;

/// When to come back where too many calls are in flight: how long they take is not known.
const COME_BACK: Duration = Duration::from_secs(1);

/// Principals of whom something is remembered, before those are forgotten of whom nothing need be.
const MANY: usize = 1_024;

/// What is configured; zero is no limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Calls in flight.
    pub calls: u32,
    /// Calls in a second, and at the same time after a while without any.
    pub per_second: u32,
}

/// What each principal takes now.
pub(super) struct Meters {
    limits: Limits,
    by_name: Mutex<HashMap<String, Meter>>,
}

struct Meter {
    in_flight: u32,
    /// Calls that may begin now.
    left: f64,
    at: Instant,
}

/// One call of a principal, until this is dropped.
pub struct Inside {
    meters: Arc<Meters>,
    name: String,
}

impl Meters {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, by_name: Mutex::default() })
    }

    /// Begins a call, or says why it cannot begin and when to come back.
    pub(super) fn enter(self: &Arc<Self>, name: &str) -> Result<Inside, Denied> {
        let Limits { calls, per_second } = self.limits;
        let (now, full) = (Instant::now(), f64::from(per_second));
        let mut by_name = self.lock();
        if by_name.len() >= MANY && !by_name.contains_key(name) {
            by_name.retain(|_, meter| meter.in_flight > 0 || meter.refilled(now, full) < full);
        }
        let meter = by_name.entry(name.to_owned()).or_insert(Meter { in_flight: 0, left: full, at: now });
        (meter.left, meter.at) = (meter.refilled(now, full), now);
        let too_much = |what: String, retry| Denied::TooMuch { principal: name.to_owned(), what, retry };
        if per_second > 0 && meter.left < 1.0 {
            let retry = Duration::from_secs_f64((1.0 - meter.left) / full);
            return Err(too_much(format!("more than {per_second} calls in a second"), retry));
        }
        if calls > 0 && meter.in_flight >= calls {
            return Err(too_much(format!("more than {calls} calls in flight"), COME_BACK));
        }
        meter.left -= 1.0;
        meter.in_flight += 1;
        Ok(Inside { meters: Arc::clone(self), name: name.to_owned() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Meter>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Meter {
    fn refilled(&self, now: Instant, full: f64) -> f64 {
        (self.left + now.duration_since(self.at).as_secs_f64() * full).min(full)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if let Some(meter) = self.meters.lock().get_mut(&self.name) {
            meter.in_flight = meter.in_flight.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry(entered: Result<Inside, Denied>) -> Option<Duration> {
        match entered {
            Ok(_) => None,
            Err(Denied::TooMuch { retry, .. }) => Some(retry),
            Err(other) => panic!("{other}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn calls_in_flight_are_counted_for_each_principal_and_end_with_the_call() {
        let meters = Meters::new(Limits { calls: 2, per_second: 0 });
        let first = meters.enter("token:a").unwrap();
        let _second = meters.enter("token:a").unwrap();
        assert_eq!(retry(meters.enter("token:a")), Some(COME_BACK));
        assert_eq!(retry(meters.enter("token:b")), None);
        drop(first);
        assert_eq!(retry(meters.enter("token:a")), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_allows_a_seconds_calls_and_says_when_the_next_may_come() {
        let meters = Meters::new(Limits { calls: 0, per_second: 4 });
        for _ in 0..4 {
            assert_eq!(retry(meters.enter("token:a")), None);
        }
        assert_eq!(retry(meters.enter("token:a")), Some(Duration::from_millis(250)));
        assert_eq!(retry(meters.enter("token:b")), None);
        tokio::time::advance(Duration::from_millis(250)).await;
        assert_eq!(retry(meters.enter("token:a")), None);
        assert!(retry(meters.enter("token:a")).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_of_principals_does_not_grow_with_their_number() {
        let meters = Meters::new(Limits { calls: 1, per_second: 1 });
        let _held = meters.enter("token:held").unwrap();
        for number in 0..10 * MANY {
            tokio::time::advance(Duration::from_secs(2)).await;
            meters.enter(&format!("jwt:{number}")).unwrap();
        }
        assert!(meters.lock().len() <= MANY);
        assert!(retry(meters.enter("token:held")).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn without_limits_nothing_is_refused() {
        let meters = Meters::new(Limits::default());
        let held: Vec<Inside> = (0..10_000).map(|_| meters.enter("token:a").unwrap()).collect();
        assert_eq!(held.len(), 10_000);
    }
}
