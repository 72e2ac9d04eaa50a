//! The program as a process that is killed and frozen at moments that no one chose, while a service counts what it does.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use server::proto::orchestrator::admin::v1::run_service_client::RunServiceClient;
use server::proto::orchestrator::admin::v1::start_run_request::InputForm;
use server::proto::orchestrator::admin::v1::{GetRunRequest, ListRunsRequest, Run, RunState, StartRunRequest};
use test_app::users::{Created, Users};
use tonic::transport::{Channel, Endpoint};

const LIVES: usize = 7;
/// Users that each run creates.
const USERS: i32 = 4;
/// How long one answer may take; a frozen process gives none.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long runs may take to end once nothing is in their way.
const SETTLED: Duration = Duration::from_secs(40);

/// The process, until it is killed.
struct Process {
    child: Child,
    runs: RunServiceClient<Channel>,
}

impl Process {
    fn start(folder: &std::path::Path, users: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_test-app"))
            .args(["serve", "--health-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--store"])
            .arg(folder.join("store.db"))
            .args(["--set", "log.format=json", "--set", users])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let admin = loop {
            let line: Value = serde_json::from_str(&log.next().unwrap().unwrap()).unwrap();
            if line["message"] == "orchestrator serves" {
                break line["admin"].as_str().unwrap().to_owned();
            }
        };
        // A log that no one reads would stop the process one day.
        std::thread::spawn(move || log.for_each(drop));
        let channel = Endpoint::from_shared(format!("http://{admin}")).unwrap().connect_lazy();
        Self { child, runs: RunServiceClient::new(channel) }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id().cast_signed()).unwrap(), signal).unwrap();
    }
}

impl Drop for Process {
    /// SIGKILL.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn new_start(dice: &mut StdRng) -> StartRunRequest {
    StartRunRequest {
        workflow: String::from("test.invite"),
        request_id: uuid::Builder::from_random_bytes(dice.random()).into_uuid().to_string(),
        input_form: Some(InputForm::InputJson(format!("{{\"limit\": {USERS}}}"))),
        ..StartRunRequest::default()
    }
}

/// Starts runs for so long. A start that is not acknowledged stays the next one, because it may have been made.
async fn load(process: &Process, next: &mut StartRunRequest, dice: &mut StdRng, span: Duration) -> Vec<Started> {
    let (begun, mut started) = (Instant::now(), Vec::new());
    while begun.elapsed() < span {
        let asked = tokio::time::timeout(PATIENCE, process.runs.clone().start_run(next.clone())).await;
        if let Ok(Ok(run)) = asked {
            let request = std::mem::replace(next, new_start(dice));
            started.push(Started { request, run_id: run.into_inner().run_id });
        }
        tokio::time::sleep(Duration::from_millis(dice.random_range(5..60))).await;
    }
    started
}

/// A start that was acknowledged.
struct Started {
    request: StartRunRequest,
    run_id: String,
}

async fn all_ended(process: &Process) -> Vec<Run> {
    let deadline = Instant::now() + SETTLED;
    loop {
        let request = ListRunsRequest { page_size: 1_000, ..ListRunsRequest::default() };
        let runs = process.runs.clone().list_runs(request).await.unwrap().into_inner().runs;
        let open: Vec<&Run> = runs.iter().filter(|run| run.end_time.is_none()).collect();
        if open.is_empty() {
            return runs;
        }
        assert!(Instant::now() < deadline, "runs that did not end within {SETTLED:?}: {open:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_frozen_at_random_moments_it_loses_nothing_and_doubles_nothing() {
    let seed = std::env::var("ORCHESTRATOR_TEST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("seed {seed}; set ORCHESTRATOR_TEST_SEED={seed} to try it again");
    let mut dice = StdRng::seed_from_u64(seed);
    let users = Users { knows_all: true, delay: Duration::from_millis(5), is_unreliable: true, ..Users::default() };
    let ledger = users.ledger.clone();
    let address = format!("services.users.address=http://{}", users.serve().await.unwrap());
    let folder = tempfile::tempdir().unwrap();

    let (mut next, mut started) = (new_start(&mut dice), Vec::new());
    for life in 0..LIVES {
        let process = Process::start(folder.path(), &address);
        if life == LIVES / 2 {
            process.signal(Signal::STOP);
            tokio::time::sleep(Duration::from_secs(1)).await;
            process.signal(Signal::CONT);
        }
        let span = Duration::from_millis(dice.random_range(100..1_200));
        started.extend(load(&process, &mut next, &mut dice, span).await);
    }
    let process = Process::start(folder.path(), &address);
    let runs = all_ended(&process).await;

    assert!(started.len() >= LIVES, "only {} starts were acknowledged", started.len());
    // The last start may have been made without its acknowledgement.
    assert!((started.len()..=started.len() + 1).contains(&runs.len()), "{} of {}", runs.len(), started.len());
    assert!(runs.iter().all(|run| run.state() == RunState::Succeeded), "{runs:#?}");
    for Started { request, run_id } in started {
        let again = process.runs.clone().start_run(request).await.unwrap().into_inner();
        assert_eq!(again.run_id, run_id, "its request id is still known");
    }
    let created = ledger.users();
    for run in &runs {
        for number in 0..USERS {
            let user = &created[&format!("{}-{number}@example.org", run.run_id)];
            assert!(user.acts == 1 && user.keys.len() == 1, "{user:?} of {run:#?}");
        }
    }
    assert_eq!(created.len(), runs.len() * usize::try_from(USERS).unwrap());
    every_key_is_that_of_a_journaled_step(&process, &runs, created.values()).await;
    let calls: u64 = created.values().map(|user| user.calls).sum();
    println!("{} runs, {} effects, asked for {calls} times, doubled 0", runs.len(), created.len());
    assert!(calls > u64::try_from(created.len()).unwrap(), "nothing was ever asked for again");
}

/// Nothing was sent that had not been written down, and no crash made a new key of an old one.
async fn every_key_is_that_of_a_journaled_step(
    process: &Process,
    runs: &[Run],
    created: impl Iterator<Item = &Created>,
) {
    let arrived: BTreeSet<String> = created.flat_map(|user| user.keys.iter().cloned()).collect();
    let mut journaled = BTreeSet::new();
    for run in runs {
        let request = GetRunRequest { run_id: run.run_id.clone(), ..GetRunRequest::default() };
        let steps = process.runs.clone().get_run(request).await.unwrap().into_inner().steps;
        journaled.extend(steps.into_iter().map(|step| step.idempotency_key).filter(|key| !key.is_empty()));
    }
    assert_eq!(arrived, journaled);
}
