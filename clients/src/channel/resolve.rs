//! Looks up where the name in an address leads.

use tokio::net::lookup_host;

use super::address::Address;
use super::connection::Lost;
use super::dial::Peer;

/// Where the service listens, in the order of the resolver; at least one place.
///
/// # Errors
/// [`Lost::Resolve`], [`Lost::NoAddress`].
pub(crate) async fn resolve(address: &Address) -> Result<Vec<Peer>, Lost> {
    let host = address.host();
    let found = lookup_host((host, address.port())).await;
    let found = found.map_err(|source| Lost::Resolve { host: host.to_owned(), source })?;
    let peers: Vec<Peer> = found.map(Peer::Tcp).collect();
    if peers.is_empty() { Err(Lost::NoAddress { host: host.to_owned() }) } else { Ok(peers) }
}
