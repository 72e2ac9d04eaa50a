//! The binary as the pod starts it: same arguments, environment and configuration.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::files::{CONFIGURATION, container, environment, items, root, stateful_set, string};

pub(crate) struct Pod {
    child: Child,
    /// What it logged when it began to serve: its addresses.
    serves: Value,
    /// Whoever does not read on makes the orchestrator wait with its next line.
    log: Option<JoinHandle<Vec<String>>>,
    store: PathBuf,
    variables: Vec<(String, String)>,
}

impl Pod {
    /// Starts it on this store and waits until it serves.
    pub(crate) fn start(store: &Path) -> Self {
        Self::start_with(store, &[])
    }

    /// The same with some variables besides.
    pub(crate) fn start_with(store: &Path, variables: &[(String, String)]) -> Self {
        let base = stateful_set();
        let mut command = command(store, variables);
        // No port of this machine is taken.
        command.env("ORCHESTRATOR__HEALTH__LISTEN", "127.0.0.1:0").env("ORCHESTRATOR__ADMIN__LISTEN", "127.0.0.1:0");
        command.args(items(&container(&base)["args"]).iter().map(string));
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let serves = log
            .by_ref()
            .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap())
            .find(|entry| entry["message"] == "orchestrator serves")
            .expect("the orchestrator ended before it served");
        let log = std::thread::spawn(move || log.map_while(Result::ok).collect());
        Self { child, serves, log: Some(log), store: store.to_owned(), variables: variables.to_vec() }
    }

    pub(crate) fn health(&self) -> String {
        format!("http://{}", self.serves["health"].as_str().unwrap())
    }

    pub(crate) fn admin(&self) -> String {
        format!("http://{}", self.serves["admin"].as_str().unwrap())
    }

    /// What `kubectl exec POD -- orchestrator ARGUMENTS` does.
    pub(crate) fn exec(&self, arguments: &[&str]) -> Output {
        let mut command = command(&self.store, &self.variables);
        let output = command.env("ORCHESTRATOR_SERVER", self.admin()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// Asks it to end and waits; returns what it logged too.
    pub(crate) fn end(mut self) -> (ExitStatus, Vec<String>) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        (self.child.wait().unwrap(), self.log.take().unwrap().join().unwrap())
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary in the environment of the pod; what the pod mounts lies elsewhere here.
fn command(store: &Path, more: &[(String, String)]) -> Command {
    let mut variables: BTreeMap<String, String> = environment();
    variables.insert(String::from("ORCHESTRATOR_CONFIG"), root().join(CONFIGURATION).display().to_string());
    variables.insert(String::from("ORCHESTRATOR__STORE__PATH"), store.display().to_string());
    variables.extend(more.iter().cloned());
    let mut command = Command::new(env!("CARGO_BIN_EXE_orchestrator"));
    command.env_clear().envs(variables);
    command
}
