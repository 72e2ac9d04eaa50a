//! The pod starts, is probed and ends as the manifests say.

use std::time::{Duration, Instant};

use crate::files::{number, pod, stateful_set};
use crate::pod::Pod;
use crate::probes::Probe;

/// What Kubernetes gives a pod to end.
pub(crate) fn grace() -> Duration {
    Duration::from_secs(number(&pod(&stateful_set())["terminationGracePeriodSeconds"]))
}

#[tokio::test]
async fn the_pod_starts_answers_its_probes_and_ends_at_sigterm() {
    let volume = tempfile::tempdir().unwrap();
    let pod = Pod::start(&volume.path().join("orchestrator.db"));
    for name in ["startupProbe", "livenessProbe", "readinessProbe"] {
        Probe::of_manifest(name).first_success(&pod.health()).await;
    }
    let asked_to_end = Instant::now();
    // Off this thread, which must continue: connections that no one looks after are waited for.
    let (ended, log) = tokio::task::spawn_blocking(move || pod.end()).await.unwrap();
    assert_eq!(ended.code(), Some(0), "{log:?}");
    assert!(asked_to_end.elapsed() < grace(), "Kubernetes would have killed it");
}
