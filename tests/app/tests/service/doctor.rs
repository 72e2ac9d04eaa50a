//! `store doctor` over a store that is in use.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use engine::store::sqlite::{Sqlite, SqliteOptions};
use engine::time::Clock;
use postgres_store::testing::{Release, connect, database, settings};
use postgres_store::{Postgres, PostgresOptions};
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

/// The same for the database of a configuration.
async fn of_database(verb: &[&str], configuration: &Path) -> (Exit, String) {
    let mut arguments = vec!["orchestrator"];
    arguments.extend(verb);
    arguments.extend(["--config", configuration.to_str().unwrap()]);
    let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
    let (exit, out, err) = tokio::task::spawn_blocking(move || command(&arguments)).await.unwrap();
    (exit, out + &err)
}

#[tokio::test]
async fn a_database_is_looked_at_and_one_that_is_away_or_empty_is_told_apart() {
    let database = database(Release::Newest).await;
    let folder = tempfile::tempdir().unwrap();
    let configuration = folder.path().join("orchestrator.toml");
    let (url, password) = settings(&database);
    let mut text = format!("[store]\nkind = \"postgres\"\nurl = '{url}'\n");
    if let Some(password) = password {
        let file = folder.path().join("password");
        std::fs::write(&file, password).unwrap();
        text += &format!("password_file = '{}'\n", file.display());
    }
    std::fs::write(&configuration, &text).unwrap();
    for verb in [&["store", "doctor"][..], &["upgrade", "check"]] {
        let (exit, said) = of_database(verb, &configuration).await;
        assert_eq!(exit, Exit::Failed, "{said}");
        assert!(said.contains("there is no store in it"), "{said}");
    }
    let store = Postgres::open(PostgresOptions::new(database.clone())).await.unwrap();
    let (_, json) = of_database(&["store", "doctor", "--output", "json"], &configuration).await;
    let report: Value = serde_json::from_str(&json).unwrap();
    assert!(report["figures"].as_array().unwrap().iter().any(|figure| figure["name"] == "replicas"), "{json}");
    let (exit, said) = of_database(&["upgrade", "check"], &configuration).await;
    assert_eq!(exit, Exit::Ok, "{said}");
    assert!(said.contains("of 0 runs in flight 0 cannot continue"), "{said}");
    let (exit, said) = of_database(&["store", "doctor", "--integrity"], &configuration).await;
    assert_eq!(exit, Exit::Usage, "{said}");
    let somebody = connect(&database).await;
    somebody.batch_execute("ALTER TABLE live SET (autovacuum_enabled = false)").await.unwrap();
    let (exit, said) = of_database(&["store", "doctor"], &configuration).await;
    assert_eq!(exit, Exit::Findings, "{said}");
    assert!(said.contains("WARNING AUTOVACUUM_OFF: autovacuum is off for live"), "{said}");
    store.die();

    std::fs::write(&configuration, "[store]\nkind = \"postgres\"\nurl = \"host=/nowhere user=guras\"\n").unwrap();
    for verb in [&["store", "doctor"][..], &["upgrade", "check"]] {
        let (exit, said) = of_database(verb, &configuration).await;
        assert_eq!(exit, Exit::Unreachable, "{said}");
    }
}
