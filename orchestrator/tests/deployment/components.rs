//! The components that open the admin API to the cluster: they fit the base, and nothing of them opens it unprotected.

use std::ffi::OsString;

use server::configuration::{Sources, load};
use yaml_rust2::Yaml;

use crate::files::{container, environment, items, labels, manifest, number, pod, stateful_set, string};

const TLS: &str = "k8s/components/tls";
const SERVICE: &str = "k8s/components/admin-service";

/// A principal, and what is granted to it.
const GRANTED: &str = "
[[admin.tokens]]
name = \"ci\"
sha256 = \"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"

[[admin.grants]]
who = \"token:ci\"
role = \"viewer\"
";

fn patch(component: &str) -> Yaml {
    manifest(&format!("{component}/stateful-set.yaml"))
}

/// What is wrong with the process in the pod with these components, but for services without an address and files that are
/// in the cluster.
fn mistakes(components: &[&str], toml: &str) -> Vec<String> {
    let mut all = environment();
    for component in components {
        for variable in items(&container(&patch(component))["env"]) {
            all.insert(string(&variable["name"]).to_owned(), string(&variable["value"]).to_owned());
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orchestrator.toml");
    std::fs::write(&file, toml).unwrap();
    let environment = all.into_iter().map(|(name, value)| (OsString::from(name), value.into())).collect();
    orchestrator::APP.install().unwrap();
    match load(&Sources { file: Some(file), environment, ..Sources::default() }) {
        Ok(_) => Vec::new(),
        Err(mistakes) => {
            let lines = mistakes.to_string();
            lines.lines().filter(|line| line.contains("admin.") && !line.contains("_file")).map(str::to_owned).collect()
        }
    }
}

#[test]
fn the_admin_api_is_opened_with_tls_and_grants_and_not_without_either() {
    assert_eq!(mistakes(&[TLS, SERVICE], GRANTED), Vec::<String>::new());
    for (components, toml, lacks) in [
        (&[SERVICE][..], GRANTED, "does not encrypt"),
        (&[TLS, SERVICE], "", "does not authenticate"),
        (&[SERVICE], "", "neither encrypts nor authenticates"),
    ] {
        let told = mistakes(components, toml);
        assert!(told.iter().any(|told| told.contains("admin.listen") && told.contains(lacks)), "{told:?}");
    }
}

#[test]
fn the_service_leads_to_the_port_that_the_pod_opens_and_the_policy_lets_only_that_in() {
    let (opened, service) = (patch(SERVICE), manifest(&format!("{SERVICE}/service.yaml")));
    let (port, offered) = (&items(&container(&opened)["ports"])[0], &items(&service["spec"]["ports"])[0]);
    let listen = string(&items(&container(&opened)["env"])[0]["value"]).to_owned();
    assert!(listen.ends_with(&format!(":{}", number(&port["containerPort"]))), "{listen}");
    assert_eq!((&offered["targetPort"], &offered["port"]), (&port["name"], &port["containerPort"]));
    let of_base = manifest("k8s/base/service.yaml");
    assert_eq!(labels(&service["spec"]["selector"]), labels(&of_base["spec"]["selector"]));

    let policy = manifest(&format!("{SERVICE}/network-policy.yaml"));
    assert_eq!(labels(&policy["spec"]["podSelector"]["matchLabels"]), labels(&of_base["spec"]["selector"]));
    let rules = items(&policy["spec"]["ingress"]);
    assert_eq!((rules.len(), items(&rules[0]["from"]).len(), items(&rules[0]["ports"]).len()), (1, 1, 1));
    assert_eq!(items(&rules[0]["ports"])[0]["port"], port["containerPort"]);
    assert!(!labels(&items(&rules[0]["from"])[0]["podSelector"]["matchLabels"]).is_empty());
}

#[test]
fn the_components_change_the_pod_of_the_base_and_mount_the_certificate_where_it_is_looked_for() {
    for component in [TLS, SERVICE] {
        let patch = patch(component);
        assert_eq!(patch["metadata"]["name"], stateful_set()["metadata"]["name"], "{component}");
        assert_eq!(container(&patch)["name"], container(&stateful_set())["name"], "{component}");
    }
    let tls = patch(TLS);
    let mount = &items(&container(&tls)["volumeMounts"])[0];
    assert_eq!(mount["name"], items(&pod(&tls)["volumes"])[0]["name"]);
    for variable in items(&container(&tls)["env"]) {
        assert!(string(&variable["value"]).starts_with(string(&mount["mountPath"])), "{variable:?}");
    }
}
