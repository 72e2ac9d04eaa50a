//! Why there is no connection to a peer, or no longer one.

use std::io;
use std::time::Duration;

use super::identity::TlsError;
use super::peer::Peer;

/// Why there is no connection, or no longer one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    #[error("the name {host} cannot be resolved: {source}")]
    Resolve { host: String, source: io::Error },
    #[error("the name {host} was not resolved within {within:?}")]
    Unresolved { host: String, within: Duration },
    #[error("the name {host} has no address")]
    NoAddress { host: String },
    #[error("cannot connect to {peer}: {source}")]
    Connect { peer: Peer, source: io::Error },
    #[error("cannot connect to {peer}: {source}")]
    Tls { peer: Peer, source: TlsError },
    #[error("not connected within {0:?}")]
    TimedOut(Duration),
    #[error("the peer does not speak HTTP/2: {0}")]
    Handshake(h2::Error),
    #[error("the connection broke before the peer said anything: {0}")]
    Refused(h2::Error),
    #[error("the connection broke: {0}")]
    Broken(h2::Error),
    #[error("the peer closed the connection")]
    Closed,
    #[error("the peer did not answer a ping within {0:?}")]
    Silent(Duration),
}
