//! The replicas on PostgreSQL are the pod of the base, several times, and no rollout or lost node takes all of them.

use std::ffi::OsString;

use server::configuration::{Sources, StoreKind, load};
use yaml_rust2::Yaml;

use crate::files::{CONFIGURATION, container, items, labels, manifest, number, pod, root, stateful_set, string};

const FOLDER: &str = "k8s/postgres";

fn deployment() -> Yaml {
    manifest(&format!("{FOLDER}/deployment.yaml"))
}

fn variables(deployment: &Yaml) -> Vec<(&str, &str)> {
    items(&container(deployment)["env"]).iter().map(|one| (string(&one["name"]), string(&one["value"]))).collect()
}

#[test]
fn the_pod_is_that_of_the_base_but_for_its_store() {
    let (base, ours) = (stateful_set(), deployment());
    assert_eq!(base["metadata"]["name"], ours["metadata"]["name"]);
    assert_eq!(base["spec"]["selector"], ours["spec"]["selector"]);
    for of_pod in ["serviceAccountName", "automountServiceAccountToken", "enableServiceLinks"] {
        assert_eq!(pod(&base)[of_pod], pod(&ours)[of_pod], "{of_pod}");
    }
    assert_eq!(pod(&base)["terminationGracePeriodSeconds"], pod(&ours)["terminationGracePeriodSeconds"]);
    for of_security in ["runAsNonRoot", "runAsUser", "runAsGroup", "seccompProfile"] {
        assert_eq!(pod(&base)["securityContext"][of_security], pod(&ours)["securityContext"][of_security]);
    }
    for of_container in [
        "name",
        "image",
        "args",
        "ports",
        "startupProbe",
        "livenessProbe",
        "readinessProbe",
        "resources",
        "securityContext",
    ] {
        assert_eq!(container(&base)[of_container], container(&ours)[of_container], "{of_container}");
    }
    let has = |of: &Yaml, list: &str, in_pod: bool| -> Vec<Yaml> {
        let of = if in_pod { &pod(of)[list] } else { &container(of)[list] };
        items(of).to_vec()
    };
    for (list, in_pod) in [("env", false), ("volumeMounts", false), ("volumes", true)] {
        let ours = has(&ours, list, in_pod);
        assert!(has(&base, list, in_pod).iter().all(|one| ours.contains(one)), "{list}");
    }
}

#[test]
fn what_the_deployment_says_of_the_store_is_a_configuration_and_nothing_in_it_is_secret() {
    let ours = deployment();
    let environment = variables(&ours).into_iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let sources =
        Sources { file: Some(root().join(CONFIGURATION)), environment: environment.collect(), ..Sources::default() };
    orchestrator::APP.install().unwrap();
    match load(&sources) {
        Ok(loaded) => assert_eq!(loaded.configuration.store.kind, StoreKind::Postgres),
        // Its files are in the cluster.
        Err(mistakes) => {
            let lines = mistakes.to_string();
            assert!(lines.lines().skip(1).all(|line| line.contains("_file")), "{lines}");
        }
    }
    let mounts = items(&container(&ours)["volumeMounts"]);
    for (name, value) in variables(&ours) {
        if name.ends_with("_FILE") || name.ends_with("__PATH") {
            assert!(mounts.iter().any(|mount| value.starts_with(string(&mount["mountPath"]))), "{name}={value}");
        }
    }
    let of_secret = items(&pod(&ours)["volumes"]).iter().find(|volume| !volume["secret"].is_badvalue()).unwrap();
    // Octal to Kubernetes; this reader takes it for a decimal number.
    assert_eq!(number(&of_secret["secret"]["defaultMode"]), 440);
}

#[test]
fn a_rollout_a_drain_and_a_lost_node_leave_replicas() {
    let ours = deployment();
    let rollout = &ours["spec"]["strategy"]["rollingUpdate"];
    assert_eq!((number(&rollout["maxSurge"]), number(&rollout["maxUnavailable"])), (1, 0));
    assert!(number(&ours["spec"]["replicas"]) >= 3);
    let startup = &container(&ours)["startupProbe"];
    let patience = number(&startup["periodSeconds"]) * number(&startup["failureThreshold"]);
    assert!(number(&ours["spec"]["progressDeadlineSeconds"]) > patience);
    let selected = labels(&ours["spec"]["selector"]["matchLabels"]);
    let budget = manifest(&format!("{FOLDER}/pod-disruption-budget.yaml"));
    assert_eq!(
        (number(&budget["spec"]["maxUnavailable"]), labels(&budget["spec"]["selector"]["matchLabels"])),
        (1, selected)
    );
    let spread = items(&pod(&ours)["topologySpreadConstraints"]);
    let over: Vec<&str> = spread.iter().map(|constraint| string(&constraint["topologyKey"])).collect();
    assert_eq!(over, ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]);
    for constraint in spread {
        assert_eq!(
            labels(&constraint["labelSelector"]["matchLabels"]),
            labels(&ours["spec"]["selector"]["matchLabels"])
        );
    }
}

#[test]
fn the_network_policy_lets_the_pods_out_to_the_port_of_the_database() {
    let (ours, policy) = (deployment(), manifest(&format!("{FOLDER}/network-policy.yaml")));
    let selected = labels(&policy["spec"]["podSelector"]["matchLabels"]);
    assert_eq!(selected, labels(&ours["spec"]["selector"]["matchLabels"]));
    let port = number(&items(&items(&policy["spec"]["egress"])[0]["ports"])[0]["port"]);
    let url = variables(&ours).into_iter().find(|(name, _)| name.ends_with("__URL")).unwrap().1;
    assert!(url.contains(&format!(":{port}/")), "{url}");
}

#[test]
fn the_stateful_set_of_the_base_is_taken_out_and_what_is_stamped_on_both_is_the_same() {
    let (base, ours) = (manifest("k8s/base/kustomization.yaml"), manifest(&format!("{FOLDER}/kustomization.yaml")));
    let patch = string(&items(&ours["patches"])[0]["patch"]);
    assert!(patch.contains("$patch: delete") && patch.contains("kind: StatefulSet"), "{patch}");
    assert_eq!((&base["labels"], &base["images"]), (&ours["labels"], &ours["images"]));
}
