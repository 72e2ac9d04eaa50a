//! Which endpoint a call goes to, of those that are ready.

use std::sync::Arc;

use h2::client::SendRequest;

use super::balancing::BalancingPolicy;
use super::endpoint::Endpoint;
use super::frame::Frame;

mod least_request;
mod round_robin;

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
