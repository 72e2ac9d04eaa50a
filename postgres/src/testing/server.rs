//! A server of this process's own: its data in a temporary folder, reached by a socket in that folder, with PostgreSQL's own
//! settings for durability. It can be stopped and started, and it stops when the process ends, in whatever way.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio_postgres::Config;

use super::binaries::Binaries;

/// PostgreSQL refuses to run as root; then it runs as this user, which every system has (nobody).
pub(super) const UNPRIVILEGED: u32 = 65_534;

/// How long a server may take until it answers, on a busy machine.
const START: Duration = Duration::from_secs(60);

/// Runs the server until a line names the signal that ends it, or until the other end of its input is closed, which the end of a
/// process does too. Then its folder is removed.
const SUPERVISE: &str = r#"
program=$1; folder=$2; shift 2
"$program" -D "$folder/data" -k "$folder" -c unix_socket_permissions=0777 -c max_connections=300 \
    -c shared_buffers=64MB "$@" >>"$folder/log" 2>&1 </dev/null &
server=$!
if read -r signal; then
    kill -s "$signal" "$server"
    wait "$server"
else
    kill -INT "$server"
    wait "$server"
    cd / && rm -rf "$folder"
fi
"#;

/// How a server is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Connections are closed, and everything is written.
    Fast,
    /// As in a crash: the next start recovers.
    Immediate,
}

/// A server that no other test uses.
pub struct Server {
    folder: PathBuf,
    binaries: Binaries,
    port: u16,
    settings: Vec<String>,
    /// Its input keeps the server alive.
    supervisor: Option<Child>,
}

impl Server {
    /// Makes the folder, with these files in it, and starts a server with these settings, such as `ssl=on`.
    pub(super) fn start(binaries: &Binaries, files: &[(&str, &[u8])], settings: &[String]) -> io::Result<Self> {
        // A path of a socket may be about a hundred bytes long.
        let folder = tempfile::Builder::new().prefix("pg-").tempdir_in("/tmp")?.keep();
        if is_root() {
            chown(&folder, Some(UNPRIVILEGED), Some(UNPRIVILEGED))?;
        }
        // What was installed below a folder that only root enters cannot be run by anyone else.
        let reachable = command(&folder, &binaries.program("initdb"))
            .arg("--version")
            .output()
            .is_ok_and(|run| run.status.success());
        let binaries = if reachable { binaries.clone() } else { binaries.copied_to(&folder.join("programs"))? };
        if is_root() && !reachable {
            // Whoever removes the folder at the end has to own what is in it.
            let owner = format!("{UNPRIVILEGED}:{UNPRIVILEGED}");
            Command::new("chown").args(["-R", &owner]).arg(folder.join("programs")).output()?;
        }
        let initialized = command(&folder, &binaries.program("initdb"))
            .args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale", "--no-sync", "-D"])
            .arg(folder.join("data"))
            .output()?;
        if !initialized.status.success() {
            let why = String::from_utf8_lossy(&initialized.stderr).into_owned();
            return Err(io::Error::other(format!("initdb fails: {why}")));
        }
        for (name, content) in files {
            let path = folder.join("data").join(name);
            let mut file = std::fs::OpenOptions::new();
            std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
            file.create(true).truncate(true).write(true).open(&path)?.write_all(content)?;
            if is_root() {
                chown(&path, Some(UNPRIVILEGED), Some(UNPRIVILEGED))?;
            }
        }
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut server = Self { folder, binaries, port, settings: settings.to_vec(), supervisor: None };
        server.begin()?;
        Ok(server)
    }

    /// Starts it again after a stop.
    ///
    /// # Errors
    /// If it does not take connections.
    pub fn begin(&mut self) -> io::Result<()> {
        let supervisor = command(&self.folder, Path::new("/bin/sh"))
            .args(["-c", SUPERVISE, "sh"])
            .arg(self.binaries.program("postgres"))
            .arg(&self.folder)
            .args(["-c", &format!("port={}", self.port)])
            .args(self.settings.iter().flat_map(|setting| ["-c", setting.as_str()]))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()?;
        self.supervisor = Some(supervisor);
        self.wait_until_ready()
    }

    /// Stops it and waits until it has ended. What it has stays for the next start.
    ///
    /// # Errors
    /// If it does not run.
    pub fn stop(&mut self, how: Stop) -> io::Result<()> {
        let mut supervisor = self.supervisor.take().ok_or_else(|| io::Error::other("it does not run"))?;
        let mut input = supervisor.stdin.take().ok_or_else(|| io::Error::other("it has no input"))?;
        let signal = match how {
            Stop::Fast => "INT",
            Stop::Immediate => "QUIT",
        };
        writeln!(input, "{signal}")?;
        supervisor.wait()?;
        Ok(())
    }

    /// How the connection to it is made, over its socket.
    pub fn config(&self) -> Config {
        let mut config = Config::new();
        config.host_path(&self.folder).port(self.port).user("postgres").dbname("postgres");
        config
    }

    /// Where it listens if its settings say that it does.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server says on a line of its own file that it takes connections.
    fn wait_until_ready(&self) -> io::Result<()> {
        let since = Instant::now();
        while since.elapsed() < START {
            let mut state = String::new();
            let file = std::fs::File::open(self.folder.join("data/postmaster.pid"));
            if let Ok(mut file) = file
                && file.read_to_string(&mut state).is_ok()
                && state.lines().any(|line| line.trim() == "ready")
            {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        Err(io::Error::other(format!("it is not ready after {START:?}: {log}")))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        match self.supervisor.take() {
            // The end of its input stops it.
            Some(mut supervisor) => {
                drop(supervisor.stdin.take());
                drop(supervisor.wait());
            }
            None => drop(std::fs::remove_dir_all(&self.folder)),
        }
    }
}

pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A program as the user of the server.
fn command(folder: &Path, program: &Path) -> Command {
    let mut command = Command::new(program);
    if is_root() {
        command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
    }
    command.current_dir(folder).env_remove("PGDATA").env("LC_ALL", "C");
    command
}
