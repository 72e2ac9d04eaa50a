//! One address of a service, and a connection to it.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use h2::client::SendRequest;
use http::uri::Authority;
use tokio::sync::watch;

use super::ChannelConfig;
use super::connection::{self, Lost, Standing};
use super::dial::Peer;
use super::frame::Frame;
use super::identity::Identity;
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

    /// Opens a connection, which a task of its own drives to its end.
    pub(crate) async fn connect(self: &Arc<Self>, config: &ChannelConfig) -> Result<Line, Lost> {
        let (requests, driver) = connection::open(self, config).await?;
        tracing::info!(service = %self.service, address = %self.peer, "connected");
        let requests = Arc::new(Mutex::new(requests));
        let standing = driver.standing();
        tokio::spawn(driver.run(Arc::downgrade(&requests)));
        Ok(Line { requests, standing })
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.service, self.peer)
    }
}

/// An open connection. It is closed when this is dropped and the last call over it has ended.
pub(crate) struct Line {
    requests: Arc<Mutex<SendRequest<Frame>>>,
    standing: watch::Receiver<Standing>,
}

impl Line {
    pub(crate) fn requests(&self) -> SendRequest<Frame> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
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
