//! One orchestrator: its directory, its addresses, and the process that it is at the moment.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::RngExt;
use rustix::process::{Pid, Signal, kill_process};
use server::proto::orchestrator::admin::v1::run_service_client::RunServiceClient;
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::world::World;

const READY: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(10);

pub(crate) struct Orchestrator {
    directory: TempDir,
    /// What starts the program, where it does not start by itself: a command that takes it and its arguments.
    launcher: Vec<String>,
    admin: SocketAddr,
    health: SocketAddr,
    child: Option<Child>,
    /// Writes what the process says into its log, so that a limit of its files is none of its log.
    log_writer: Option<JoinHandle<()>>,
}

impl Orchestrator {
    /// Writes the configuration; nothing runs yet.
    pub(crate) fn over(world: &World) -> Self {
        Self::with_store(world, "")
    }

    /// A replica whose store is a database of this server that others share; leases are short.
    pub(crate) fn sharing(world: &World, url: &str, password: Option<&str>) -> Self {
        let database = format!("kind = \"postgres\"\nurl = '{url}'\nlease = \"3s\"\ntimeout = \"2s\"\n");
        let Some(password) = password else { return Self::with_store(world, &database) };
        let mut secret = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut secret, password.as_bytes()).unwrap();
        let secret = secret.into_temp_path().keep().unwrap();
        Self::with_store(world, &format!("{database}password_file = '{}'\n", secret.display()))
    }

    fn with_store(world: &World, store: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("store")).unwrap();
        let (admin, health) = (free_address(), free_address());
        let text = format!(
            "[admin]\nlisten = \"{admin}\"\n\n[health]\nlisten = \"{health}\"\n\n[store]\npath = '{}'\n{store}\n\
             [log]\nformat = \"json\"\n\n[services.users]\naddress = \"http://{}\"\n\n\
             [schedules.invite]\nworkflow = \"test.invite\"\nevery = \"1s\"\n",
            directory.path().join("store/orchestrator.db").display(),
            world.users
        );
        std::fs::write(directory.path().join("orchestrator.toml"), text).unwrap();
        Self { directory, launcher: Vec::new(), admin, health, child: None, log_writer: None }
    }

    /// Has this command start the program from now on.
    pub(crate) fn launched_by(&mut self, launcher: impl IntoIterator<Item = String>) {
        self.launcher = launcher.into_iter().collect();
    }

    /// Where the store lies, with nothing else beside it.
    pub(crate) fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    /// `serve` with these flags besides, its log appended to the one before.
    pub(crate) fn command(&self, flags: &[&str]) -> Command {
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        let mut words = self.launcher.iter().map(String::as_str).chain([env!("CARGO_BIN_EXE_test-app")]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words);
        command.args(["serve", "--config"]).arg(self.configuration()).args(flags).stderr(log);
        command
    }

    pub(crate) fn configuration(&self) -> PathBuf {
        self.directory.path().join("orchestrator.toml")
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("orchestrator.log")
    }

    /// Everything that it has said.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap()
    }

    /// What it has logged at these levels, as JSON, a line each.
    pub(crate) fn logged(&self, levels: &[&str]) -> Vec<serde_json::Value> {
        let log = std::fs::read_to_string(self.log()).unwrap();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        lines.filter(|line| levels.iter().any(|level| line["level"] == *level)).collect()
    }

    /// Starts the process and leaves it to itself.
    pub(crate) fn spawn(&mut self, flags: &[&str]) {
        assert!(self.child.is_none(), "it runs already");
        let mut log = File::options().create(true).append(true).open(self.log()).unwrap();
        let mut child = self.command(flags).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = child.stderr.take().unwrap();
        self.log_writer = Some(std::thread::spawn(move || drop(std::io::copy(&mut said, &mut log))));
        self.child = Some(child);
    }

    /// Starts the process and waits until it says that it is ready.
    pub(crate) async fn start(&mut self, flags: &[&str]) {
        self.spawn(flags);
        self.ready().await;
    }

    pub(crate) async fn ready(&mut self) {
        self.says(ServingStatus::Serving).await;
    }

    /// Waits until it says this of its readiness.
    pub(crate) async fn says(&mut self, status: ServingStatus) {
        let deadline = Instant::now() + READY;
        while self.status("readiness").await != Some(status) {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the orchestrator ended by itself: {ended:?}");
            assert!(Instant::now() < deadline, "the orchestrator did not say {status:?} within {READY:?}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What it says of itself under this name, if it answers.
    pub(crate) async fn status(&self, name: &str) -> Option<ServingStatus> {
        let mut health = HealthClient::new(channel(self.health()));
        let asked = health.check(HealthCheckRequest { service: name.to_owned() }).await;
        asked.ok().map(|answer| answer.get_ref().status())
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    pub(crate) fn health(&self) -> SocketAddr {
        self.health
    }

    pub(crate) fn runs(&self) -> RunServiceClient<Channel> {
        RunServiceClient::new(channel(self.admin()))
    }

    /// Of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.id().cast_signed()).unwrap(), signal).unwrap();
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) {
        self.signal(Signal::KILL);
        let status = self.ended(Duration::from_secs(5)).await;
        assert_eq!(status.code(), None, "it ended by itself before it was killed");
    }

    /// Waits until the process has ended.
    pub(crate) async fn ended(&mut self, within: Duration) -> ExitStatus {
        let deadline = Instant::now() + within;
        let mut child = self.child.take().unwrap();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                if let Some(writer) = self.log_writer.take() {
                    writer.join().unwrap();
                }
                return status;
            }
            if Instant::now() > deadline {
                self.child = Some(child);
                panic!("the orchestrator did not end within {within:?}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// SIGTERM; returns how long the end took. It must be an orderly one.
    pub(crate) async fn stop(&mut self, within: Duration) -> Duration {
        let begun = Instant::now();
        self.signal(Signal::TERM);
        let status = self.ended(within).await;
        assert_eq!(status.code(), Some(0), "{status:?}");
        begun.elapsed()
    }
}

impl Drop for Orchestrator {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Gone already, perhaps.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.log()).unwrap_or_default();
            let lines: Vec<&str> = log.lines().filter(|line| !line.contains("attempt failed")).collect();
            eprintln!("the end of the orchestrator's log:");
            lines[lines.len().saturating_sub(40)..].iter().for_each(|line| eprintln!("{line}"));
        }
    }
}

pub(crate) fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}

/// Free, and none that the system gives to connections or that another test has: it must still be free after a restart.
fn free_address() -> SocketAddr {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut dice = rand::rng();
    loop {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, dice.random_range(20_000..32_000u16)));
        if TcpListener::bind(address).is_ok() && GIVEN.lock().unwrap().insert(address.port()) {
            return address;
        }
    }
}
