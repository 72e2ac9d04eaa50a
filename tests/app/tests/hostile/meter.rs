//! What is measured while a process is attacked: its memory, its answers to probes, and the runs that it brings to their end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use server::proto::orchestrator::admin::v1::run_service_client::RunServiceClient;
use server::proto::orchestrator::admin::v1::{RunState, StartRunRequest};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::process::Orchestrator;

/// How much more than before a process may take, whatever is done to it.
const MEMORY: u64 = 256 << 20;

/// How long a probe waits, as in the manifests.
const PROBE: Duration = Duration::from_secs(3);

/// Runs that are started, a second. Few enough for a busy machine with two cores, so that what is missing was lost to the
/// attack.
const RATE: u32 = 20;

/// How long is measured, at least.
const SPAN: Duration = Duration::from_secs(4);

/// How long the end may take, above what the engine needs.
const END: Duration = Duration::from_secs(4);

/// Attacks the process and holds it to its bounds: whatever `attack` returns is kept until the process has ended.
pub(crate) async fn under<T>(mut orchestrator: Orchestrator, attack: impl AsyncFnOnce(&Orchestrator) -> T) {
    let runs = orchestrator.runs().await;
    let quiet = Load::begin(runs.clone());
    tokio::time::sleep(SPAN).await;
    let (quiet, before) = (quiet.rate(), memory(&orchestrator));

    let (load, probes, memory) = (Load::begin(runs), Probes::begin(orchestrator.health), Memory::begin(&orchestrator));
    let begun = Instant::now();
    let held = attack(&orchestrator).await;
    tokio::time::sleep(SPAN.saturating_sub(begun.elapsed())).await;
    let (attacked, most, (answered, failed)) = (load.rate(), memory.most(), probes.end());
    let end = orchestrator.stop().await;
    drop(held);

    let more = most.saturating_sub(before);
    println!(
        "{:.1} runs/s before, {:.1} meanwhile; {} MiB more; {answered} probes answered, {failed} not; end in {end:?}",
        quiet,
        attacked,
        more >> 20
    );
    assert!(attacked >= 0.8 * quiet, "{attacked:.1} runs/s, before there were {quiet:.1}");
    assert!(more < MEMORY, "{} MiB more than before", more >> 20);
    assert_eq!(failed, 0, "probes without an answer, beside {answered} with one");
    assert!(answered >= 8, "only {answered} probes");
    assert!(end < END, "the end took {end:?}");
}

/// Resident memory in bytes.
fn memory(orchestrator: &Orchestrator) -> u64 {
    resident(orchestrator.id())
}

fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or_default() << 10
}

/// Looks at the memory of the process again and again.
struct Memory {
    most: Arc<std::sync::atomic::AtomicU64>,
    task: JoinHandle<()>,
}

impl Memory {
    fn begin(orchestrator: &Orchestrator) -> Self {
        let most = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let (process, kept) = (orchestrator.id(), Arc::clone(&most));
        let task = tokio::spawn(async move {
            let mut ticks = interval(Duration::from_millis(20));
            loop {
                ticks.tick().await;
                kept.fetch_max(resident(process), Ordering::Relaxed);
            }
        });
        Self { most, task }
    }

    fn most(self) -> u64 {
        self.task.abort();
        self.most.load(Ordering::Relaxed)
    }
}

/// Probes as a kubelet sends them, each on a connection of its own.
struct Probes {
    answered: Arc<AtomicU32>,
    failed: Arc<AtomicU32>,
    task: JoinHandle<()>,
}

impl Probes {
    fn begin(health: SocketAddr) -> Self {
        let (answered, failed) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let counts = (Arc::clone(&answered), Arc::clone(&failed));
        let task = tokio::spawn(async move {
            let mut ticks = interval(Duration::from_millis(200));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                for name in ["liveness", "readiness"] {
                    let serving = timeout(PROBE, probe(health, name)).await.unwrap_or(false);
                    (if serving { &counts.0 } else { &counts.1 }).fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { answered, failed, task }
    }

    fn end(self) -> (u32, u32) {
        self.task.abort();
        (self.answered.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}

/// Whether a new connection is told that all is well.
pub(crate) async fn probe(health: SocketAddr, name: &str) -> bool {
    let Ok(channel) = Endpoint::from_shared(format!("http://{health}")).unwrap().connect().await else { return false };
    let asked = HealthClient::new(channel).check(HealthCheckRequest { service: name.to_owned() }).await;
    asked.is_ok_and(|answer| answer.get_ref().status() == ServingStatus::Serving)
}

/// Starts runs at a steady rate, and counts those that come to their end.
struct Load {
    begun: Instant,
    ended: Arc<AtomicU32>,
    task: JoinHandle<()>,
}

impl Load {
    fn begin(runs: RunServiceClient<Channel>) -> Self {
        let ended = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&ended);
        let task = tokio::spawn(async move {
            let mut ticks = interval(Duration::from_secs(1) / RATE);
            loop {
                ticks.tick().await;
                let (mut runs, counted) = (runs.clone(), Arc::clone(&counted));
                tokio::spawn(async move {
                    let request = StartRunRequest {
                        workflow: String::from("test.greet"),
                        wait: Some(prost_types::Duration { seconds: 10, nanos: 0 }),
                        ..StartRunRequest::default()
                    };
                    let run = runs.start_run(request).await;
                    if run.is_ok_and(|run| run.get_ref().state() == RunState::Succeeded) {
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        Self { begun: Instant::now(), ended, task }
    }

    /// Runs a second so far.
    fn rate(self) -> f64 {
        self.task.abort();
        f64::from(self.ended.load(Ordering::Relaxed)) / self.begun.elapsed().as_secs_f64()
    }
}
