//! The process that is attacked, over services that do what they are asked.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use server::proto::orchestrator::admin::v1::StartRunRequest;
use server::proto::orchestrator::admin::v1::run_service_client::RunServiceClient;
use server::proto::orchestrator::admin::v1::start_run_request::InputForm;
use test_app::users::Users;
use tokio::sync::{Mutex, MutexGuard};
use tonic::transport::{Channel, Endpoint};

/// Figures of one process are only worth something while no other is attacked.
static ALONE: LazyLock<Mutex<()>> = LazyLock::new(Mutex::default);

pub(crate) struct Orchestrator {
    child: Child,
    pub(crate) admin: SocketAddr,
    pub(crate) health: SocketAddr,
    directory: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Orchestrator {
    pub(crate) async fn start() -> Self {
        let alone = ALONE.lock().await;
        let users = Users { knows_all: true, ..Users::default() }.serve().await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_test-app"));
        command
            .args(["serve", "--health-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--store"])
            .arg(directory.path().join("store.db"))
            .args(["--set", "log.format=json"]);
        command.args(["--set", &format!("services.users.address=http://{users}")]);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let serves = loop {
            let line: Value = serde_json::from_str(&log.next().unwrap().unwrap()).unwrap();
            if line["message"] == "orchestrator serves" {
                break line;
            }
        };
        // Whoever reads no log would stop the process one day.
        std::thread::spawn(move || log.for_each(drop));
        let address = |key: &str| serves[key].as_str().unwrap().parse().unwrap();
        let (admin, health) = (address("admin"), address("health"));
        Self { child, admin, health, directory, _alone: alone }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.admin)).unwrap().connect().await.unwrap()
    }

    pub(crate) async fn runs(&self) -> RunServiceClient<Channel> {
        RunServiceClient::new(self.channel().await)
    }

    /// A run with an input of about so many bytes, which has ended.
    pub(crate) async fn large_run(&self, bytes: usize) -> String {
        let request = StartRunRequest {
            workflow: String::from("test.greet"),
            input_form: Some(InputForm::InputJson(format!("{{\"text\": \"{}\"}}", "x".repeat(bytes)))),
            wait: Some(prost_types::Duration { seconds: 20, nanos: 0 }),
            ..StartRunRequest::default()
        };
        self.runs().await.start_run(request).await.unwrap().into_inner().run_id
    }

    /// The files of the store, as they are.
    pub(crate) fn stored(&self) -> Vec<Vec<u8>> {
        let files = std::fs::read_dir(self.directory.path()).unwrap();
        files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
    }

    /// SIGTERM; returns how long the orderly end took.
    pub(crate) async fn stop(&mut self) -> Duration {
        let begun = Instant::now();
        kill_process(Pid::from_raw(self.child.id().cast_signed()).unwrap(), Signal::TERM).unwrap();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert_eq!(status.code(), Some(0), "{status:?}");
                return begun.elapsed();
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "the process does not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Orchestrator {
    fn drop(&mut self) {
        // Gone already, perhaps.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
