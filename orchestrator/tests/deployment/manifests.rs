//! The manifests fit the code: ports, grace periods, rights, and that two owners of a store never live.

use std::time::Duration;

use server::serve::JOIN_TIMEOUT;
use yaml_rust2::Yaml;

use crate::files::{
    configuration, container, environment, final_stage, items, labels, manifest, number, pod, sqlite, stateful_set,
    string,
};

/// What the store may take to write what is left after everything else has ended.
const STORE_CLOSES: Duration = Duration::from_secs(5);

#[test]
fn the_configuration_has_no_mistakes_and_an_address_for_every_service() {
    let loaded = configuration();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn the_configuration_lies_where_the_process_looks_for_it() {
    let base = stateful_set();
    let generated = &manifest("k8s/base/kustomization.yaml")["configMapGenerator"][0];
    assert_eq!(generated["name"], pod(&base)["volumes"][0]["configMap"]["name"]);
    let mount = string(&container(&base)["volumeMounts"][0]["mountPath"]);
    assert_eq!(environment()["ORCHESTRATOR_CONFIG"], format!("{mount}/{}", string(&generated["files"][0])));
}

#[test]
fn every_port_is_the_one_that_health_listens_on() {
    let listen = configuration().configuration.health.listen;
    assert!(listen.ip().is_unspecified(), "the kubelet probes from outside of the pod");
    let port = u64::from(listen.port());
    let base = stateful_set();
    let container = container(&base);

    let ports = items(&container["ports"]);
    assert_eq!(ports.len(), 1);
    assert_eq!(number(&ports[0]["containerPort"]), port);
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        assert_eq!(number(&container[probe]["grpc"]["port"]), port, "{probe}");
    }
    let service = manifest("k8s/base/service.yaml");
    let offered = items(&service["spec"]["ports"]);
    assert_eq!(offered.len(), 1);
    assert_eq!(number(&offered[0]["port"]), port);
    assert_eq!(offered[0]["targetPort"], ports[0]["name"]);
    assert!(final_stage().contains(&(String::from("EXPOSE"), port.to_string())));
}

#[test]
fn the_admin_api_stays_on_the_loopback_of_the_pod() {
    let admin = configuration().configuration.admin;
    assert!(admin.listen.ip().is_loopback());
    assert!(!admin.allow_insecure);
}

#[test]
fn the_pod_has_more_time_to_end_than_the_orchestrator_takes() {
    let given = Duration::from_secs(number(&pod(&stateful_set())["terminationGracePeriodSeconds"]));
    let taken = configuration().configuration.drain.grace + JOIN_TIMEOUT + STORE_CLOSES;
    assert!(given >= taken, "{given:?} are given and {taken:?} may be taken");
}

#[test]
fn a_pod_that_starts_slowly_is_not_killed_for_it() {
    let base = stateful_set();
    let startup = &container(&base)["startupProbe"];
    let patience = number(&startup["periodSeconds"]) * number(&startup["failureThreshold"]);
    assert!(patience >= 600, "{patience} s");
}

#[test]
fn the_pod_keeps_to_the_restricted_pod_security_standard() {
    let base = stateful_set();
    let pod = pod(&base);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], Yaml::Boolean(true));
    assert_ne!(number(&pod["securityContext"]["runAsUser"]), 0);
    assert_eq!(string(&pod["securityContext"]["seccompProfile"]["type"]), "RuntimeDefault");
    for shared in ["hostNetwork", "hostPID", "hostIPC", "initContainers"] {
        assert!(pod[shared].is_badvalue(), "{shared}");
    }
    let own = &container(&base)["securityContext"];
    assert_eq!(own["allowPrivilegeEscalation"], Yaml::Boolean(false));
    assert_eq!(own["readOnlyRootFilesystem"], Yaml::Boolean(true));
    assert_eq!(items(&own["capabilities"]["drop"]), [Yaml::String(String::from("ALL"))]);
    assert!(own["capabilities"]["add"].is_badvalue());
}

#[test]
fn the_pod_has_no_token_for_the_kubernetes_api() {
    let base = stateful_set();
    let account = manifest("k8s/base/service-account.yaml");
    assert_eq!(pod(&base)["serviceAccountName"], account["metadata"]["name"]);
    assert_eq!(pod(&base)["automountServiceAccountToken"], Yaml::Boolean(false));
    assert_eq!(account["automountServiceAccountToken"], Yaml::Boolean(false));
}

#[test]
fn kubernetes_sets_no_variables_that_look_like_ours() {
    assert_eq!(pod(&stateful_set())["enableServiceLinks"], Yaml::Boolean(false));
}

#[test]
fn the_network_policy_is_about_our_pod_only_and_lets_its_calls_out() {
    let policy = manifest("k8s/base/network-policy.yaml");
    let base = stateful_set();
    let selected = labels(&policy["spec"]["podSelector"]["matchLabels"]);
    let stamped = manifest("k8s/base/kustomization.yaml");
    let stamped = labels(&stamped["labels"][0]["pairs"]);
    assert!(!selected.is_empty(), "an empty selector would shut in every pod of the namespace");
    assert!(selected.iter().all(|(key, value)| stamped.get(key) == Some(value)), "{selected:?}");
    assert_eq!(selected, labels(&base["spec"]["selector"]["matchLabels"]));
    assert_eq!(selected, labels(&manifest("k8s/base/service.yaml")["spec"]["selector"]));

    assert!(items(&policy["spec"]["ingress"]).is_empty());
    let out: Vec<u64> = items(&policy["spec"]["egress"])
        .iter()
        .flat_map(|rule| items(&rule["ports"]).iter().map(|port| number(&port["port"])))
        .collect();
    for (name, service) in configuration().configuration.services {
        let port: u64 = service.address.rsplit(':').next().unwrap().parse().unwrap();
        assert!(out.contains(&port), "{name}: {}", service.address);
    }
    assert!(out.contains(&53), "names must be resolved");
}

#[test]
fn two_owners_of_the_store_never_live() {
    let (base, sqlite) = (stateful_set(), sqlite());
    assert_eq!(string(&sqlite["kind"]), "StatefulSet");
    assert_eq!(base["metadata"]["name"], sqlite["metadata"]["name"]);
    assert_eq!(number(&sqlite["spec"]["replicas"]), 1);
    assert_eq!(string(&base["spec"]["updateStrategy"]["type"]), "RollingUpdate");
    let claim = &sqlite["spec"]["volumeClaimTemplates"][0];
    assert_eq!(items(&claim["spec"]["accessModes"]), [Yaml::String(String::from("ReadWriteOncePod"))]);

    let mount = &container(&sqlite)["volumeMounts"][0];
    assert_eq!(mount["name"], claim["metadata"]["name"]);
    assert!(configuration().configuration.store.path.starts_with(string(&mount["mountPath"])));
}
