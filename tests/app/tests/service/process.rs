//! The real binary: start, signals, exit codes.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use server::command_line::Exit;

use test_app::users::Users;

use crate::support::command;

pub(crate) struct Process {
    child: Child,
    /// Its lines, read as they come, so that it never waits to log.
    log: Receiver<String>,
    /// All that was logged so far.
    pub(crate) logged: String,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) admin: String,
}

impl Process {
    /// Starts `serve` on free ports and waits until it serves.
    fn start(settings: &[String]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), settings, &[])
    }

    /// The same in this folder.
    pub(crate) fn start_in(directory: tempfile::TempDir, settings: &[String], flags: &[&str]) -> Self {
        let settings = settings.iter().flat_map(|setting| ["--set", setting]);
        let mut child = serve(&directory).args(settings).args(flags).stderr(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        let (lines, log) = mpsc::channel();
        std::thread::spawn(move || said.lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
        let mut process = Self { child, log, logged: String::new(), directory, admin: String::new() };
        let serves = process.await_message("orchestrator serves");
        process.admin = format!("http://{}", serves["admin"].as_str().unwrap());
        process
    }

    pub(crate) fn await_message(&mut self, message: &str) -> Value {
        loop {
            let line = self.log.recv().unwrap_or_else(|_| panic!("the log ended before {message:?}"));
            self.logged.push_str(&line);
            self.logged.push('\n');
            let entry: Value = serde_json::from_str(&line).unwrap();
            if entry["message"] == message {
                return entry;
            }
        }
    }

    /// Ends it in an orderly way. Answers with all that it has logged.
    pub(crate) fn stopped(&mut self) -> String {
        self.signal(Signal::TERM);
        self.await_message("shutdown complete");
        self.log.iter().for_each(|line| self.logged.push_str(&line));
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        std::mem::take(&mut self.logged)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(directory: &tempfile::TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_test-app"));
    command
        .args(["serve", "--health-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--set", "log.format=json"])
        .arg("--store")
        .arg(directory.path().join("store.db"));
    command
}

#[test]
fn sigterm_and_sigint_drain_and_exit_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut process = Process::start(&[]);
        process.signal(signal);
        process.await_message("shutdown complete");
        assert_eq!(process.child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn a_second_process_on_the_same_store_fails_and_says_why() {
    let process = Process::start(&[]);
    let second = serve(&process.directory).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let log = String::from_utf8(second.stderr).unwrap();
    assert!(log.contains("store.db"), "{log}");
}

#[test]
fn a_port_that_is_taken_fails_before_the_store_is_touched() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = serve(&directory).args(["--set", &format!("admin.listen={address}")]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!directory.path().join("store.db").exists());
}

#[test]
fn a_configuration_with_mistakes_exits_with_2() {
    let directory = tempfile::tempdir().unwrap();
    let output = serve(&directory).args(["--set", "drain.grace=soon"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("drain.grace"));
}

/// A process with a run that waits for a service, which takes a minute for everything.
async fn with_a_call_in_flight(grace: &str) -> Process {
    let slow = Users { delay: Duration::from_secs(60), ..Users::default() };
    let users = slow.serve().await.unwrap();
    let settings = [format!("services.users.address=http://{users}"), format!("drain.grace={grace}")];
    let process = Process::start(&settings);
    let arguments = ["orchestrator", "runs", "start", "test.greet", "--server", &process.admin].map(String::from);
    let (exit, _, talk) = tokio::task::spawn_blocking(move || command(&arguments)).await.unwrap();
    assert_eq!(exit, Exit::Ok, "{talk}");
    // The call itself leaves no trace before it ends; it takes far less than this to leave.
    tokio::time::sleep(Duration::from_millis(500)).await;
    process
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_outlasts_the_grace_is_given_up_and_the_exit_is_0() {
    let mut process = with_a_call_in_flight("100ms").await;
    let before = Instant::now();
    process.signal(Signal::TERM);
    let drained = process.await_message("engine drained");
    assert_eq!(drained["given_up"].as_u64(), Some(1), "{drained}");
    assert_eq!(process.child.wait().unwrap().code(), Some(0));
    assert!(before.elapsed() < Duration::from_secs(10), "{:?}", before.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_the_process_at_once() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let mut process = with_a_call_in_flight("30s").await;
        process.signal(Signal::TERM);
        process.await_message("shutdown begins");
        process.signal(signal);
        assert_eq!(process.child.wait().unwrap().code(), Some(code));
    }
}
