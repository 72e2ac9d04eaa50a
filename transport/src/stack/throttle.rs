//! The budget of retries of a service, shared by all its calls in this replica: a service that fails mostly is not called
//! more often for it (gRFC A6).

use std::sync::atomic::{AtomicU32, Ordering};

use crate::policy::Throttling;

/// One token, in thousandths.
const TOKEN: u32 = 1_000;

#[derive(Debug)]
pub(crate) struct Throttle {
    settings: Throttling,
    millitokens: AtomicU32,
}

impl Throttle {
    pub(crate) fn new(settings: Throttling) -> Self {
        Self { settings, millitokens: AtomicU32::new(settings.max_millitokens) }
    }

    /// A call succeeded.
    pub(crate) fn succeeded(&self) {
        let (most, more) = (self.settings.max_millitokens, self.settings.millitokens_per_success);
        // While all is well this only reads.
        let filled = |tokens: u32| (tokens < most).then(|| tokens.saturating_add(more).min(most));
        let _ = self.millitokens.fetch_update(Ordering::AcqRel, Ordering::Acquire, filled);
    }

    /// An attempt failed in a way that a retry might help; says whether one is still allowed.
    pub(crate) fn failed(&self) -> bool {
        let taken = |tokens: u32| Some(tokens.saturating_sub(TOKEN));
        let before = self.millitokens.fetch_update(Ordering::AcqRel, Ordering::Acquire, taken).unwrap_or_default();
        before.saturating_sub(TOKEN) > self.settings.max_millitokens / 2
    }

    /// Tokens that are left, in thousandths.
    pub(crate) fn left(&self) -> u32 {
        self.millitokens.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_stop_at_half_of_the_tokens_and_come_back_with_successes() {
        let throttle = Throttle::new(Throttling { max_millitokens: 4_000, millitokens_per_success: 500 });
        assert!(throttle.failed());
        assert!(!throttle.failed());
        assert_eq!(throttle.left(), 2_000);
        for _ in 0..5 {
            assert!(!throttle.failed());
        }
        assert_eq!(throttle.left(), 0);
        for _ in 0..7 {
            throttle.succeeded();
        }
        assert!(throttle.failed());
        for _ in 0..20 {
            throttle.succeeded();
        }
        assert_eq!(throttle.left(), 4_000);
    }
}
