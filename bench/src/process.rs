//! The other processes: how they are started and ended, and what they use.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::proto::bench::echo::v1::effect_service_client::EffectServiceClient;
use crate::proto::bench::echo::v1::{ReadAccountRequest, ReadAccountResponse, ReleaseRequest};
use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::sleep;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use transport::channel::{Direct, connect};

use crate::echo::{Manner, now};

/// A process that does not start or end in this time never will.
const PATIENCE: Duration = Duration::from_secs(30);

/// The store in the folder of an orchestrator.
pub(crate) const STORE: &str = "store.db";

/// How often a process that starts is looked at.
const LOOK: Duration = Duration::from_millis(1);

/// The echo service as a process of its own.
pub(crate) struct Echo {
    child: Child,
    pub(crate) address: String,
}

impl Echo {
    pub(crate) fn start(delay: Duration) -> anyhow::Result<Self> {
        Self::start_with(Manner { delay, ..Manner::default() })
    }

    pub(crate) fn start_with(manner: Manner) -> anyhow::Result<Self> {
        let mut command = role("echo");
        command.args(["--delay-ms", &manner.delay.as_millis().to_string()]);
        command.args(["--effect-delay-ms", &manner.effect_delay.as_millis().to_string()]);
        command.args(manner.hold_after.iter().flat_map(|enough| ["--hold-after".to_owned(), enough.to_string()]));
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut address = String::new();
        let stdout = child.stdout.take().context("the echo service has no stdout")?;
        BufReader::new(stdout).read_line(&mut address)?;
        Ok(Self { child, address: format!("http://{}", address.trim()) })
    }

    /// Its account of effects, and what became of the calls for them since then.
    pub(crate) async fn account(&self, since_micros: i64) -> anyhow::Result<ReadAccountResponse> {
        let mut effects = EffectServiceClient::new(connect(&self.address)?);
        Ok(effects.read_account(ReadAccountRequest { since_micros }).await?.into_inner())
    }

    /// Has it hold no effect any more.
    pub(crate) async fn release(&self) -> anyhow::Result<()> {
        EffectServiceClient::new(connect(&self.address)?).release(ReleaseRequest {}).await?;
        Ok(())
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// What differs between the orchestrators that are measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// Where the folder of the store is made.
    pub(crate) folder: Option<PathBuf>,
    /// Overrides of the configuration.
    pub(crate) set: Vec<String>,
    /// Whether system calls that wait for the disk are counted, which needs `strace`.
    pub(crate) count_syncs: bool,
}

/// The orchestrator as a process of its own, over a store in a new folder.
pub(crate) struct Orchestrator {
    child: Child,
    pid: Pid,
    pub(crate) admin: String,
    /// When the process was started, in microseconds since the Unix epoch.
    pub(crate) started_micros: i64,
    /// From then to the first SERVING.
    pub(crate) ready_in: Duration,
    folder: Arc<TempDir>,
}

impl Orchestrator {
    pub(crate) async fn start(echo: &Echo, options: &Options) -> anyhow::Result<Self> {
        let folder = temporary(options.folder.as_deref())?;
        Self::start_over(echo, options, Arc::new(folder)).await
    }

    /// The same over the store in this folder.
    pub(crate) async fn start_over(echo: &Echo, options: &Options, folder: Arc<TempDir>) -> anyhow::Result<Self> {
        let (admin, health) = (free_port()?, free_port()?);
        let log = std::fs::File::create(folder.path().join("log"))?;
        let mut set = vec![
            format!("store.path={}", folder.path().join(STORE).display()),
            format!("admin.listen={admin}"),
            format!("health.listen={health}"),
            format!("services.echo.address={}", echo.address),
            String::from("services.echo.max_in_flight=20000"),
            String::from("services.echo.call_timeout=60s"),
        ];
        set.extend(options.set.iter().cloned());

        let (started, started_micros) = (Instant::now(), now());
        let mut command =
            if options.count_syncs { strace(&folder.path().join("syncs"))? } else { role("orchestrator") };
        command.args(set.iter().flat_map(|set| ["--set", set])).stdout(Stdio::null()).stderr(log);
        let child = command.spawn()?;
        let pid = Pid::from_child(&child);
        let (admin, ready_in) = (format!("http://{admin}"), Duration::ZERO);
        let mut orchestrator = Self { child, pid, admin, started_micros, ready_in, folder };
        orchestrator.wait_until_serving(health).await.with_context(|| {
            let log = std::fs::read_to_string(orchestrator.folder.path().join("log")).unwrap_or_default();
            format!("the orchestrator did not start; its log:\n{log}")
        })?;
        orchestrator.ready_in = started.elapsed();
        if options.count_syncs {
            orchestrator.pid = only_child(orchestrator.pid)?;
        }
        Ok(orchestrator)
    }

    async fn wait_until_serving(&mut self, health: SocketAddr) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(health).await.is_err() {
            self.still_starts(until)?;
            sleep(LOOK).await;
        }
        let mut probe = HealthClient::new(connect(&format!("http://{health}"))?);
        while probe.check(HealthCheckRequest::default()).await?.into_inner().status() != ServingStatus::Serving {
            self.still_starts(until)?;
            sleep(LOOK).await;
        }
        Ok(())
    }

    fn still_starts(&mut self, until: Instant) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("it ended with {status}");
        }
        if Instant::now() > until {
            bail!("it does not serve after {PATIENCE:?}");
        }
        Ok(())
    }

    /// A connection to the admin API.
    pub(crate) fn connection(&self) -> anyhow::Result<Direct> {
        Ok(connect(&self.admin)?)
    }

    /// Several of them.
    pub(crate) fn connections(&self, count: usize) -> anyhow::Result<Vec<Direct>> {
        (0..count).map(|_| self.connection()).collect()
    }

    /// Lengths of the database and of its log.
    pub(crate) fn store_bytes(&self) -> (u64, u64) {
        let length = |name| std::fs::metadata(self.folder.path().join(name)).map_or(0, |file| file.len());
        (length(STORE), length("store.db-wal"))
    }

    /// Length of the database with what is in its log.
    pub(crate) fn database_bytes(&self) -> anyhow::Result<u64> {
        let database = self.reader()?;
        let pragma = |name| database.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        Ok(u64::try_from(pragma("page_count")? * pragma("page_size")?)?)
    }

    /// A second connection to the store.
    pub(crate) fn reader(&self) -> anyhow::Result<rusqlite::Connection> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        Ok(rusqlite::Connection::open_with_flags(self.folder.path().join(STORE), flags)?)
    }

    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        Usage::of(self.pid)
    }

    /// Kills the orchestrator as `kill -9` does; returns the folder with its store.
    pub(crate) fn kill(mut self) -> anyhow::Result<Arc<TempDir>> {
        kill_process(self.pid, Signal::KILL)?;
        self.child.wait()?;
        Ok(Arc::clone(&self.folder))
    }

    /// Drains the orchestrator; returns how often it waited for the disk, if that was counted.
    pub(crate) async fn stop(mut self) -> anyhow::Result<Option<u64>> {
        kill_process(self.pid, Signal::TERM)?;
        let until = Instant::now() + PATIENCE;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > until {
                bail!("the orchestrator does not end after {PATIENCE:?}");
            }
            sleep(LOOK).await;
        }
        Ok(std::fs::read_to_string(self.folder.path().join("syncs")).ok().map(|summary| syncs(&summary)))
    }
}

impl Drop for Orchestrator {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _gone = kill_process(self.pid, Signal::KILL);
            end(&mut self.child);
        }
    }
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// User and system time of all its threads.
    pub(crate) cpu: Duration,
    /// Resident memory, and the most that it ever was.
    pub(crate) resident_bytes: u64,
    pub(crate) peak_bytes: u64,
}

impl Usage {
    /// Of this process.
    pub(crate) fn own() -> anyhow::Result<Self> {
        Self::of(rustix::process::getpid())
    }

    fn of(pid: Pid) -> anyhow::Result<Self> {
        let pid = pid.as_raw_nonzero();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name of the process, in parentheses, may hold blanks; user and system time are the 12th and 13th behind.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
        };
        let second = rustix::param::clock_ticks_per_second();
        Ok(Self {
            cpu: Duration::from_micros(ticks * 1_000_000 / second),
            resident_bytes: bytes("VmRSS:"),
            peak_bytes: bytes("VmHWM:"),
        })
    }
}

/// A folder for what is measured.
pub(crate) fn temporary(parent: Option<&Path>) -> std::io::Result<TempDir> {
    parent.map_or_else(TempDir::new, TempDir::new_in)
}

/// Whether system calls can be counted on this machine.
pub(crate) fn can_count_syncs() -> bool {
    Command::new("strace").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn role(name: &str) -> Command {
    let mut command = Command::new(own_path());
    command.args(["role", name]).stdin(Stdio::null());
    command
}

/// The path of this program.
pub(crate) fn own_path() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("bench"))
}

/// The orchestrator under `strace`, which stops it at nothing but what is counted.
fn strace(summary: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new("strace");
    command.args(["-f", "--seccomp-bpf", "-qq", "-c", "-U", "calls,name", "-e", "trace=fsync,fdatasync", "-o"]);
    command.args([summary.as_os_str(), own_path().as_os_str(), OsStr::new("role"), OsStr::new("orchestrator")]);
    command.stdin(Stdio::null());
    Ok(command)
}

/// The calls in a summary of two columns, without its last line, which is their sum.
fn syncs(summary: &str) -> u64 {
    let calls = summary.lines().filter(|line| line.ends_with("sync"));
    calls.filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok()).sum()
}

fn only_child(pid: Pid) -> anyhow::Result<Pid> {
    let pid = pid.as_raw_nonzero();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let child = children.split_whitespace().next().and_then(|child| child.parse().ok()).and_then(Pid::from_raw);
    child.with_context(|| format!("process {pid} has no child"))
}

/// A free port.
fn free_port() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

fn end(child: &mut Child) {
    // It may have ended by itself.
    let _gone = child.kill();
    let _status = child.wait();
}
