//! The files of the repository that deploy us, taken apart.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use server::configuration::{Loaded, Sources, load};
use yaml_rust2::{Yaml, YamlLoader};

pub(crate) const CONFIGURATION: &str = "k8s/base/orchestrator.toml";

/// Where the repository begins.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub(crate) fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A manifest of one document.
pub(crate) fn manifest(path: &str) -> Yaml {
    let mut documents = YamlLoader::load_from_str(&text(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(documents.len(), 1, "{path}");
    documents.remove(0)
}

pub(crate) fn stateful_set() -> Yaml {
    manifest("k8s/base/stateful-set.yaml")
}

/// What the overlay for SQLite adds to the stateful set.
pub(crate) fn sqlite() -> Yaml {
    manifest("k8s/sqlite/store.yaml")
}

pub(crate) fn pod(stateful_set: &Yaml) -> &Yaml {
    &stateful_set["spec"]["template"]["spec"]
}

/// The only container of the pod.
pub(crate) fn container(stateful_set: &Yaml) -> &Yaml {
    let containers = items(&pod(stateful_set)["containers"]);
    assert_eq!(containers.len(), 1);
    &containers[0]
}

pub(crate) fn items(list: &Yaml) -> &[Yaml] {
    list.as_vec().unwrap_or_else(|| panic!("expected a list, found {list:?}"))
}

pub(crate) fn string(value: &Yaml) -> &str {
    value.as_str().unwrap_or_else(|| panic!("expected a string, found {value:?}"))
}

pub(crate) fn number(value: &Yaml) -> u64 {
    let number = value.as_i64().and_then(|number| u64::try_from(number).ok());
    number.unwrap_or_else(|| panic!("expected a number, found {value:?}"))
}

pub(crate) fn labels(value: &Yaml) -> BTreeMap<&str, &str> {
    let entries = value.as_hash().unwrap_or_else(|| panic!("expected labels, found {value:?}"));
    entries.iter().map(|(key, value)| (string(key), string(value))).collect()
}

/// The instructions of the Dockerfile, continued lines joined.
pub(crate) fn instructions() -> Vec<(String, String)> {
    instructions_of("Dockerfile")
}

fn instructions_of(path: &str) -> Vec<(String, String)> {
    let lines = text(path);
    let lines: Vec<&str> = lines.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    let joined = lines.join("\n").replace("\\\n", " ");
    let instructions = joined.lines().map(|line| line.split_once(' ').unwrap_or((line, "")));
    instructions.map(|(name, rest)| (name.to_owned(), rest.split_whitespace().collect::<Vec<_>>().join(" "))).collect()
}

/// The instructions of the last stage of the Dockerfile.
pub(crate) fn final_stage() -> Vec<(String, String)> {
    final_stage_of("Dockerfile")
}

/// The same of another Dockerfile.
pub(crate) fn final_stage_of(path: &str) -> Vec<(String, String)> {
    let mut instructions = instructions_of(path);
    let last = instructions.iter().rposition(|(name, _)| name == "FROM").unwrap();
    instructions.split_off(last)
}

/// The variables that the process in the pod has from the image and from the manifests.
pub(crate) fn environment() -> BTreeMap<String, String> {
    let image = final_stage().into_iter().filter(|(name, _)| name == "ENV").flat_map(|(_, rest)| {
        let variables = rest.split(' ').map(|variable| variable.split_once('=').unwrap());
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<Vec<_>>()
    });
    let mut all: BTreeMap<String, String> = image.collect();
    for stateful_set in [stateful_set(), sqlite()] {
        for variable in items(&container(&stateful_set)["env"]) {
            all.insert(string(&variable["name"]).to_owned(), string(&variable["value"]).to_owned());
        }
    }
    all
}

/// The configuration that the process in the pod has.
pub(crate) fn configuration() -> Loaded {
    let environment = environment().into_iter().map(|(name, value)| (OsString::from(name), value.into())).collect();
    let sources = Sources { file: Some(root().join(CONFIGURATION)), environment, ..Sources::default() };
    orchestrator::APP.install().unwrap();
    load(&sources).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}
