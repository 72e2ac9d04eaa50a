//! The sockets, bound before anything else.

use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixListener, UnixStream};

use super::ServeError;
use crate::configuration::Configuration;

/// Only the user of the process connects; the kernel tells who it is all the same.
const MODE: u32 = 0o600;

/// The socket of the health server.
pub struct HealthListener {
    pub(super) listener: TcpListener,
    pub(super) address: SocketAddr,
}

/// The bound sockets of the admin server. Connections queue up in them until they are served.
pub struct Listeners {
    pub(super) admin: TcpListener,
    pub(super) admin_address: SocketAddr,
    /// The admin API again, in the file system.
    pub(super) socket: Option<Socket>,
}

impl Listeners {
    /// Binds all sockets. A port that is taken is found here, before anything else was touched.
    pub async fn bind(configuration: &Configuration) -> Result<(HealthListener, Self), ServeError> {
        let (listener, address) = bind("health.listen", configuration.health.listen).await?;
        let (admin, admin_address) = bind("admin.listen", configuration.admin.listen).await?;
        let path = &configuration.admin.socket;
        let socket = if path.as_os_str().is_empty() { None } else { Some(Socket::bind(path).await?) };
        Ok((HealthListener { listener, address }, Self { admin, admin_address, socket }))
    }
}

async fn bind(key: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let failed = |source| ServeError::Listen { key, address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// A socket in the file system, which is removed with this.
pub(super) struct Socket {
    pub(super) listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    async fn bind(path: &Path) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Socket { path: path.to_owned(), source };
        // One that nothing listens on was left by a process that was killed. Anything else is not ours to remove.
        let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
        if is_socket && UnixStream::connect(path).await.is_err() {
            std::fs::remove_file(path).map_err(failed)?;
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        let socket = Self { listener, path: path.to_owned() };
        std::fs::set_permissions(path, PermissionsExt::from_mode(MODE)).map_err(failed)?;
        Ok(socket)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Who removed it before had a reason.
        let _gone = std::fs::remove_file(&self.path);
    }
}
