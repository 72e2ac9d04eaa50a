//! The configuration reference names every key, with the default and the bounds that the code has.

use std::collections::BTreeMap;

use serde_json::Value;
use server::configuration::{Configuration, Loaded, Method, Mistakes, Service, Sources, load, show};

use crate::files::text;

/// Names that stand for every service and every method in the reference, and such that the contracts know.
const SERVICE: (&str, &str) = ("services.SERVICE.", "services.users.");
const METHOD: (&str, &str) = (".methods.METHOD.", ".methods.get_user.");

struct Row {
    default: String,
    allowed: String,
}

/// The rows of the tables of keys.
fn reference() -> BTreeMap<String, Row> {
    let reference = text("docs/configuration.md");
    let rows = reference.lines().filter_map(|line| line.strip_prefix("| `")).map(|line| {
        let cells: Vec<&str> = line.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let [key, default, _unit, allowed, _meaning, ""] = cells.as_slice() else { panic!("{line}") };
        let key = key.replace(SERVICE.0, SERVICE.1).replace(METHOD.0, METHOD.1);
        (key, Row { default: (*default).to_owned(), allowed: (*allowed).to_owned() })
    });
    rows.collect()
}

fn with_flag(flag: &str) -> Result<Loaded, Mistakes> {
    orchestrator::APP.install().unwrap();
    load(&Sources { overrides: vec![flag.to_owned()], ..Sources::default() })
}

/// What `config show` prints where nothing is configured, by key.
fn shown() -> BTreeMap<String, String> {
    let loaded = with_flag("services.users.methods.get_user.level=contract").unwrap();
    let mut section = String::new();
    let mut values = BTreeMap::new();
    for line in show(&loaded).lines() {
        if let Some(name) = line.strip_prefix('[') {
            name.trim_end_matches(']').clone_into(&mut section);
        } else if let Some((key, value)) = line.split_once(" = ") {
            let value = value.rsplit_once("  # ").map_or(value, |(value, _origin)| value);
            values.insert(format!("{section}.{key}"), value.to_owned());
        }
    }
    values
}

/// All keys of a configuration, those without a value too.
fn keys(value: &Value, path: &str, into: &mut Vec<String>) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                keys(value, &if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, into);
            }
        }
        _ => into.push(path.to_owned()),
    }
}

#[test]
fn every_key_is_in_the_reference_and_nothing_else() {
    let schedules = with_flag("log.format=json").unwrap().configuration.schedules;
    let mut configuration = Configuration { schedules, ..Configuration::default() };
    let methods = [(String::from("get_user"), Method::default())].into();
    configuration.services.insert(String::from("users"), Service { methods, ..Service::default() });
    let mut all = Vec::new();
    keys(&serde_json::to_value(configuration).unwrap(), "", &mut all);
    all.sort();
    assert_eq!(reference().into_keys().collect::<Vec<_>>(), all);
}

#[test]
fn every_default_is_the_one_that_the_orchestrator_shows() {
    let shown = shown();
    for (key, row) in reference() {
        assert_eq!(Some(&row.default), shown.get(&key), "{key}");
    }
}

#[test]
fn every_bound_is_the_one_that_the_orchestrator_checks() {
    for (key, row) in reference() {
        let number = row.default.parse::<u64>().is_ok();
        let beyond = if number { "4294967295" } else { "100000h" };
        let refused = with_flag(&format!("{key}={beyond}")).map(|_| ()).map_err(|mistakes| mistakes.to_string());
        let bounded = refused.as_ref().is_err_and(|mistakes| mistakes.contains("out of range"));
        let stated = row.allowed.contains(" to ");
        assert_eq!(bounded, stated, "{key}: {refused:?}");
        if stated {
            let mistakes = refused.unwrap_err();
            assert!(mistakes.contains(&format!("expected {}", row.allowed)), "{key}: {mistakes}");
        }
    }
}
