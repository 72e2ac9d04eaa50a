//! A gRPC client that has no code of ours starts runs and reads health: grpcio, by reflection.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

#[expect(dead_code, reason = "the tests of processes use all of it")]
#[path = "../processes/process.rs"]
mod process;
#[expect(dead_code, reason = "the tests of processes use all of it")]
#[path = "../processes/world.rs"]
mod world;

use std::path::PathBuf;
use std::time::Duration;

use tokio::process::Command;

use crate::process::Orchestrator;
use crate::world::World;

/// Names a Python that has what `tests/requirements.txt` lists; `./test` makes one and sets it.
const PYTHON: &str = "ORCHESTRATOR_TEST_PYTHON";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standard_client_starts_a_run_reads_it_back_and_watches_health() {
    let Some(python) = python().await else {
        eprintln!("SKIPPED: no Python with grpcio was found; run `./test`, or set {PYTHON} to one that has it");
        return;
    };
    let world = World::good().await;
    let mut orchestrator = Orchestrator::over(&world);
    orchestrator.start(&[]).await;

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/standard_client/client.py");
    let mut client = Command::new(python);
    client.arg(script).args([orchestrator.admin().to_string(), orchestrator.health().to_string()]);
    client.arg(orchestrator.id().to_string()).kill_on_drop(true);
    let said = client.output().await.unwrap();
    assert!(
        said.status.success(),
        "{}{}",
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr)
    );

    let status = orchestrator.ended(Duration::from_secs(30)).await;
    assert_eq!(status.code(), Some(0), "{status:?}");
}

/// The one that was named, which must do; else one that happens to do.
async fn python() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(PYTHON) {
        return Some(named.into());
    }
    let mut probe = Command::new("python3");
    let probe = probe.args(["-c", "import grpc, grpc_reflection, grpc_health"]).output().await.ok()?;
    probe.status.success().then(|| "python3".into())
}
