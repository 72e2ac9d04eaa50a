//! `store doctor` over a store that is in use.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use engine::store::sqlite::{Sqlite, SqliteOptions};
use engine::time::Clock;
use serde_json::Value;
use server::command_line::Exit;

use crate::support::command;

async fn doctor(path: &Path, more: &[&str]) -> (Exit, String) {
    let mut arguments = vec!["orchestrator", "store", "doctor", "--store", path.to_str().unwrap()];
    arguments.extend(more);
    let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
    let (exit, out, err) = tokio::task::spawn_blocking(move || command(&arguments)).await.unwrap();
    (exit, out + &err)
}

/// What was found, but for what is true of the machine that the test runs on.
fn kinds(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings.map(|finding| finding["kind"].as_str().unwrap()).filter(|kind| *kind != "LITTLE_SPACE").collect()
}

#[tokio::test]
async fn a_store_in_use_is_looked_at_and_what_endangers_it_is_named_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let _owner = Sqlite::open(&path, SqliteOptions::default(), Clock::system()).unwrap();
    let (_, json) = doctor(&path, &["--output", "json", "--integrity"]).await;
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(kinds(&report), Vec::<&str>::new());
    let figures = report["figures"].as_array().unwrap();
    assert!(figures.iter().any(|figure| figure["name"] == "runs" && figure["value"] == "none"), "{json}");

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (exit, text) = doctor(&path, &[]).await;
    assert_eq!(exit, Exit::Findings);
    assert!(text.contains("WARNING READABLE_BY_OTHERS: other users may open the file (mode 0644)"), "{text}");
    assert!(text.contains("  chmod 600 the file"), "{text}");
}

#[tokio::test]
async fn a_file_that_is_no_store_is_refused_and_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let (exit, text) = doctor(&path, &[]).await;
    assert_eq!(exit, Exit::Failed);
    assert!(text.contains("store.db"), "{text}");
    assert!(!path.exists());
}
