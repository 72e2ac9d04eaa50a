//! The two sockets, bound before anything else.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::ServeError;
use crate::configuration::Configuration;

/// The bound sockets. Connections queue up in them until they are served.
pub struct Listeners {
    pub(super) health: TcpListener,
    pub(super) health_address: SocketAddr,
    pub(super) admin: TcpListener,
    pub(super) admin_address: SocketAddr,
}

impl Listeners {
    /// Binds both sockets. A port that is taken is found here, before anything else was touched.
    pub async fn bind(configuration: &Configuration) -> Result<Self, ServeError> {
        let (health, health_address) = bind("health.listen", configuration.health.listen).await?;
        let (admin, admin_address) = bind("admin.listen", configuration.admin.listen).await?;
        Ok(Self { health, health_address, admin, admin_address })
    }
}

async fn bind(key: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let failed = |source| ServeError::Listen { key, address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}
