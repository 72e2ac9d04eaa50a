//! Which endpoint a call goes to, and which endpoints are connected for that: the policies of the gRPC service config.

use std::fmt;
use std::sync::Arc;

use h2::client::SendRequest;

use super::endpoint::Endpoint;
use super::frame::Frame;

mod attend;
mod every;
mod least_request;
mod pick_first;
mod round_robin;

pub(crate) use every::keep_connected;
pub(crate) use pick_first::connect_first;

/// How calls are spread over the endpoints of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Balancing {
    /// Which endpoint a call goes to.
    pub policy: BalancingPolicy,
    /// The service whose health each endpoint is asked for, empty for the server as a whole; none where no health is
    /// asked for (gRFC A17). Under `pick_first` it is not looked at, as everywhere in gRPC.
    pub health_check: Option<String>,
}

/// Which endpoint a call goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BalancingPolicy {
    /// One endpoint, the first that can be connected, has all calls (gRFC A62).
    PickFirst {
        /// Whether the addresses are tried in an order of chance.
        shuffle: bool,
    },
    /// Every endpoint is connected, and calls go to one after the other.
    RoundRobin,
    /// Every endpoint is connected, and a call goes to the one with the fewest calls in flight among some that are drawn
    /// by chance (gRFC A48).
    LeastRequest {
        /// How many are drawn; 2 to [`BalancingPolicy::MOST_CHOICES`].
        choices: u32,
    },
}

impl BalancingPolicy {
    /// Endpoints that are drawn at most.
    pub const MOST_CHOICES: u32 = 10;

    /// Its name in a service config.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PickFirst { .. } => "pick_first",
            Self::RoundRobin => "round_robin",
            Self::LeastRequest { .. } => "least_request_experimental",
        }
    }
}

impl Default for BalancingPolicy {
    /// That of gRPC: a name that stands for one address, as that of a service in Kubernetes does, is balanced behind it.
    fn default() -> Self {
        Self::PickFirst { shuffle: false }
    }
}

impl fmt::Display for BalancingPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An endpoint that takes calls.
pub(crate) struct Ready {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) requests: SendRequest<Frame>,
    pub(crate) allowed: usize,
}

impl Ready {
    fn is_full(&self) -> bool {
        self.endpoint.in_flight() >= self.allowed
    }
}

/// Chooses among the endpoints that are ready.
pub(crate) struct Picker {
    policy: BalancingPolicy,
    ready: Vec<Ready>,
    /// Counts choices. It begins anywhere, so that the replicas do not all begin with the same endpoint.
    turn: usize,
}

impl Picker {
    pub(crate) fn new(policy: BalancingPolicy) -> Self {
        Self { policy, ready: Vec::new(), turn: rand::random_range(0..usize::MAX / 2) }
    }

    pub(crate) fn choose_from(&mut self, ready: Vec<Ready>) {
        self.ready = ready;
    }

    /// Whether no further endpoint is wanted.
    pub(crate) fn is_satisfied(&self) -> bool {
        matches!(self.policy, BalancingPolicy::PickFirst { .. }) && !self.ready.is_empty()
    }

    /// Calls that all endpoints together take at a time; none where none is ready.
    pub(crate) fn allowed(&self) -> Option<usize> {
        self.ready.iter().map(|ready| ready.allowed).reduce(usize::saturating_add)
    }

    /// The endpoint of the next call; none where none is ready. One that has all the calls that its peer allows is chosen
    /// only where all have.
    pub(crate) fn pick(&mut self) -> Option<&Ready> {
        let count = self.ready.len();
        if count < 2 {
            return self.ready.first();
        }
        let at = match self.policy {
            BalancingPolicy::PickFirst { .. } => 0,
            BalancingPolicy::RoundRobin => {
                self.turn = self.turn.wrapping_add(1);
                round_robin::pick(count, self.turn, |at| self.ready.get(at).is_some_and(Ready::is_full))
            }
            BalancingPolicy::LeastRequest { choices } => {
                let load = |at| self.ready.get(at).map_or(usize::MAX, |ready: &Ready| ready.endpoint.in_flight());
                let drawn = least_request::pick(choices, load, || rand::random_range(0..count));
                match self.ready.get(drawn) {
                    Some(ready) if ready.is_full() => (0..count)
                        .filter(|at| self.ready.get(*at).is_some_and(|ready| !ready.is_full()))
                        .min_by_key(|at| load(*at))
                        .unwrap_or(drawn),
                    _ => drawn,
                }
            }
        };
        self.ready.get(at)
    }
}
