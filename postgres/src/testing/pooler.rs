//! pgbouncer in transaction mode before a server: each transaction may get another connection.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use super::server::{UNPRIVILEGED, is_root};

/// How long it may take until it takes connections.
const START: Duration = Duration::from_secs(20);

/// A pooler, which stops when it is dropped.
pub struct Pooler {
    port: u16,
    child: Child,
    _folder: TempDir,
}

impl Pooler {
    /// Stands before the server with this configuration; none if there is no pgbouncer. It does not pass `options` on.
    ///
    /// # Errors
    /// If it does not take connections.
    pub fn before(server: &Config) -> io::Result<Option<Self>> {
        let Some(program) = program() else { return Ok(None) };
        let folder = tempfile::Builder::new().prefix("pgbouncer-").tempdir_in("/tmp")?;
        if is_root() {
            chown(folder.path(), Some(UNPRIVILEGED), Some(UNPRIVILEGED))?;
        }
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let host = match server.get_hosts().first() {
            Some(Host::Unix(folder)) => folder.display().to_string(),
            Some(Host::Tcp(host)) => host.clone(),
            None => return Err(io::Error::other("the server has no host")),
        };
        let behind = server.get_ports().first().copied().unwrap_or(5_432);
        let user = server.get_user().unwrap_or("postgres");
        let password = server.get_password().map(String::from_utf8_lossy);
        let password = password.map(|password| format!(" password={password}")).unwrap_or_default();
        let text = format!(
            "[databases]\n* = host={host} port={behind} user={user}{password}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n\
             ignore_startup_parameters = options\nmax_client_conn = 2000\ndefault_pool_size = 10\n\
             server_idle_timeout = 2\n"
        );
        let file = folder.path().join("pgbouncer.ini");
        std::fs::write(&file, text)?;
        let mut command = Command::new(program);
        if is_root() {
            command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
        }
        let quiet = command.arg("-q").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let pooler = Self { port, child: quiet.spawn()?, _folder: folder };
        let since = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if since.elapsed() > START {
                return Err(io::Error::other(format!("pgbouncer takes no connections after {START:?}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Some(pooler))
    }

    /// How the connection to this database through it is made.
    pub fn config(&self, database: &Config) -> Config {
        let mut config = Config::new();
        config.host("127.0.0.1").port(self.port);
        config.user(database.get_user().unwrap_or("postgres")).dbname(database.get_dbname().unwrap_or("postgres"));
        config
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // Gone already, perhaps.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the program is; Debian has it where only root looks.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders =
        std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")]);
    folders.find_map(|folder| Some(folder.join("pgbouncer")).filter(|program| Path::is_file(program)))
}
