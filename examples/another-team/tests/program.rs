//! The program as it runs: scheduled runs, a setting and a background service of its own, and the command line.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use parcels::contracts::acme::parcels::v1::parcel_service_server::{ParcelService, ParcelServiceServer};
use parcels::contracts::acme::parcels::v1::{DispatchRequest, DispatchResponse, ListReadyRequest, ListReadyResponse};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

const PROGRAM: &str = env!("CARGO_BIN_EXE_parcels");

#[derive(Clone, Default)]
struct Depot {
    dispatched: Arc<Mutex<Vec<DispatchRequest>>>,
}

#[tonic::async_trait]
impl ParcelService for Depot {
    async fn list_ready(&self, _: Request<ListReadyRequest>) -> Result<Response<ListReadyResponse>, Status> {
        Ok(Response::new(ListReadyResponse { parcel_ids: vec!["p1".into(), "p2".into()] }))
    }

    async fn dispatch(&self, request: Request<DispatchRequest>) -> Result<Response<DispatchResponse>, Status> {
        self.dispatched.lock().unwrap().push(request.into_inner());
        Ok(Response::new(DispatchResponse {}))
    }
}

/// Ends with the test.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn orchestrator(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Reads the log up to the line that says where the admin API listens.
fn admin_address(log: &mut Lines<BufReader<ChildStderr>>) -> String {
    let serves = log.map(Result::unwrap).find(|line| line.contains("orchestrator serves")).expect("it does not serve");
    let (_, address) = serves.split_once("\"admin\":\"").expect("the line has no admin address");
    address.split('"').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orchestrator_of_a_team_of_its_own_runs_its_schedule_and_has_its_command_line() {
    let depot = Depot::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let parcels = format!("services.parcels.address=http://{}", listener.local_addr().unwrap());
    let service = ParcelServiceServer::new(depot.clone());
    let serving = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));

    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("orchestrator.db").display().to_string();
    let child = Command::new(PROGRAM)
        .args(["serve", "--config", "orchestrator.toml", "--store", &store, "--admin-listen", "127.0.0.1:0"])
        .args(["--health-listen", "127.0.0.1:0", "--set", "schedules.dispatch_ready.every=1s", "--set", &parcels])
        .env("ORCHESTRATOR__OWN__REPORT_SECONDS", "1")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut served = Served(child);
    let mut log = BufReader::new(served.0.stderr.take().unwrap()).lines();
    let admin = admin_address(&mut log);

    let begun = Instant::now();
    while depot.dispatched.lock().unwrap().len() < 2 {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing was dispatched");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The setting of its own, from the file.
    assert!(depot.dispatched.lock().unwrap().iter().all(|parcel| parcel.carrier == "train"));

    let server = format!("http://{admin}");
    let workflows = orchestrator(&["workflows", "list", "--server", &server]);
    assert!(text(&workflows.stdout).contains("parcels.dispatch-ready"), "{workflows:?}");
    let run =
        orchestrator(&["runs", "start", "parcels.dispatch-ready", "--wait", "--output", "json", "--server", &server]);
    assert!(run.status.success(), "{run:?}");
    assert!(text(&run.stdout).contains("\"dispatched\": 2"), "{run:?}");
    let refused =
        orchestrator(&["runs", "start", "parcels.dispatch-ready", "--input", "{\"limit\": 1001}", "--server", &server]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(text(&refused.stderr).contains("limit: expected at least 0 and at most 1000"), "{refused:?}");
    let services = orchestrator(&["services", "list", "--server", &server]);
    assert!(text(&services.stdout).contains("parcels"), "{services:?}");

    served.0.kill().unwrap();
    served.0.wait().unwrap();
    let log: Vec<String> = log.map(Result::unwrap).collect();
    let told = log.iter().any(|line| line.contains("parcels are dispatched"));
    assert!(told, "the background service said nothing: {log:?}");

    let upgrade = orchestrator(&["upgrade", "check", "--store", &store]);
    assert!(upgrade.status.success(), "{upgrade:?}");
}

#[test]
fn the_configuration_is_checked_with_the_services_and_the_settings_of_the_team() {
    let in_cluster = orchestrator(&["config", "check", "--config", "k8s/orchestrator.toml"]);
    assert!(in_cluster.status.success(), "{}", String::from_utf8_lossy(&in_cluster.stderr));
    let checked = orchestrator(&["config", "check", "--config", "orchestrator.toml"]);
    assert!(checked.status.success(), "{checked:?}");
    for (mistake, told) in [
        ("own.carrier_pigeon=1", "carrier_pigeon"),
        ("own.report_seconds=soon", "own.report_seconds"),
        ("services.users.address=http://users:1", "expected one of `parcels`"),
    ] {
        let refused = orchestrator(&["config", "check", "--set", mistake]);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(text(&refused.stderr).contains(told), "{refused:?}");
    }
    let version = orchestrator(&["--version"]);
    assert_eq!(text(&version.stdout).trim(), format!("orchestrator {}", env!("CARGO_PKG_VERSION")));
}
