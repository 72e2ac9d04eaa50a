//! One call to a service from its reservation to its outcome, through layers in an order that has reasons.
//!
//! 1. **Permit and connection** come first and before the engine writes anything down: what waits for them was surely not
//!    sent (semantics.md E2).
//! 2. **Deadline**: one for the call, over all attempts and the pauses between them. A service that fails late must not get
//!    more of the step's time than one that fails early.
//! 3. **Retry** stands above permit and connection, so that a call holds neither in a pause, and an attempt may go over
//!    another connection than the one before. [`course`] decides, [`throttle`] is the budget.
//! 4. **Claim** is the innermost: it is asked right before each attempt, because a pause may outlive it (E3).
//!
//! What the layers add up to is one outcome: in doubt as soon as one attempt was, unless a later one is done.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use engine::failure::{Code, Failure};
use engine::transport::{Attempt, Outcome, Unsent};
use tokio::time::{Instant, sleep};
use tonic::{Request, Status};

use crate::channel::{Channel, End, Reserved, Seam, Terms, Verdict};
use crate::methods::{MethodEntry, Undecodable};
use crate::policy::EffectivePolicy;

use course::Course;
pub(crate) use throttle::Throttle;

mod course;
mod throttle;

/// The way of all calls of one method.
pub(crate) struct Stack {
    entry: &'static MethodEntry,
    channel: Channel,
    policy: EffectivePolicy,
    /// Shared by all methods of the service.
    throttle: Option<Arc<Throttle>>,
}

impl Stack {
    pub(crate) fn new(
        entry: &'static MethodEntry,
        channel: Channel,
        policy: EffectivePolicy,
        throttle: Option<Arc<Throttle>>,
    ) -> Self {
        Self { entry, channel, policy, throttle }
    }

    pub(crate) fn policy(&self) -> &EffectivePolicy {
        &self.policy
    }

    /// Waits for a permit and a connection, at most until the deadline.
    pub(crate) async fn reserve(&self, deadline: Instant) -> Result<Reserved, Unsent> {
        self.channel.reserve(deadline, self.policy.wait_for_ready).await
    }

    /// The same where nothing need be waited for.
    pub(crate) fn try_reserve(&self) -> Option<Reserved> {
        self.channel.try_reserve()
    }

    /// Makes the call: the first attempt over what was reserved, the others as the policy has it.
    pub(crate) async fn call(self: Arc<Self>, reserved: Reserved, attempt: Attempt) -> Outcome {
        match self.exchange(reserved, attempt.clone(), 0).await {
            Ok(answer) => self.succeeded(answer),
            // Kept apart, so that a call that succeeds at once does not carry the state of one that does not.
            Err(verdict) => Box::pin(self.go_on(attempt, verdict)).await,
        }
    }

    /// What comes after a failed first attempt.
    async fn go_on(&self, attempt: Attempt, mut verdict: Verdict) -> Outcome {
        let mut course = Course::new(self.policy.retry.as_ref(), self.policy.repeats);
        let mut in_doubt = false;
        loop {
            let left = attempt.deadline.saturating_duration_since(Instant::now());
            let jitter = rand::random_range(0.8..1.2);
            let Some(pause) = course.next(&verdict, self.throttle.as_deref(), left, jitter) else { break };
            // A read changes nothing, so it leaves nothing in doubt.
            in_doubt |= self.entry.method.level.has_effects() && matches!(verdict.outcome, Outcome::Ambiguous { .. });
            tracing::debug!(
                method = self.entry.method.path, run = %attempt.run, attempt = attempt.number,
                previous = course.previous(), ?pause, %verdict, "call is made again"
            );
            if !pause.is_zero() {
                sleep(pause).await;
            }
            match self.once_more(&attempt, course.previous()).await {
                Ok(answer) => return self.succeeded(answer),
                Err(failed) => verdict = failed,
            }
        }
        if in_doubt { doubted(verdict.outcome) } else { verdict.outcome }
    }

    async fn once_more(&self, attempt: &Attempt, previous: u32) -> Result<Bytes, Verdict> {
        // Without the claim not even a connection is worth having.
        if !attempt.claim.is_held() {
            let failure = Failure::new(Code::Aborted, "the claim on the run was lost between two attempts");
            return Err(Verdict::new(Outcome::NotSent(Unsent { failure, retry_after: None }), End::Withheld));
        }
        let reserved = self.reserve(attempt.deadline).await;
        let reserved = reserved.map_err(|unsent| Verdict::new(Outcome::NotSent(unsent), End::NotTaken))?;
        self.exchange(reserved, attempt.clone(), previous).await
    }

    /// One attempt.
    async fn exchange(&self, reserved: Reserved, attempt: Attempt, previous_attempts: u32) -> Result<Bytes, Verdict> {
        let EffectivePolicy { max_request_bytes, max_response_bytes, attempt_header, .. } = self.policy;
        let terms = Terms { max_request_bytes, max_response_bytes, previous_attempts, attempt_header };
        let request = Request::new(attempt.request.clone());
        let answer = (self.entry.call)(Seam::once(reserved, attempt, terms), request).await;
        answer.map_err(|status| verdict(&status))
    }

    fn succeeded(&self, answer: Bytes) -> Outcome {
        if let Some(throttle) = &self.throttle {
            throttle.succeeded();
        }
        Outcome::Done(answer)
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack").field("method", &self.entry.method.path).finish_non_exhaustive()
    }
}

/// The outcome of a call of which an earlier attempt may have had its effect.
fn doubted(last: Outcome) -> Outcome {
    match last {
        Outcome::NotSent(Unsent { failure, retry_after }) => Outcome::Ambiguous { failure, retry_after },
        Outcome::Refused(failure) => Outcome::Ambiguous { failure, retry_after: None },
        Outcome::Done(_) | Outcome::Ambiguous { .. } => last,
    }
}

/// What is known of an attempt that ended with a status.
fn verdict(status: &Status) -> Verdict {
    if let Some(verdict) = Verdict::of(status) {
        return verdict;
    }
    let failure = Failure::new(Code::from_i32(status.code() as i32), status.message());
    let source = std::error::Error::source(status);
    if source.is_some_and(|source| source.is::<Undecodable>()) {
        return Verdict::new(Outcome::NotSent(Unsent { failure, retry_after: None }), End::Withheld);
    }
    // The generated client made it of an answer that it could not read.
    Verdict::new(Outcome::Ambiguous { failure, retry_after: None }, End::Committed)
}
