//! What may be shown of a channel and its endpoints.

use std::fmt;

/// How a connection is doing (gRPC connectivity semantics).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connectivity {
    /// Not connected, and no call needs it.
    Idle,
    /// Being resolved, connected, or asked for its health.
    Connecting,
    /// Takes calls.
    Ready,
    /// Left alone for a while after a failure, or not healthy.
    TransientFailure,
}

impl Connectivity {
    /// Its name, as gRPC writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "IDLE",
            Self::Connecting => "CONNECTING",
            Self::Ready => "READY",
            Self::TransientFailure => "TRANSIENT_FAILURE",
        }
    }
}

impl fmt::Display for Connectivity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What may be shown of a channel.
#[derive(Clone, Debug)]
pub struct ChannelState {
    /// READY while any endpoint is; TRANSIENT_FAILURE while calls fail immediately.
    pub connectivity: Connectivity,
    /// Every address of the service, in the order of the resolver; none before they are known.
    pub endpoints: Vec<EndpointState>,
    /// Calls in flight, also over connections that take no more.
    pub in_flight: usize,
    /// Calls that may be in flight.
    pub limit: usize,
    /// Why names were not resolved, connections failed or ended, or health was bad, whichever came last; none while all is
    /// well.
    pub last_error: Option<String>,
}

/// What may be shown of one address of a service.
#[derive(Clone, Debug)]
pub struct EndpointState {
    /// The address, `10.0.0.1:50051` or `unix:/path`.
    pub address: String,
    /// How it is doing. Under `pick_first` all but one are IDLE while that one is READY.
    pub connectivity: Connectivity,
    /// Calls in flight.
    pub in_flight: usize,
    /// Why the last connect failed, the last connection ended, or why it is not healthy; none while it is READY.
    pub last_error: Option<String>,
}
