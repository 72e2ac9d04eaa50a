//! Decides after each failed attempt of a call whether there is another one, and when (gRFC A6).

use std::time::Duration;

use engine::transport::Outcome;

use super::throttle::Throttle;
use crate::channel::{End, Pushback, Verdict};
use crate::policy::{Repeats, RetryPolicy};

/// The attempts of one call so far.
#[derive(Debug)]
pub(crate) struct Course<'p> {
    policy: Option<&'p RetryPolicy>,
    repeats: Repeats,
    /// Attempts that count.
    attempts: u32,
    /// Pauses of our own since the service last named one.
    pauses: i32,
    /// Whether what never left was sent again already.
    resent: bool,
    /// How often connections ended in good order before they took the call.
    left_out: u32,
}

/// A call that this many connections left out is not sent again: a peer that ends each of them takes nothing.
const MAX_LEFT_OUT: u32 = 50;
/// The pause after the first few of them.
const LEFT_OUT_PAUSE: Duration = Duration::from_millis(20);

impl<'p> Course<'p> {
    /// A call whose first attempt was made.
    pub(crate) fn new(policy: Option<&'p RetryPolicy>, repeats: Repeats) -> Self {
        Self { policy, repeats, attempts: 1, pauses: 0, resent: false, left_out: 0 }
    }

    /// Attempts, as they are sent to the service.
    pub(crate) fn previous(&self) -> u32 {
        self.attempts - 1
    }

    /// The pause before the next attempt; none where the verdict stands. `left` is the time until the deadline, and
    /// `jitter` a number around 1.
    pub(crate) fn next(
        &mut self,
        verdict: &Verdict,
        throttle: Option<&Throttle>,
        left: Duration,
        jitter: f64,
    ) -> Option<Duration> {
        match verdict.end {
            End::Withheld | End::Committed => return None,
            // Neither an attempt nor a failure: any number of calls may be under way when a connection ends.
            End::LeftOut => {
                self.left_out += 1;
                let pause = if self.left_out <= 3 { Duration::ZERO } else { LEFT_OUT_PAUSE };
                return Some(pause).filter(|pause| self.left_out < MAX_LEFT_OUT && *pause < left);
            }
            // The service has seen nothing of it, so it costs the service nothing and is no attempt.
            End::NotTaken if !self.resent => {
                self.resent = true;
                return Some(Duration::ZERO).filter(|pause| *pause < left);
            }
            End::NotTaken | End::Broken | End::Answered => {}
        }
        let policy = self.policy?;
        let code = verdict.failure()?.code();
        if verdict.pushback == Some(Pushback::Never) {
            throttle.map(Throttle::failed);
            return None;
        }
        if !policy.retryable.contains(&code) {
            return None;
        }
        // Every such failure counts, also one after which there would be no other attempt anyway.
        let affordable = throttle.is_none_or(Throttle::failed);
        if !affordable || self.attempts >= policy.max_attempts || !self.may_repeat(&verdict.outcome) {
            return None;
        }
        let pause = match verdict.pushback {
            Some(Pushback::After(pause)) => {
                self.pauses = 0;
                pause
            }
            Some(Pushback::Never) | None => {
                let pause = backoff(policy, self.pauses, jitter);
                self.pauses = self.pauses.saturating_add(1);
                pause.max(verdict.retry_after.unwrap_or_default())
            }
        };
        // To wait only to run out of time would tell the engine nothing that it does not know now.
        if pause >= left {
            return None;
        }
        self.attempts += 1;
        Some(pause)
    }

    fn may_repeat(&self, outcome: &Outcome) -> bool {
        match outcome {
            Outcome::Done(_) => false,
            Outcome::NotSent(_) => true,
            Outcome::Refused(_) => matches!(self.repeats, Repeats::All | Repeats::Harmless),
            Outcome::Ambiguous { .. } => self.repeats == Repeats::All,
        }
    }
}

fn backoff(policy: &RetryPolicy, pauses: i32, jitter: f64) -> Duration {
    let grown = policy.initial_backoff.as_secs_f64() * policy.backoff_multiplier.powi(pauses);
    let bounded = grown.min(policy.max_backoff.as_secs_f64());
    Duration::try_from_secs_f64(bounded * jitter).unwrap_or(policy.max_backoff)
}

#[cfg(test)]
mod tests {
    use engine::failure::{Code, Failure};
    use engine::transport::Unsent;

    use super::*;
    use crate::policy::Throttling;

    const LONG: Duration = Duration::from_secs(3_600);

    fn policy() -> RetryPolicy {
        RetryPolicy {
            max_attempts: 5,
            initial_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_millis(350),
            backoff_multiplier: 2.0,
            retryable: vec![Code::Unavailable, Code::Aborted],
        }
    }

    fn ambiguous(code: Code) -> Verdict {
        let failure = Failure::new(code, "failed");
        Verdict::new(Outcome::Ambiguous { failure, retry_after: None }, End::Answered)
    }

    fn refused(code: Code) -> Verdict {
        Verdict::new(Outcome::Refused(Failure::new(code, "failed")), End::Answered)
    }

    fn not_sent(end: End) -> Verdict {
        let failure = Failure::new(Code::Unavailable, "failed");
        Verdict::new(Outcome::NotSent(Unsent { failure, retry_after: None }), end)
    }

    fn pushed(pushback: Pushback) -> Verdict {
        Verdict { pushback: Some(pushback), ..ambiguous(Code::Unavailable) }
    }

    fn millis(pause: Option<Duration>) -> Option<u128> {
        pause.map(|pause| pause.as_millis())
    }

    #[test]
    fn pauses_grow_up_to_the_longest_and_attempts_end() {
        let policy = policy();
        let mut course = Course::new(Some(&policy), Repeats::All);
        let mut next = |jitter| millis(course.next(&ambiguous(Code::Unavailable), None, LONG, jitter));
        assert_eq!(next(1.0), Some(100));
        assert_eq!(next(0.8), Some(160));
        assert_eq!(next(1.0), Some(350));
        assert_eq!(next(1.2), Some(420));
        assert_eq!(next(1.0), None);
        assert_eq!(course.previous(), 4);
    }

    #[test]
    fn only_the_listed_statuses_are_tried_again_and_none_without_a_policy() {
        let policy = policy();
        let first = |policy, verdict| Course::new(policy, Repeats::All).next(&verdict, None, LONG, 1.0);
        assert!(first(Some(&policy), ambiguous(Code::Unavailable)).is_some());
        assert!(first(Some(&policy), refused(Code::Aborted)).is_some());
        assert!(first(Some(&policy), ambiguous(Code::Internal)).is_none());
        assert!(first(None, ambiguous(Code::Unavailable)).is_none());
    }

    #[test]
    fn no_policy_goes_beyond_what_the_level_allows() {
        let policy = policy();
        let again = |repeats, verdict| Course::new(Some(&policy), repeats).next(&verdict, None, LONG, 1.0).is_some();
        for (repeats, in_doubt, refused_too) in
            [(Repeats::All, true, true), (Repeats::Harmless, false, true), (Repeats::Unsent, false, false)]
        {
            assert_eq!(again(repeats, ambiguous(Code::Unavailable)), in_doubt, "{repeats:?}");
            assert_eq!(again(repeats, refused(Code::Aborted)), refused_too, "{repeats:?}");
            assert!(again(repeats, not_sent(End::Answered)), "{repeats:?}");
        }
    }

    #[test]
    fn what_never_left_is_sent_again_once_at_once_without_counting() {
        let policy = policy();
        let throttle = Throttle::new(Throttling { max_millitokens: 10_000, millitokens_per_success: 1 });
        let mut course = Course::new(Some(&policy), Repeats::Unsent);
        let mut next = |verdict: &Verdict| millis(course.next(verdict, Some(&throttle), LONG, 1.0));
        assert_eq!(next(&not_sent(End::NotTaken)), Some(0));
        assert_eq!(throttle.left(), 10_000);
        assert_eq!(next(&not_sent(End::NotTaken)), Some(100));
        assert_eq!(throttle.left(), 9_000);

        let mut without = Course::new(None, Repeats::Unsent);
        assert_eq!(millis(without.next(&not_sent(End::NotTaken), None, LONG, 1.0)), Some(0));
        assert_eq!(without.next(&not_sent(End::NotTaken), None, LONG, 1.0), None);
        assert_eq!(without.previous(), 0);
    }

    #[test]
    fn what_we_withheld_and_what_had_an_answer_is_not_tried_again() {
        let policy = policy();
        for end in [End::Withheld, End::Committed] {
            let verdict = Verdict { end, ..ambiguous(Code::Unavailable) };
            assert_eq!(Course::new(Some(&policy), Repeats::All).next(&verdict, None, LONG, 1.0), None, "{end:?}");
        }
    }

    #[test]
    fn the_service_says_when_or_that_it_does_not_want_a_retry() {
        let policy = policy();
        let mut course = Course::new(Some(&policy), Repeats::All);
        let mut next = |verdict: Verdict| millis(course.next(&verdict, None, LONG, 1.2));
        assert_eq!(next(ambiguous(Code::Unavailable)), Some(120));
        assert_eq!(next(pushed(Pushback::After(Duration::from_secs(7)))), Some(7_000));
        assert_eq!(next(ambiguous(Code::Unavailable)), Some(120));
        assert_eq!(next(pushed(Pushback::Never)), None);
    }

    #[test]
    fn a_delay_in_the_details_of_a_status_is_the_least() {
        let policy = policy();
        let mut course = Course::new(Some(&policy), Repeats::All);
        let asked = Verdict { retry_after: Some(Duration::from_secs(2)), ..ambiguous(Code::Unavailable) };
        assert_eq!(millis(course.next(&asked, None, LONG, 1.0)), Some(2_000));
    }

    #[test]
    fn no_pause_goes_over_the_deadline() {
        let policy = policy();
        let next = |left| Course::new(Some(&policy), Repeats::All).next(&ambiguous(Code::Unavailable), None, left, 1.0);
        assert_eq!(next(Duration::from_millis(100)), None);
        assert!(next(Duration::from_millis(101)).is_some());
        let mut course = Course::new(None, Repeats::All);
        assert_eq!(course.next(&not_sent(End::NotTaken), None, Duration::ZERO, 1.0), None);
    }

    #[test]
    fn an_empty_budget_stops_retries_and_unwanted_ones_cost_too() {
        let policy = policy();
        let throttle = Throttle::new(Throttling { max_millitokens: 4_000, millitokens_per_success: 1 });
        let next =
            |verdict: Verdict| Course::new(Some(&policy), Repeats::All).next(&verdict, Some(&throttle), LONG, 1.0);
        assert!(next(ambiguous(Code::Unavailable)).is_some());
        assert!(next(ambiguous(Code::Internal)).is_none());
        assert_eq!(throttle.left(), 3_000);
        assert!(next(pushed(Pushback::Never)).is_none());
        assert_eq!(throttle.left(), 2_000);
        assert!(next(ambiguous(Code::Unavailable)).is_none());
    }

    #[test]
    fn calls_that_connections_left_out_go_out_again_without_being_attempts_for_a_bounded_number_of_times() {
        let mut course = Course::new(None, Repeats::Unsent);
        let mut pauses = Vec::new();
        while let Some(pause) = course.next(&not_sent(End::LeftOut), None, LONG, 1.0) {
            pauses.push(pause);
        }
        assert_eq!(pauses.len(), MAX_LEFT_OUT as usize - 1);
        assert_eq!(pauses[..4], [Duration::ZERO, Duration::ZERO, Duration::ZERO, LEFT_OUT_PAUSE]);
        assert_eq!(course.previous(), 0);
    }
}
