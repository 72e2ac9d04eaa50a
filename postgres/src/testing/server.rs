//! A server of this process's own: its data in a temporary folder, reached by a socket in that folder, with PostgreSQL's own
//! settings for durability. It stops when the process ends, in whatever way.

use std::io::{self, Read};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio_postgres::Config;

use super::binaries::Binaries;

/// PostgreSQL refuses to run as root; then it runs as this user, which every system has (nobody).
const UNPRIVILEGED: u32 = 65_534;

/// How long a server may take until it answers, on a busy machine.
const START: Duration = Duration::from_secs(60);

/// Runs the server until the other end of its input is closed, which the end of a process does too.
const SUPERVISE: &str = r#"
"$1" -D "$2/data" -k "$2" -c listen_addresses= -c unix_socket_permissions=0777 -c max_connections=300 \
    -c shared_buffers=64MB >"$2/log" 2>&1 </dev/null &
server=$!
read -r _
kill -INT "$server"
wait "$server"
cd / && rm -rf "$2"
"#;

pub(super) struct Server {
    folder: PathBuf,
    /// Its input keeps the server alive.
    _supervisor: Child,
}

impl Server {
    pub(super) fn start(binaries: &Binaries) -> io::Result<Self> {
        // A path of a socket may be about a hundred bytes long.
        let folder = tempfile::Builder::new().prefix("pg-").tempdir_in("/tmp")?.keep();
        let root = rustix::process::geteuid().is_root();
        if root {
            chown(&folder, Some(UNPRIVILEGED), Some(UNPRIVILEGED))?;
        }
        let command = |program: &Path| {
            let mut command = Command::new(program);
            if root {
                command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
            }
            command.current_dir(&folder).env_remove("PGDATA").env("LC_ALL", "C");
            command
        };
        // What was installed below a folder that only root enters cannot be run by anyone else.
        let reachable =
            command(&binaries.program("initdb")).arg("--version").output().is_ok_and(|run| run.status.success());
        let copy = if reachable { None } else { Some(binaries.copied_to(&folder.join("programs"))?) };
        if root && copy.is_some() {
            // Whoever removes the folder at the end has to own what is in it.
            let owner = format!("{UNPRIVILEGED}:{UNPRIVILEGED}");
            Command::new("chown").args(["-R", &owner]).arg(folder.join("programs")).output()?;
        }
        let binaries = copy.as_ref().unwrap_or(binaries);
        let initialized = command(&binaries.program("initdb"))
            .args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale", "--no-sync", "-D"])
            .arg(folder.join("data"))
            .output()?;
        if !initialized.status.success() {
            let why = String::from_utf8_lossy(&initialized.stderr).into_owned();
            return Err(io::Error::other(format!("initdb fails: {why}")));
        }
        let supervisor = command(Path::new("/bin/sh"))
            .args(["-c", SUPERVISE, "sh"])
            .arg(binaries.program("postgres"))
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()?;
        let server = Self { folder, _supervisor: supervisor };
        server.wait_until_ready()?;
        Ok(server)
    }

    pub(super) fn config(&self) -> Config {
        let mut config = Config::new();
        config.host_path(&self.folder).user("postgres").dbname("postgres");
        config
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
