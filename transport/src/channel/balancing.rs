//! How calls are spread over the endpoints of a service: the policies of the gRPC service config, by name.

use std::fmt;

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
