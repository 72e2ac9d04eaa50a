//! `upgrade check` over a store that an orchestrator of another release serves.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::engine::{Engine, Parts, Start};
use engine::store::sqlite::{Sqlite, SqliteOptions};
use engine::time::Clock;
use engine::{Context, Failure, Limits, Registry, Retention, State, Workflow};
use serde_json::Value;
use server::command_line::Exit;
use test_app::contracts::acme::orchestration::greetings::v1::{GreetRequest, GreetResponse};

use crate::support::{Services, command};

/// What the workflow of this name did in a release long ago.
struct Older;

impl Workflow for Older {
    const NAME: &'static str = "test.greet";
    type Input = GreetRequest;
    type Output = GreetResponse;

    async fn run(&self, ctx: &Context, _: GreetRequest) -> Result<GreetResponse, Failure> {
        ctx.sleep("until the hour", Duration::from_secs(3_600)).await?;
        Ok(GreetResponse::default())
    }
}

/// What this one did: it is BLOCKED, because it waits for what it does not declare.
struct Blocked;

impl Workflow for Blocked {
    const NAME: &'static str = "test.wait";
    type Input = GreetRequest;
    type Output = GreetResponse;

    async fn run(&self, ctx: &Context, _: GreetRequest) -> Result<GreetResponse, Failure> {
        ctx.sleep("a moment", Duration::from_millis(1)).await?;
        let _: GreetResponse = ctx.signal("undeclared").await?;
        Ok(GreetResponse::default())
    }
}

/// One that no release has any more.
struct Gone;

impl Workflow for Gone {
    const NAME: &'static str = "test.gone";
    type Input = GreetRequest;
    type Output = GreetResponse;

    async fn run(&self, ctx: &Context, _: GreetRequest) -> Result<GreetResponse, Failure> {
        ctx.sleep("until the hour", Duration::from_secs(3_600)).await?;
        Ok(GreetResponse::default())
    }
}

async fn start(engine: &Engine, workflow: &str) -> String {
    let start = Start { workflow: workflow.to_owned(), input: Bytes::new(), asked: None, deadline: None };
    engine.start(start).await.unwrap().id.to_string()
}

async fn check(path: &std::path::Path, more: &[&str]) -> (Exit, String, String) {
    let store = path.to_str().unwrap();
    let mut arguments = vec!["orchestrator", "upgrade", "check", "--store", store];
    arguments.extend(more);
    let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
    tokio::task::spawn_blocking(move || command(&arguments)).await.unwrap()
}

#[tokio::test]
async fn an_upgrade_check_says_which_runs_cannot_go_on_while_they_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orchestrator.db");
    let mut workflows = Registry::new();
    workflows.register(|| Older).unwrap();
    workflows.register(|| Gone).unwrap();
    workflows.register(|| Blocked).unwrap();
    let store = Sqlite::open(&path, SqliteOptions::default(), Clock::system()).unwrap();
    let engine = Engine::new(Parts {
        store: Arc::new(store),
        transport: Arc::new(Services::good()),
        workflows,
        clock: Clock::system(),
        random: engine::RandomSource::system(),
        limits: Limits::default(),
        retention: Retention::default(),
    });
    let (exit, out, talk) = check(&path, &[]).await;
    assert_eq!(exit, Exit::Ok, "{out}{talk}");
    assert!(talk.ends_with("of 0 runs in flight 0 cannot continue\n"), "{talk}");

    let blocked = start(&engine, "test.wait").await;
    let id = blocked.parse().unwrap();
    while engine.store().run(id).await.unwrap().unwrap().status.state != State::Blocked {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (exit, out, talk) = check(&path, &[]).await;
    assert_eq!(exit, Exit::Ok, "it is no worse than before: {out}{talk}");
    assert!(out.contains(&blocked) && out.contains("  BLOCKED\n  JOURNAL_MISMATCH: "), "{out}");
    assert!(talk.ends_with("of 1 runs in flight 0 cannot continue, and 1 that are BLOCKED stay so\n"), "{talk}");

    let changed = start(&engine, "test.greet").await;
    let unknown = start(&engine, "test.gone").await;
    for run in [&changed, &unknown] {
        let id = run.parse().unwrap();
        while engine.store().run(id).await.unwrap().unwrap().status.state != State::Waiting {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let (exit, out, talk) = check(&path, &[]).await;
    assert_eq!(exit, Exit::Findings, "{out}{talk}");
    let rows: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1], ["test.gone", "1", "1", "0", "1", "0", "0"], "{out}");
    assert_eq!(rows[2], ["test.greet", "1", "1", "0", "0", "1", "0"], "{out}");
    assert!(out.contains("the journal has until the hour#0, the code has GetUser#0"), "{out}");
    assert!(talk.ends_with("of 3 runs in flight 2 cannot continue, and 1 that are BLOCKED stay so\n"), "{talk}");

    let (exit, out, talk) = check(&path, &["--output", "json", "--limit", "1"]).await;
    assert_eq!(exit, Exit::Findings, "{talk}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((report["runs"].as_u64(), report["findingsOmitted"].as_u64()), (Some(3), Some(1)));
    assert_eq!(report["workflows"][0]["waits"], 1);
    // Ids of the same millisecond have no order.
    let reason = if changed < unknown { "JOURNAL_MISMATCH: " } else { "UNKNOWN_WORKFLOW: " };
    assert_eq!(report["findings"][0]["runId"], changed.min(unknown).as_str());
    assert!(report["findings"][0]["reason"].as_str().unwrap().starts_with(reason), "{out}");
}

#[tokio::test]
async fn an_upgrade_check_of_no_store_says_so_and_makes_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orchestrator.db");
    let (exit, _, talk) = check(&path, &[]).await;
    assert_eq!(exit, Exit::Failed);
    assert!(talk.contains("orchestrator.db") && !path.exists(), "{talk}");
}
