//! A token bucket: how many calls may begin a second, and how many at the same time.

use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug)]
pub(crate) struct Bucket {
    tokens: f64,
    /// Tokens that are kept for calls that come at the same time.
    most: f64,
    filled_at: Instant,
}

impl Bucket {
    /// A full bucket.
    pub(crate) fn new(most: f64, now: Instant) -> Self {
        let most = most.max(1.0);
        Self { tokens: most, most, filled_at: now }
    }

    /// Fills up with so many tokens a second, and says when there is one to be taken; none where there is one now.
    pub(crate) fn next_token(&mut self, now: Instant, per_second: f64) -> Option<Instant> {
        let passed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens = (self.tokens + passed * per_second).min(self.most);
        self.filled_at = now.max(self.filled_at);
        if self.tokens >= 1.0 {
            return None;
        }
        let pause = Duration::try_from_secs_f64((1.0 - self.tokens) / per_second).unwrap_or(LONGEST);
        // A pause of nothing would be asked for again and again.
        Some(now + pause.clamp(SHORTEST, LONGEST))
    }

    /// Takes a token that there is.
    pub(crate) fn take(&mut self) {
        self.tokens -= 1.0;
    }

    /// Takes back a token that was not used.
    pub(crate) fn give_back(&mut self) {
        self.tokens = (self.tokens + 1.0).min(self.most);
    }
}

/// Bounds of one wait for a token; after it, the bucket is asked again.
const SHORTEST: Duration = Duration::from_micros(100);
const LONGEST: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_come_at_once_up_to_the_burst_and_then_at_the_rate() {
        let begun = Instant::now();
        let mut bucket = Bucket::new(3.0, begun);
        let mut at = begun;
        let mut times = Vec::new();
        while times.len() < 6 {
            match bucket.next_token(at, 10.0) {
                Some(next) => at = next,
                None => {
                    bucket.take();
                    times.push((at - begun).as_millis());
                }
            }
        }
        assert_eq!(times, [0, 0, 0, 100, 200, 300]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_saves_no_more_than_the_burst() {
        let begun = Instant::now();
        let mut bucket = Bucket::new(2.0, begun);
        let later = begun + Duration::from_secs(3_600);
        for _ in 0..2 {
            assert_eq!(bucket.next_token(later, 10.0), None);
            bucket.take();
        }
        assert_eq!(bucket.next_token(later, 10.0), Some(later + Duration::from_millis(100)));
        bucket.give_back();
        assert_eq!(bucket.next_token(later, 10.0), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_of_nothing_is_asked_for_again_and_overflows_nothing() {
        let now = Instant::now();
        let mut bucket = Bucket::new(0.0, now);
        bucket.take();
        assert_eq!(bucket.next_token(now, 0.0), Some(now + LONGEST));
    }
}
