//! The channel of one service: connects when it is first needed and again when the connection is lost.

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use engine::failure::{Code, Failure};
use engine::transport::Unsent;
use h2::client::SendRequest;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

use super::ChannelConfig;
use super::address::Address;
use super::connection::{Driver, Lost, open};
use super::frame::Frame;
use super::permits::{Permit, Permits};
use super::resolve::resolve;

/// The channel of one service. Clones share the connection and its limits.
#[derive(Clone)]
pub struct Channel(Arc<Shared>);

/// What may be shown of a channel.
#[derive(Clone, Debug)]
pub struct ChannelState {
    /// Whether there is a connection.
    pub connected: bool,
    /// Calls in flight.
    pub in_flight: usize,
    /// Calls that may be in flight.
    pub limit: usize,
    /// Why the last connect failed or the last connection ended; none while all is well.
    pub last_error: Option<String>,
}

pub(crate) struct Shared {
    name: String,
    address: Address,
    config: ChannelConfig,
    permits: Arc<Permits>,
    state: Mutex<State>,
    /// Told each time a connect has ended, well or not.
    settled: Notify,
}

struct State {
    link: Link,
    /// Counts connections, so that the end of an old one is not taken for the end of its successor.
    generation: u64,
    failures: u32,
    not_before: Option<Instant>,
    last_error: Option<String>,
}

enum Link {
    Down,
    Connecting,
    Up(SendRequest<Frame>),
}

/// The right to send one request: a permit and a connection.
pub struct Reserved {
    pub(crate) requests: SendRequest<Frame>,
    pub(crate) permit: Permit,
    pub(crate) channel: Arc<Shared>,
}

impl Channel {
    /// A channel to the address. Nothing is connected before the first reservation.
    pub fn new(name: impl Into<String>, address: Address, config: ChannelConfig) -> Self {
        let state = State { link: Link::Down, generation: 0, failures: 0, not_before: None, last_error: None };
        Self(Arc::new(Shared {
            name: name.into(),
            address,
            permits: Permits::new(config.max_in_flight),
            config,
            state: Mutex::new(state),
            settled: Notify::new(),
        }))
    }

    /// Waits for a permit and a connection, at most until the deadline.
    ///
    /// # Errors
    /// UNAVAILABLE where a connect failed and until the next is due, unless the call waits until the service is ready;
    /// DEADLINE_EXCEEDED.
    pub async fn reserve(&self, deadline: Instant, wait_for_ready: bool) -> Result<Reserved, Unsent> {
        if let Some(reserved) = self.try_reserve() {
            return Ok(reserved);
        }
        let waited_for = Mutex::new("a free place among the calls in flight");
        let reserved = timeout_at(deadline, async {
            let permit = Arc::clone(&self.0.permits).acquire().await;
            *waited_for.lock().unwrap_or_else(PoisonError::into_inner) = "a connection";
            let requests = self.connected(wait_for_ready).await?;
            Ok(Reserved { requests, permit, channel: Arc::clone(&self.0) })
        });
        reserved.await.unwrap_or_else(|_| {
            let what = *waited_for.lock().unwrap_or_else(PoisonError::into_inner);
            let error = self.0.lock().last_error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
            let message = format!("{} ({}): waited in vain for {what}{error}", self.0.name, self.0.address);
            Err(Unsent { failure: Failure::new(Code::DeadlineExceeded, message), retry_after: None })
        })
    }

    /// The reservation, where the channel is connected and a permit is free.
    pub fn try_reserve(&self) -> Option<Reserved> {
        let permit = self.0.permits.try_acquire()?;
        let requests = self.0.lock().alive()?;
        Some(Reserved { requests, permit, channel: Arc::clone(&self.0) })
    }

    /// What may be shown.
    pub fn state(&self) -> ChannelState {
        let (in_flight, limit) = self.0.permits.used();
        let mut state = self.0.lock();
        let connected = state.alive().is_some();
        ChannelState { connected, in_flight, limit, last_error: state.last_error.clone() }
    }

    /// Where the service listens.
    pub fn address(&self) -> &Address {
        &self.0.address
    }

    pub(crate) fn config(&self) -> &ChannelConfig {
        &self.0.config
    }

    async fn connected(&self, wait_for_ready: bool) -> Result<SendRequest<Frame>, Unsent> {
        loop {
            let mut settled = pin!(self.0.settled.notified());
            // From here on no notice is missed.
            settled.as_mut().enable();
            let pause = {
                let mut state = self.0.lock();
                if let Some(requests) = state.alive() {
                    return Ok(requests);
                }
                match state.link {
                    Link::Down => match state.pause() {
                        Some(pause) if !wait_for_ready => return Err(self.0.unavailable(&state, pause)),
                        Some(pause) => Some(pause),
                        None => {
                            state.link = Link::Connecting;
                            tokio::spawn(Arc::clone(&self.0).connect());
                            None
                        }
                    },
                    Link::Connecting | Link::Up(_) => None,
                }
            };
            match pause {
                // Another call that waits may be the one that connects.
                Some(pause) => drop(timeout(pause, settled).await),
                None => settled.await,
            }
        }
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("name", &self.0.name).field("address", &self.0.address).finish_non_exhaustive()
    }
}

impl fmt::Debug for Reserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reserved").field("channel", &self.channel.name).finish_non_exhaustive()
    }
}

impl State {
    /// The connection, where new requests may still go over it: not after a GOAWAY.
    fn alive(&mut self) -> Option<SendRequest<Frame>> {
        let Link::Up(requests) = &self.link else { return None };
        let mut requests = requests.clone();
        // Of a handle that has sent nothing this asks only for the state of the connection, and is never pending.
        if let Poll::Ready(Ok(())) = requests.poll_ready(&mut Context::from_waker(Waker::noop())) {
            return Some(requests);
        }
        // The streams that are still open keep it open; a successor is due at once.
        self.link = Link::Down;
        None
    }

    /// How long no connect is due yet.
    fn pause(&self) -> Option<Duration> {
        let pause = self.not_before?.saturating_duration_since(Instant::now());
        (!pause.is_zero()).then_some(pause)
    }
}

impl Shared {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unavailable(&self, state: &State, pause: Duration) -> Unsent {
        let reason = state.last_error.as_deref().unwrap_or("not connected");
        let message = format!("{} ({}): {reason}", self.name, self.address);
        Unsent { failure: Failure::new(Code::Unavailable, message), retry_after: Some(pause) }
    }

    /// Connects, and drives the connection to its end.
    async fn connect(self: Arc<Self>) {
        let within = self.config.connect_timeout;
        let opened = timeout(within, self.open(within)).await.unwrap_or(Err(Lost::TimedOut(within)));
        let (generation, driver) = match self.settle(opened) {
            Some(up) => up,
            None => return,
        };
        // The task must not keep alive what nobody uses any more.
        let shared: Weak<Self> = Arc::downgrade(&self);
        drop(self);
        let lost = driver.await;
        if let Some(shared) = shared.upgrade() {
            shared.lost(generation, &lost);
        }
    }

    /// To the first of the addresses behind the name that answers.
    async fn open(&self, within: Duration) -> Result<(SendRequest<Frame>, Driver), Lost> {
        let peers = resolve(&self.address).await?;
        // One address that swallows packets must not take the time of the others.
        let share = within / u32::try_from(peers.len()).unwrap_or(u32::MAX);
        let mut lost = Lost::NoAddress { host: self.address.host().to_owned() };
        for peer in &peers {
            match open(peer, share, &self.config, &self.permits).await {
                Ok(opened) => return Ok(opened),
                Err(failed) => lost = failed,
            }
        }
        Err(lost)
    }

    fn settle(&self, opened: Result<(SendRequest<Frame>, Driver), Lost>) -> Option<(u64, Driver)> {
        let up = {
            let mut state = self.lock();
            match opened {
                Ok((requests, driver)) => {
                    state.link = Link::Up(requests);
                    state.generation += 1;
                    state.failures = 0;
                    state.not_before = None;
                    state.last_error = None;
                    tracing::info!(service = %self.name, address = %self.address, "connected");
                    Some((state.generation, driver))
                }
                Err(lost) => {
                    let pause = self.pause(state.failures);
                    state.link = Link::Down;
                    state.failures = state.failures.saturating_add(1);
                    state.not_before = Some(Instant::now() + pause);
                    tracing::warn!(service = %self.name, address = %self.address, error = %lost, ?pause, "cannot connect");
                    state.last_error = Some(lost.to_string());
                    None
                }
            }
        };
        self.settled.notify_waiters();
        up
    }

    /// Grows by 1.6 with each failure in a row; a fifth up or down, so that replicas do not come all at once.
    fn pause(&self, failures: u32) -> Duration {
        let grown = self.config.back_off.as_secs_f64() * 1.6_f64.powi(failures.min(64).cast_signed());
        let bounded = grown.min(self.config.max_back_off.as_secs_f64());
        Duration::try_from_secs_f64(bounded * rand::random_range(0.8..1.2)).unwrap_or(self.config.max_back_off)
    }

    fn lost(&self, generation: u64, lost: &Lost) {
        tracing::info!(service = %self.name, address = %self.address, reason = %lost, "connection ended");
        let mut state = self.lock();
        if state.generation == generation {
            if matches!(state.link, Link::Up(_)) {
                state.link = Link::Down;
            }
            state.last_error = Some(lost.to_string());
        }
    }
}
