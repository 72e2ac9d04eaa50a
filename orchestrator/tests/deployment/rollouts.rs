//! Several rollouts in a row under load, as a cluster makes them: the volume is kept, the probes never fail, and what was
//! started comes to its end once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use demo::{Faults, Settings, World};
use server::proto::orchestrator::admin::v1::run_service_client::RunServiceClient;
use server::proto::orchestrator::admin::v1::{GetRunRequest, RunState, StartRunRequest};
use tonic::transport::{Channel, Endpoint};

use crate::pod::Pod;
use crate::probes::Probe;
use crate::process::grace;

const ROLLOUTS: usize = 3;
/// How long each pod lives.
const LIFE: Duration = Duration::from_secs(2);
/// Probes this many times as often as the manifests say, so that a short life sees some of each.
const FASTER: u32 = 20;
const SETTLED: Duration = Duration::from_secs(40);

/// Users who are due every two seconds, and services that take their time.
async fn world() -> World {
    let slow = Faults { delay: Duration::from_millis(10), jitter: Duration::from_millis(40), ..Faults::default() };
    let settings = Settings {
        users: 40,
        entries: 30,
        time_scale: 150.0,
        faults: BTreeMap::from([(String::new(), slow)]),
        ..Settings::default()
    };
    World::start(settings).await.unwrap()
}

fn variables(world: &World) -> Vec<(String, String)> {
    let address = |(service, address): (&str, _)| {
        (format!("ORCHESTRATOR__SERVICES__{}__ADDRESS", service.to_uppercase()), format!("http://{address}"))
    };
    let every = |name: &str| (format!("ORCHESTRATOR__SCHEDULES__{name}__EVERY"), String::from("1s"));
    let services = world.services().filter(|(service, _)| *service != "control").map(address);
    services.chain([every("SEND_DUE"), every("ANALYZE_EMOTIONS")]).collect()
}

async fn start(store: PathBuf, variables: Vec<(String, String)>) -> Pod {
    tokio::task::spawn_blocking(move || Pod::start_with(&store, &variables)).await.unwrap()
}

async fn end(pod: Pod) {
    let begun = Instant::now();
    let (status, log) = tokio::task::spawn_blocking(move || pod.end()).await.unwrap();
    assert_eq!(status.code(), Some(0), "{log:#?}");
    assert!(begun.elapsed() < grace(), "Kubernetes would have killed it");
}

async fn runs(pod: &Pod) -> RunServiceClient<Channel> {
    RunServiceClient::new(Endpoint::from_shared(pod.admin()).unwrap().connect().await.unwrap())
}

/// Starts a run every few milliseconds for as long as the pod lives; returns those that were acknowledged.
async fn load(mut runs: RunServiceClient<Channel>) -> Vec<String> {
    let mut started = Vec::new();
    let until = Instant::now() + LIFE;
    while Instant::now() < until {
        let workflow = String::from("notifications.send-due");
        let request_id = uuid::Uuid::new_v4().to_string();
        let request = StartRunRequest { workflow, request_id, ..StartRunRequest::default() };
        started.push(runs.start_run(request).await.unwrap().into_inner().run_id);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    started
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rollouts_under_load_lose_nothing_double_nothing_and_probes_never_fail() {
    let world = world().await;
    let volume = tempfile::tempdir().unwrap();
    let store = volume.path().join("orchestrator.db");
    let mut variables = variables(&world);
    let mut started = Vec::new();
    for _ in 0..ROLLOUTS {
        let pod = start(store.clone(), variables.clone()).await;
        Probe::of_manifest("startupProbe").faster(FASTER).first_success(&pod.health()).await;
        Probe::of_manifest("readinessProbe").faster(FASTER).first_success(&pod.health()).await;
        let look = |name| Probe::of_manifest(name).faster(FASTER).keep_looking(pod.health());
        let probes = async { tokio::join!(look("livenessProbe"), look("readinessProbe")) };
        let acknowledged = tokio::select! {
            acknowledged = load(runs(&pod).await) => acknowledged,
            _ = probes => unreachable!("probes continue until they fail"),
        };
        started.extend(acknowledged);
        end(pod).await;
    }

    let name = |name: &str| (format!("ORCHESTRATOR__SCHEDULES__{name}__ENABLED"), String::from("false"));
    variables.extend([name("SEND_DUE"), name("ANALYZE_EMOTIONS")]);
    let pod = start(store, variables).await;
    let mut client = runs(&pod).await;
    let until = Instant::now() + SETTLED;
    for run_id in &started {
        let request = GetRunRequest { run_id: run_id.clone(), ..GetRunRequest::default() };
        loop {
            let run = client.get_run(request.clone()).await.unwrap().into_inner();
            if run.end_time.is_some() {
                assert_eq!(run.state(), RunState::Succeeded, "{run_id}: {}", run.reason);
                break;
            }
            assert!(Instant::now() < until, "{run_id} does not end: {}", run.reason);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(world.ledger().doubled(), BTreeMap::new());
    let effects = world.ledger().effects();
    assert!(effects.keys().any(|effect| effect.starts_with("push:")), "nothing was done");
    println!("{ROLLOUTS} rollouts, {} runs acknowledged, {} effects, none doubled", started.len(), effects.len());
    drop(client);
    end(pod).await;
}
