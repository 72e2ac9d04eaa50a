//! The gate of a service: which attempt may begin now, and who waits in which order. Limits and breaker decide together,
//! because both say how many calls a service gets, and those who wait stand in one queue.
//!
//! While no call waits and all is well, an attempt costs two short locks and no timer.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use engine::failure::Failure;
use engine::transport::Outage;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::breaker::{Admitted, Breaker, BreakerConfig, BreakerState, Move, Room, Sign};
use super::bucket::Bucket;
use super::fair::FairQueue;
use super::window::Window;

mod pass;

use pass::Left;
pub(crate) use pass::{Pass, Queued};

/// How often a service is called.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateLimit {
    /// Attempts that may begin a second.
    pub per_second: f64,
    /// Attempts that may begin at the same time.
    pub burst: u32,
}

/// What keeps a service from getting too many calls.
#[derive(Clone, Debug)]
pub(crate) struct GateConfig {
    pub(crate) max_in_flight: usize,
    pub(crate) rate: Option<RateLimit>,
    pub(crate) breaker: BreakerConfig,
}

/// What may be shown of a gate.
#[derive(Clone, Debug)]
pub struct GateState {
    /// Where the breaker stands.
    pub breaker: BreakerState,
    /// Since when the service has been down; none where it is not.
    pub down_since: Option<Instant>,
    /// Calls that have a place, from their reservation on.
    pub in_flight: usize,
    /// Calls that may have one.
    pub max_in_flight: usize,
    /// How often the service is called at most.
    pub rate: Option<RateLimit>,
    /// Calls that wait for a place.
    pub waiting_calls: usize,
    /// Runs that they belong to.
    pub waiting_runs: usize,
    /// Attempts a second, over the breaker's window.
    pub attempts_per_second: f64,
    /// Those of them that say that the service is unwell.
    pub failures_per_second: f64,
    /// The last failure that was not a refusal.
    pub last_error: Option<SeenError>,
}

/// A failure and when it was seen.
#[derive(Clone, Debug)]
pub struct SeenError {
    /// What was seen.
    pub failure: Failure,
    /// When.
    pub at: Instant,
}

/// The gate of one service.
pub(crate) struct Gate {
    service: Arc<str>,
    config: GateConfig,
    /// How many calls the service takes at the moment, over all its connections.
    capacity: Box<dyn Fn() -> usize + Send + Sync>,
    /// How many of the places this replica has at the moment.
    share: AtomicUsize,
    state: Mutex<State>,
    /// Told each time the service is found down.
    opened: Notify,
}

struct State {
    breaker: Breaker,
    bucket: Option<Bucket>,
    in_flight: usize,
    queue: FairQueue<Waits>,
    window: Window,
    last_error: Option<SeenError>,
    /// Whether a task looks after those who wait for a time.
    attended: bool,
}

/// A call that waits.
struct Waits {
    admitted: oneshot::Sender<Admitted>,
    /// Whether it may be repeated however it ends.
    repeats: bool,
}

impl Gate {
    pub(crate) fn new(
        service: &str,
        config: GateConfig,
        capacity: impl Fn() -> usize + Send + Sync + 'static,
    ) -> Arc<Self> {
        let now = Instant::now();
        let state = State {
            breaker: Breaker::new(config.breaker.clone()),
            bucket: config.rate.map(|rate| Bucket::new(f64::from(rate.burst), now)),
            in_flight: 0,
            queue: FairQueue::default(),
            window: Window::new(config.breaker.window, now),
            last_error: None,
            attended: false,
        };
        let (service, capacity) = (Arc::from(service), Box::new(capacity));
        let share = AtomicUsize::new(usize::MAX);
        Arc::new(Self { service, config, capacity, share, state: Mutex::new(state), opened: Notify::new() })
    }

    /// From now on this replica has so many places. Calls in flight keep theirs.
    pub(crate) fn set_share(self: &Arc<Self>, places: usize) {
        self.share.store(places, Ordering::Release);
        self.attend(self.lock());
    }

    /// How many calls may be in flight.
    fn limit(&self) -> usize {
        self.config.max_in_flight.min(self.share.load(Ordering::Acquire))
    }

    /// A place, if one is free and no call waits for it.
    pub(crate) fn try_enter(self: &Arc<Self>) -> Option<Pass> {
        let mut state = self.lock();
        if !state.queue.is_empty() || self.room(&mut state, self.limit()) != Room::Now {
            return None;
        }
        let admitted = state.admit();
        drop(state);
        Some(Pass::new(Arc::clone(self), admitted))
    }

    /// A place, as soon as one is free and it is the run's turn. `repeats`: the call may be repeated however
    /// it ends, so it is a good one to find out how the service is.
    pub(crate) fn queue(self: &Arc<Self>, run: Uuid, repeats: bool) -> Queued {
        let (sender, admitted) = oneshot::channel();
        let mut state = self.lock();
        let ticket = state.queue.push(run, Waits { admitted: sender, repeats });
        self.attend(state);
        Queued { gate: Arc::clone(self), ticket, admitted, done: false }
    }

    /// The outage, as soon as there is one.
    pub(crate) async fn outage(&self) -> Outage {
        loop {
            let mut opened = std::pin::pin!(self.opened.notified());
            // From here on no notice is missed.
            opened.as_mut().enable();
            if let Some(outage) = self.current_outage() {
                return outage;
            }
            opened.await;
        }
    }

    /// What is known of the outage, where the service is down.
    pub(crate) fn current_outage(&self) -> Option<Outage> {
        let state = self.lock();
        let since = state.breaker.down_since()?;
        let error = state.last_error.as_ref().map(|seen| seen.failure.message().to_owned()).unwrap_or_default();
        Some(Outage { service: Arc::clone(&self.service), since, error })
    }

    /// What may be shown.
    pub(crate) fn state(&self) -> GateState {
        let (now, mut state) = (Instant::now(), self.lock());
        let (attempts_per_second, failures_per_second) = state.window.rates(now);
        GateState {
            breaker: state.breaker.state(now),
            down_since: state.breaker.down_since(),
            in_flight: state.in_flight,
            max_in_flight: self.limit(),
            rate: self.config.rate,
            waiting_calls: state.queue.calls(),
            waiting_runs: state.queue.runs(),
            attempts_per_second,
            failures_per_second,
            last_error: state.last_error.clone(),
        }
    }

    /// Whether the service is down.
    pub(crate) fn is_down(&self) -> bool {
        self.lock().breaker.down_since().is_some()
    }

    pub(crate) fn service(&self) -> &str {
        &self.service
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn room(&self, state: &mut State, limit: usize) -> Room {
        if state.in_flight >= limit {
            return Room::WhenOneEnds;
        }
        if state.bucket.is_none() && state.breaker.is_closed() {
            return Room::Now;
        }
        let now = Instant::now();
        match state.breaker.room(now, state.in_flight, limit) {
            Room::Now => {}
            other => return other,
        }
        let next = match (&mut state.bucket, self.config.rate) {
            (Some(bucket), Some(rate)) => bucket.next_token(now, rate.per_second),
            _ => None,
        };
        next.map_or(Room::Now, Room::At)
    }

    /// Lets in the calls that there is room for, and starts the task that lets in calls that wait for a time.
    fn attend(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if let Some(next) = self.let_in(&mut state)
            && !state.attended
        {
            state.attended = true;
            tokio::spawn(attend_later(Arc::downgrade(self), next));
        }
    }

    /// Lets in the calls that there is room for. Returns when to look again, if time will make room.
    fn let_in(&self, state: &mut State) -> Option<Instant> {
        // A service that takes nothing for the moment still gets one call, which then waits at its connection.
        let limit = if state.queue.is_empty() { return None } else { self.limit().min((self.capacity)().max(1)) };
        while !state.queue.is_empty() {
            match self.room(state, limit) {
                Room::Now => {}
                Room::At(next) => return Some(next),
                Room::WhenOneEnds => return None,
            }
            let State { queue, breaker, .. } = &mut *state;
            let next = if breaker.probes() { queue.pop_preferring(|waits| waits.repeats) } else { queue.pop() };
            let Some(waits) = next else { break };
            let admitted = state.admit();
            // Whoever leaves takes itself out of the queue first, so there is somebody to take it.
            if waits.admitted.send(admitted).is_err() {
                state.give_back(admitted, false);
            }
        }
        None
    }

    /// An attempt has ended, or a place is given back unused.
    fn leave(self: &Arc<Self>, admitted: Admitted, left: Left<'_>) {
        let mut state = self.lock();
        let moved = match left {
            Left::Unused => {
                state.give_back(admitted, true);
                None
            }
            Left::Cancelled => {
                state.give_back(admitted, false);
                None
            }
            Left::Ended { sign, failure, not_before } => {
                state.in_flight -= 1;
                let now = Instant::now();
                let counts = state.window.at(now);
                counts.attempts = counts.attempts.saturating_add(1);
                match sign {
                    Sign::Well => counts.well = counts.well.saturating_add(1),
                    Sign::Unwell | Sign::Unreachable => counts.unwell = counts.unwell.saturating_add(1),
                    Sign::Neither => {}
                }
                if let Some(failure) = failure {
                    state.last_error = Some(SeenError { failure: failure.clone(), at: now });
                }
                let State { breaker, window, .. } = &mut *state;
                breaker.ended(admitted, sign, window, now, not_before, self.full_rate())
            }
        };
        if !state.queue.is_empty() {
            self.attend(state);
        } else {
            drop(state);
        }
        match moved {
            Some(Move::Opened { pause }) => {
                let failure = match &left {
                    Left::Ended { failure: Some(failure), .. } => Some(failure),
                    _ => None,
                };
                let code = failure.map(|failure| failure.code().to_string()).unwrap_or_default();
                tracing::warn!(service = &*self.service, code, ?pause, "service is down, it is not called");
                // What a service says may be about a person.
                let error = failure.map(|failure| failure.message()).unwrap_or_default();
                tracing::debug!(service = &*self.service, error, "what failed");
                self.opened.notify_waiters();
            }
            Some(Move::Answers) => tracing::info!(service = &*self.service, "service answers again"),
            None => {}
        }
    }

    /// Attempts a second when all is well, as far as anything is said of it.
    fn full_rate(&self) -> f64 {
        self.config.rate.map_or(self.config.max_in_flight as f64, |rate| rate.per_second)
    }
}

impl State {
    fn admit(&mut self) -> Admitted {
        self.in_flight += 1;
        if let Some(bucket) = &mut self.bucket {
            bucket.take();
        }
        self.breaker.admit()
    }

    fn give_back(&mut self, admitted: Admitted, unused: bool) {
        self.in_flight -= 1;
        if let Some(bucket) = self.bucket.as_mut().filter(|_| unused) {
            bucket.give_back();
        }
        self.breaker.withdrawn(admitted);
    }
}

/// Lets in calls that wait for a time, until no call does.
async fn attend_later(gate: Weak<Gate>, mut next: Instant) {
    loop {
        sleep_until(next).await;
        let Some(gate) = gate.upgrade() else { return };
        let mut state = gate.lock();
        match gate.let_in(&mut state) {
            Some(later) => next = later,
            None => {
                state.attended = false;
                return;
            }
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("service", &self.service).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
