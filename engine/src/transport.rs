//! The port through which calls leave: first reserve what the send will need, then, once the start is durable, send.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::time::Instant;
use uuid::Uuid;

use crate::claim::Claim;
use crate::failure::Failure;
use crate::rpc::Level;

/// Time for one attempt where no one says anything about it.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Sends calls to services. Two-phase: nothing is journaled as started while it waits for a permit.
pub trait Transport: Send + Sync + 'static {
    /// Waits for everything that can be had before the first byte leaves: a place within the limits of the service, its
    /// return where it is down, a connected channel.
    ///
    /// `path` is the method path, `/service/method`. Those who wait take turns by `run`: a wide run does not keep a
    /// narrow one waiting. A wait for a connection fails after `connect_within`; what else is waited for is not the call's
    /// fault, so that wait ends only when it is dropped. A wait and a reservation that are dropped give everything back.
    fn reserve(&self, path: &str, run: Uuid, connect_within: Duration) -> Reserving;

    /// Time for one attempt of a call. `said` is what its step says; a transport may allow less, and decides where the
    /// step is silent.
    fn call_timeout(&self, _path: &str, said: Option<Duration>) -> Duration {
        said.unwrap_or(CALL_TIMEOUT)
    }

    /// How often a call of the method may be repeated. `stated` is what its contract says; a transport may know more, and
    /// says so as long as it stands. Asked when a step is made: a step that was started keeps the level it was started with.
    fn level(&self, _path: &str, stated: Level) -> Level {
        stated
    }

    /// The reservation, where it can be had without waiting and without going before those who wait.
    fn try_reserve(&self, _path: &str) -> Option<Box<dyn Reservation>> {
        None
    }
}

/// A wish to reserve.
pub type Reserving = BoxFuture<'static, Result<Reserved, Unsent>>;

/// A wait for a reservation.
pub type Waiting = BoxFuture<'static, Result<Box<dyn Reservation>, Unsent>>;

/// What comes of a wish to reserve.
pub enum Reserved {
    /// What was asked for.
    Ready(Box<dyn Reservation>),
    /// The service is down and not called. A call that continues to wait keeps the place among those who wait.
    Down(Outage, Waiting),
}

impl Reserved {
    /// Waits also for a service that is down.
    ///
    /// # Errors
    /// What was waited for after its return cannot be had.
    pub async fn ready(self) -> Result<Box<dyn Reservation>, Unsent> {
        match self {
            Self::Ready(reservation) => Ok(reservation),
            Self::Down(_, back) => back.await,
        }
    }
}

/// A service is not called for a while, because it was seen to be down.
#[derive(Clone, Debug)]
pub struct Outage {
    /// Name of the service.
    pub service: Arc<str>,
    /// When it was found to be down.
    pub since: Instant,
    /// What was seen of it.
    pub error: String,
}

/// The right to send one request now.
pub trait Reservation: Send {
    /// Sends the request and waits for the answer, at most until the attempt's deadline.
    ///
    /// Dropping the future cancels the call on the wire.
    fn send(self: Box<Self>, attempt: Attempt) -> BoxFuture<'static, Outcome>;
}

/// One try of a step.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The encoded request message, sent as it is.
    pub request: Bytes,
    /// How often the call may be repeated, as it was journaled before it was sent.
    pub level: Level,
    /// Idempotency key; only effects carry one.
    pub key: Option<Uuid>,
    /// Our deadline, over the whole call.
    pub deadline: Instant,
    /// The run that makes the call.
    pub run: Uuid,
    /// The step of the run, for those that the service shows it to.
    pub step: StepPlace,
    /// Counts the tries of the step, from 1.
    pub number: u32,
    /// Outdates every attempt of the run with a smaller one: it had another owner.
    pub epoch: u64,
    /// The owner's claim, asked right before the request is handed over.
    pub claim: Arc<dyn Claim>,
}

/// Where a step stands among those of its run; the method that it calls is known from the path.
#[derive(Clone, Debug)]
pub struct StepPlace {
    /// Path of its branch, empty for the run's own; keys from redacted fields are hashed in it.
    pub branch: Arc<str>,
    /// Counts the steps of the branch, from 0.
    pub position: u32,
}

impl Default for StepPlace {
    fn default() -> Self {
        Self { branch: Arc::from(""), position: 0 }
    }
}

/// Nothing was sent, and why.
#[derive(Clone, Debug)]
pub struct Unsent {
    /// What to tell the workflow if this was the last try.
    pub failure: Failure,
    /// When the service asked to be called again, at the earliest.
    pub retry_after: Option<Duration>,
}

/// What is known of an attempt.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The service answered: the encoded response message.
    Done(Bytes),
    /// Proven: the message was not handed to the service.
    NotSent(Unsent),
    /// The service itself said a status that means it did nothing.
    Refused(Failure),
    /// It may or may not have happened.
    Ambiguous {
        /// What was seen.
        failure: Failure,
        /// When the service asked to be called again, at the earliest.
        retry_after: Option<Duration>,
    },
}
