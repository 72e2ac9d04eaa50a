//! A store that is moved from a file into a database: by a command that is killed, and then done.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use postgres_store::testing::{Release, connect, database, settings};
use postgres_store::{CopyTarget, PostgresOptions};
use server::proto::orchestrator::admin::v1::start_run_request::InputForm;
use server::proto::orchestrator::admin::v1::{
    CancelRunRequest, GetRunRequest, ListRunsRequest, Run, RunState, RunView, StartRunRequest,
};
use tokio_postgres::Config;
use uuid::Uuid;

use crate::load::{Started, invite};
use crate::process::Orchestrator;
use crate::world::World;
use crate::{SETTLED, WITHOUT_SCHEDULES, audit};

/// Tables during whose copies the command is killed.
const KILLED_AT: [&str; 4] = ["workflows", "journal", "requests", "schedules"];

/// `store copy` of the file of this orchestrator into the database of that one.
fn copy(from: &Orchestrator, to: &Orchestrator) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_test-app"));
    command.args(["store", "copy"]).arg(from.store().join("orchestrator.db"));
    command.arg("--config").arg(to.configuration()).stderr(Stdio::piped()).stdout(Stdio::null());
    command
}

/// Runs it to its end; returns the exit code, and what it said.
fn done(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// Kills the command while it waits at this table for somebody else, after it wrote the tables before.
async fn killed_at(table: &str, command: &mut Command, database: &Config) {
    let somebody = connect(database).await;
    let hold = format!(
        "BEGIN; INSERT INTO copied_tables VALUES ('{table}', '', 0, '', false)
                ON CONFLICT (name) DO UPDATE SET name = excluded.name"
    );
    somebody.batch_execute(&hold).await.unwrap();
    let mut child = command.spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let reached = format!("copying {table}: ");
    let begun = tokio::task::spawn_blocking(move || said.any(|line| line.unwrap().starts_with(&reached)));
    assert!(begun.await.unwrap(), "it ended before it reached {table}");
    child.kill().unwrap();
    child.wait().unwrap();
    somebody.batch_execute("ROLLBACK").await.unwrap();
}

/// What `serve` says that refuses to start.
fn refused(orchestrator: &Orchestrator, flags: &[&str]) -> String {
    let output = orchestrator.command(flags).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Waits until a schedule has started a run.
async fn ticked(orchestrator: &Orchestrator) {
    let mut runs = orchestrator.runs();
    loop {
        let list = ListRunsRequest { page_size: 1_000, ..ListRunsRequest::default() };
        if runs.list_runs(list).await.unwrap().into_inner().runs.iter().any(|run| !run.schedule.is_empty()) {
            return;
        }
        tokio::task::yield_now().await;
    }
}

async fn get(orchestrator: &Orchestrator, run_id: &str) -> Run {
    let get = GetRunRequest { run_id: run_id.to_owned(), view: RunView::Full.into(), ..GetRunRequest::default() };
    orchestrator.runs().get_run(get).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_moved_by_a_command_that_is_killed_and_its_runs_continue() {
    let world = World::unreliable_and_slow(Duration::from_millis(200)).await;
    let mut old = Orchestrator::over(&world);
    old.start(&[]).await;
    let mut started = Vec::new();
    for _ in 0..30 {
        let request = invite(Uuid::new_v4());
        let run_id = old.runs().start_run(request.clone()).await.unwrap().into_inner().run_id;
        started.push(Started { request, run_id });
    }
    let nap = StartRunRequest {
        workflow: "test.nap".to_owned(),
        input_form: Some(InputForm::InputJson("{}".to_owned())),
        ..StartRunRequest::default()
    };
    let nap = old.runs().start_run(nap).await.unwrap().into_inner().run_id;
    ticked(&old).await;
    // In the middle of their calls.
    old.kill().await;

    let database = database(Release::Newest).await;
    let (url, password) = settings(&database);
    let mut new = Orchestrator::sharing(&world, &url, password.as_deref());
    // Makes the tables.
    drop(CopyTarget::open(&PostgresOptions::new(database.clone())).await.unwrap());
    for table in KILLED_AT {
        killed_at(table, &mut copy(&old, &new), &database).await;
        let (old, new) = (refused(&old, &[]), refused(&new, &[]));
        assert!(old.contains("`store copy` moved it to database"), "{old}");
        assert!(new.contains("is not whole"), "{new}");
    }
    let (code, said) = done(&mut copy(&old, &new));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("rows to database") && said.contains("read them back"), "{said}");
    let (code, said) = done(&mut copy(&old, &new));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("nothing was done"), "{said}");

    new.start(&WITHOUT_SCHEDULES).await;
    let sleeps = get(&new, &nap).await;
    assert_eq!(sleeps.state(), RunState::Waiting, "{sleeps:?}");
    let cancel = CancelRunRequest {
        run_id: nap.clone(),
        request_id: Uuid::new_v4().to_string(),
        reason: "the end of the test".to_owned(),
    };
    new.runs().cancel_run(cancel).await.unwrap();
    audit::settle_but(&world, new.runs(), &started, SETTLED, &[nap]).await;
    let refused = refused(&old, &[]);
    assert!(refused.contains("--adopt"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_goes_only_into_a_database_that_no_orchestrator_has_used_and_not_beside_one() {
    let world = World::good().await;
    let mut old = Orchestrator::over(&world);
    let database = database(Release::Newest).await;
    let (url, password) = settings(&database);
    let mut new = Orchestrator::sharing(&world, &url, password.as_deref());
    let (code, said) = done(&mut copy(&old, &new));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("there is no such file"), "{said}");

    old.start(&WITHOUT_SCHEDULES).await;
    let (code, said) = done(&mut copy(&old, &new));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("another process has it open"), "{said}");
    old.stop(Duration::from_secs(30)).await;

    new.start(&WITHOUT_SCHEDULES).await;
    let (code, said) = done(&mut copy(&old, &new));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("an orchestrator runs on it"), "{said}");
    new.runs().start_run(invite(Uuid::new_v4())).await.unwrap();
    new.stop(Duration::from_secs(30)).await;
    let (code, said) = done(&mut copy(&old, &new));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("has rows"), "{said}");
    // Nothing was fenced meanwhile.
    old.start(&WITHOUT_SCHEDULES).await;
    old.stop(Duration::from_secs(30)).await;
}
