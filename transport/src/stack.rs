//! One call to a service from its reservation to its outcome, through layers in an order that has reasons.
//!
//! 1. **Gate** ([`gate`]): limits and breaker come first, before the engine writes anything down, because what waits for
//!    them was surely not sent (semantics.md E2). They are one layer, since both say how many calls the service gets, and
//!    all that wait stand in one queue that is fair over runs. It is passed by every attempt, not once by the call: what
//!    the service feels is attempts, so a retry waits like any other, and an open breaker lets none through.
//! 2. **Connection**: only who has a place asks for one. Otherwise all who wait would knock at a service that is down.
//! 3. **Deadline**: one for the call, over all attempts and the pauses between them. A service that fails late must not get
//!    more of the step's time than one that fails early. It begins when the first attempt is sent, so that a wait costs
//!    none of it.
//! 4. **Retry** stands above gate and connection, so that a call holds neither in a pause, and an attempt may go over
//!    another connection than the one before. [`course`] decides, [`throttle`] is the budget.
//! 5. **Claim** is the innermost: it is asked right before each attempt, because a pause may outlive it (E3).
//!
//! An [`observer`] stands beside them all: it sees each call and each attempt when it begins and when it ends.
//!
//! What the layers add up to is one outcome: in doubt as soon as one attempt was, unless a later one is done.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::failure::{Code, Failure};
use engine::transport::{Attempt, Outage, Outcome, Unsent};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep, sleep_until};
use tonic::{Request, Status};
use uuid::Uuid;

use crate::channel::{Channel, End, Reserved, Seam, Terms, Verdict};
use crate::methods::{MethodEntry, Undecodable};
use crate::policy::{EffectivePolicy, Repeats};

use breaker::Sign;
pub use breaker::{BreakerConfig, BreakerState};
use course::Course;
pub(crate) use gate::{Gate, GateConfig};
pub use gate::{GateState, RateLimit, SeenError};
use gate::{Pass, Queued};
pub(crate) use observer::{Observer, observer};
pub(crate) use throttle::Throttle;

mod breaker;
mod bucket;
mod course;
mod fair;
mod gate;
mod observer;
#[cfg(test)]
mod proof;
mod throttle;
mod window;

/// The way of all calls of one method.
pub(crate) struct Stack {
    entry: &'static MethodEntry,
    channel: Channel,
    policy: EffectivePolicy,
    /// Shared by all methods of the service, as is the budget.
    gate: Arc<Gate>,
    throttle: Option<Arc<Throttle>>,
    observer: Observer,
}

/// Which attempt of a call one is.
#[derive(Clone, Copy, Default)]
struct Turn {
    /// Attempts before it, as they are sent to the service.
    previous: u32,
    /// The one before never left.
    resent: bool,
}

/// What an attempt needs before it can be sent.
pub(crate) struct Ready {
    // Given back in this order, so that the next call that is let in finds a permit.
    connection: Reserved,
    pass: Pass,
}

/// The result of a wish for it.
pub(crate) enum Wish {
    Granted(Ready),
    /// The service is down; the rest of the wait.
    Down(Outage, BoxFuture<'static, Result<Ready, Unsent>>),
}

impl Stack {
    pub(crate) fn new(
        entry: &'static MethodEntry,
        channel: Channel,
        policy: EffectivePolicy,
        gate: Arc<Gate>,
        throttle: Option<Arc<Throttle>>,
        observer: Observer,
    ) -> Self {
        Self { entry, channel, policy, gate, throttle, observer }
    }

    pub(crate) fn service(&self) -> &str {
        self.gate.service()
    }

    pub(crate) fn policy(&self) -> &EffectivePolicy {
        &self.policy
    }

    /// Waits for a place and a connection, for the latter at most so long.
    pub(crate) async fn reserve(self: Arc<Self>, run: Uuid, connect_within: Duration) -> Result<Wish, Unsent> {
        let begun = Instant::now();
        let mut queued = self.gate.queue(run, self.repeats());
        loop {
            let pass = tokio::select! {
                biased;
                pass = &mut queued => pass,
                outage = self.gate.outage() => {
                    return Ok(Wish::Down(outage, self.reserve_after_outage(queued, run, connect_within).boxed()));
                }
            };
            match self.connect(pass, Instant::now() + connect_within).await {
                Ok(ready) => return Ok(Wish::Granted(ready)),
                Err(_) if self.gate.is_down() => queued = self.gate.queue(run, self.repeats()),
                Err(unsent) => return Err(self.not_made(begun, unsent)),
            }
        }
    }

    /// The same for one that knows of the outage. That there is no connection is no failure of the call as long as the
    /// service is down: it only was the one to find out.
    async fn reserve_after_outage(
        self: Arc<Self>,
        mut queued: Queued,
        run: Uuid,
        connect_within: Duration,
    ) -> Result<Ready, Unsent> {
        let begun = Instant::now();
        loop {
            let pass = queued.await;
            match self.connect(pass, Instant::now() + connect_within).await {
                Err(_) if self.gate.is_down() => queued = self.gate.queue(run, self.repeats()),
                connected => return connected.map_err(|unsent| self.not_made(begun, unsent)),
            }
        }
    }

    /// Whether a call may be repeated however it ends.
    fn repeats(&self) -> bool {
        self.policy.repeats == Repeats::All
    }

    async fn connect(&self, pass: Pass, deadline: Instant) -> Result<Ready, Unsent> {
        let begun = Instant::now();
        match self.channel.reserve(deadline, self.policy.wait_for_ready).await {
            Ok(connection) => Ok(Ready { connection, pass }),
            Err(unsent) => {
                pass.not_connected(&unsent);
                if let Some(watched) = &self.observer {
                    watched.not_connected(begun, unsent.failure.code());
                }
                Err(unsent)
            }
        }
    }

    fn not_made(&self, begun: Instant, unsent: Unsent) -> Unsent {
        if let Some(watched) = &self.observer {
            watched.not_made(begun, unsent.failure.code());
        }
        unsent
    }

    /// The same where nothing need be waited for.
    pub(crate) fn try_reserve(&self) -> Option<Ready> {
        let pass = self.gate.try_enter()?;
        let connection = self.channel.try_reserve()?;
        Some(Ready { connection, pass })
    }

    /// Makes the call: the first attempt over what was reserved, the others as the policy has it.
    ///
    /// Like `exchange`, a function that returns a block: an `async fn` keeps its arguments twice.
    #[expect(clippy::manual_async_fn, reason = "every call in flight holds this future, which is much smaller so")]
    pub(crate) fn call(self: Arc<Self>, ready: Ready, attempt: Attempt) -> impl Future<Output = Outcome> + Send {
        async move {
            let mut watched = self.observer.as_ref().map(|observer| Box::new(observer.call(attempt.run)));
            let outcome = match self.exchange(ready, attempt.clone(), Turn::default(), watched.as_deref()).await {
                Ok(answer) => self.succeeded(answer),
                // Kept apart, so that a call that succeeds immediately does not carry the state of one that does not.
                Err(verdict) => Box::pin(self.go_on(attempt, verdict, watched.as_deref_mut())).await,
            };
            if let Some(watched) = watched {
                watched.ended(&outcome);
            }
            outcome
        }
    }

    /// What comes after a failed first attempt.
    async fn go_on(&self, attempt: Attempt, mut verdict: Verdict, mut watched: Option<&mut observer::Call>) -> Outcome {
        // Not what the policy says today: the call was journaled as what it is.
        let mut course = Course::new(self.policy.retry.as_ref(), Repeats::of(attempt.level));
        let mut in_doubt = false;
        loop {
            let left = attempt.deadline.saturating_duration_since(Instant::now());
            let jitter = rand::random_range(0.8..1.2);
            let (before, ended) = (course.previous(), Instant::now());
            let Some(pause) = course.next(&verdict, self.throttle.as_deref(), left, jitter) else { break };
            // The engine waits for a service that is down, without attempts.
            if self.gate.is_down() {
                break;
            }
            // A read changes nothing, so it leaves nothing in doubt.
            in_doubt |= attempt.level.has_effects() && matches!(verdict.outcome, Outcome::Ambiguous { .. });
            tracing::debug!(
                method = self.entry.method.path, run = %attempt.run, attempt = attempt.number,
                previous = course.previous(), ?pause, %verdict, "call is made again"
            );
            if !pause.is_zero() {
                sleep(pause).await;
            }
            let turn = Turn { previous: course.previous(), resent: course.previous() == before };
            let ready = self.once_more(&attempt).await;
            let withheld = ready.as_ref().is_err_and(|verdict| verdict.end == End::Withheld);
            if let Some(watched) = watched.as_deref_mut().filter(|_| !withheld) {
                watched.again(ended.elapsed(), turn.resent);
            }
            let exchanged = match ready {
                Ok(ready) => self.exchange(ready, attempt.clone(), turn, watched.as_deref()).await,
                Err(verdict) => Err(verdict),
            };
            match exchanged {
                Ok(answer) => return self.succeeded(answer),
                Err(failed) => verdict = failed,
            }
        }
        if in_doubt { doubted(verdict.outcome) } else { verdict.outcome }
    }

    /// What another attempt needs.
    async fn once_more(&self, attempt: &Attempt) -> Result<Ready, Verdict> {
        // Without the claim not even a connection is worth having.
        if !attempt.claim.is_held() {
            let failure = Failure::new(Code::Aborted, "the claim on the run was lost between two attempts");
            return Err(Verdict::new(Outcome::NotSent(Unsent { failure, retry_after: None }), End::Withheld));
        }
        let withheld = |code, message| {
            let failure = Failure::new(code, message);
            Err(Verdict::new(Outcome::NotSent(Unsent { failure, retry_after: None }), End::Withheld))
        };
        let pass = tokio::select! {
            biased;
            pass = self.gate.queue(attempt.run, Repeats::of(attempt.level) == Repeats::All) => pass,
            Outage { service, error, .. } = self.gate.outage() => {
                return withheld(Code::Unavailable, format!("{service} is down and not called: {error}"));
            }
            () = sleep_until(attempt.deadline) => {
                let message = format!("{}: waited in vain for a place among its calls", self.gate.service());
                return withheld(Code::DeadlineExceeded, message);
            }
        };
        let ready = self.connect(pass, attempt.deadline).await;
        ready.map_err(|unsent| Verdict::new(Outcome::NotSent(unsent), End::NotTaken))
    }

    /// One attempt, which begins now.
    fn exchange(
        &self,
        ready: Ready,
        attempt: Attempt,
        turn: Turn,
        call: Option<&observer::Call>,
    ) -> impl Future<Output = Result<Bytes, Verdict>> + Send + use<> {
        let tried = call.map(|call| Box::new(call.attempt(&attempt, turn.previous, turn.resent)));
        let Ready { connection, mut pass } = ready;
        let EffectivePolicy { max_request_bytes, max_response_bytes, max_stream_messages, attempt_header, .. } =
            self.policy;
        let max_stream_messages = self.entry.collected.map(|_| max_stream_messages);
        let terms = Terms {
            max_request_bytes,
            max_response_bytes,
            max_stream_messages,
            trace: tried.as_ref().and_then(|tried| tried.trace()),
            previous_attempts: turn.previous,
            attempt_header,
        };
        let request = Request::new(attempt.request.clone());
        pass.begin();
        let answer = (self.entry.call)(Seam::once(connection, attempt, terms), request);
        async move {
            match answer.await {
                Ok(answer) => {
                    pass.ended(Sign::Well, None, None);
                    if let Some(tried) = tried {
                        tried.answered(answer.len());
                    }
                    Ok(answer)
                }
                Err(status) => {
                    let verdict = verdict(&status);
                    let is_failure = !matches!(verdict.outcome, Outcome::Refused(_)) && verdict.end != End::LeftOut;
                    let failure = verdict.failure().filter(|_| is_failure);
                    pass.ended(Sign::of(&verdict), failure, verdict.retry_after);
                    if let Some(tried) = tried {
                        tried.failed(&verdict);
                    }
                    Err(verdict)
                }
            }
        }
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
