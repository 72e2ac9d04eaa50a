//! One address of a service, and the calls in flight to it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::uri::Authority;

use super::identity::Identity;
use super::peer::Peer;
use super::permits::{Permit, Permits};

/// One address of a service.
pub(crate) struct Endpoint {
    service: Arc<str>,
    peer: Peer,
    authority: Authority,
    identity: Identity,
    /// Those of the channel, which each call to the endpoint holds one of.
    permits: Arc<Permits>,
    in_flight: AtomicUsize,
}

impl Endpoint {
    pub(crate) fn new(
        service: Arc<str>,
        peer: Peer,
        authority: &Authority,
        identity: Identity,
        permits: Arc<Permits>,
    ) -> Arc<Self> {
        let authority = identity.authority().unwrap_or(authority).clone();
        Arc::new(Self { service, peer, authority, identity, permits, in_flight: AtomicUsize::new(0) })
    }

    /// The name of the service, for logs.
    pub(crate) fn service(&self) -> &str {
        &self.service
    }

    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// What requests name the service by.
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Who we are to it, and how we know that it is itself.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Calls in flight to this address, over all its connections.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.service, self.peer)
    }
}

/// A call in flight: its permit, and its place among the calls to an endpoint.
pub(crate) struct Slot(Arc<Endpoint>);

impl Slot {
    /// The permit is one of those of the endpoint.
    pub(crate) fn new(endpoint: Arc<Endpoint>, permit: Permit<'_>) -> Self {
        permit.keep();
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(endpoint)
    }

    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.0.permits.give_back();
    }
}
