//! The command line against a running service: tables, JSON, exit codes.

use engine::transport::Outcome;
use engine::{Code, Failure, Registry};
use serde_json::Value;
use server::App;
use server::command_line::{self, Exit, Terminal};
use server::configuration::Own;

use crate::support::{Services, World, command};

fn plain(arguments: &[&str]) -> (Exit, String, String) {
    let arguments: Vec<String> =
        ["orchestrator"].iter().chain(arguments).map(|argument| (*argument).to_owned()).collect();
    command(&arguments)
}

#[tokio::test]
async fn workflows_list_is_a_table_and_show_has_an_example() {
    let world = World::start(Services::good()).await;
    let (exit, out, talk) = world.command(&["workflows", "list"]).await;
    assert_eq!((exit, talk.as_str()), (Exit::Ok, ""));
    let lines: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["WORKFLOW", "VERSION", "EVERY", "NEXT", "DESCRIPTION"]);
    assert_eq!(lines[1].first(), Some(&"test.greet"));
    assert!(lines[1].ends_with(&["Greets", "a", "user."]), "{out}");
    let (exit, out, _) = world.command(&["workflows", "show", "test.greet"]).await;
    assert_eq!(exit, Exit::Ok);
    assert!(out.contains("Input      acme.orchestration.greetings.v1.GreetRequest"), "{out}");
    assert!(out.contains("\"limit\": 0"), "{out}");
}

#[test]
fn a_workflow_that_is_registered_twice_is_told_by_the_check_of_the_configuration() {
    let twice = |_: &Own| {
        let mut workflows = Registry::new();
        workflows.register(|| test_app::workflows::Nap)?;
        workflows.register(|| test_app::workflows::Nap)?;
        Ok(workflows)
    };
    let app = App { workflows: twice, ..test_app::APP };
    let (mut out, mut talk) = (Vec::new(), Vec::new());
    let mut terminal = Terminal { out: &mut out, talk: &mut talk };
    let exit = command_line::run(&app, ["orchestrator", "config", "check"].map(Into::into), &mut terminal);
    let talk = String::from_utf8(talk).unwrap();
    assert_eq!(exit, Exit::Failed, "{talk}");
    assert!(talk.contains("workflow test.nap is registered twice"), "{talk}");
}

#[tokio::test]
async fn a_started_run_is_waited_for_shown_and_listed() {
    let world = World::start(Services::good()).await;
    let (exit, out, talk) =
        world.command(&["runs", "start", "test.greet", "--input", "{\"limit\": 3}", "--wait"]).await;
    assert_eq!((exit, talk.as_str()), (Exit::Ok, ""));
    assert!(out.contains("State      SUCCEEDED") && out.contains("Output     {\"due\":3}"), "{out}");
    let id = out.split_whitespace().nth(1).unwrap();

    let (exit, out, _) = world.command(&["runs", "show", id]).await;
    assert_eq!(exit, Exit::Ok);
    assert!(out.contains("STEP          STATE      LEVEL            ATTEMPTS  TOOK"), "{out}");
    assert!(out.contains("GetUser#0     SUCCEEDED  NO_SIDE_EFFECTS  1"), "{out}");
    assert!(out.contains("CreateUser#1  SUCCEEDED  IDEMPOTENT       1"), "{out}");

    let (exit, out, _) = world.command(&["runs", "list", "--state", "succeeded", "--workflow", "test.greet"]).await;
    assert_eq!(exit, Exit::Ok);
    assert!(out.lines().nth(1).unwrap().starts_with(id), "{out}");
    let (exit, out, _) = world.command(&["runs", "list", "--state", "FAILED"]).await;
    assert_eq!((exit, out.lines().count()), (Exit::Ok, 1));
}

#[tokio::test]
async fn a_run_whose_code_is_not_here_says_so_wherever_it_is_shown() {
    let world = World::start(Services::good()).await;
    let id = world.leave("test.nap", 2).await;
    let (exit, out, _) = world.command(&["runs", "list"]).await;
    assert_eq!(exit, Exit::Ok);
    assert!(out.contains("NEWER_VERSION: version 2 of test.nap created the run"), "{out}");
    let (_, out, _) = world.command(&["runs", "show", &id]).await;
    assert!(out.contains("Workflow   test.nap (version 2)"), "{out}");
    assert!(out.contains("State      PENDING (NEWER_VERSION: "), "{out}");
    let (_, out, _) = world.command(&["workflows", "list"]).await;
    let stranded = out.lines().last().unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(stranded[..4], ["test.nap", "2", "1", "NEWER_VERSION:"], "{out}");
    let all =
        ["runs", "bulk", "terminate", "--reason-prefix", "NEWER_VERSION", "--state", "PENDING", "--reason", "old"];
    let (exit, out, talk) = world.command(&all).await;
    assert_eq!(exit, Exit::Ok, "{out}{talk}");
    let (_, out, _) = world.command(&["runs", "list", "--state", "TERMINATED"]).await;
    assert!(out.contains(&id) && !out.contains("NEWER_VERSION"), "{out}");
}

#[tokio::test]
async fn json_output_is_canonical_and_has_no_personal_data() {
    let world = World::start(Services::good()).await;
    let (_, id, _) = world.command(&["runs", "start", "test.greet"]).await;
    let (exit, _, _) = world.command(&["runs", "watch", id.trim()]).await;
    assert_eq!(exit, Exit::Ok);
    let (exit, out, _) = world.command(&["runs", "show", id.trim(), "--output", "json"]).await;
    assert_eq!(exit, Exit::Ok);
    let run: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((run["runId"].as_str(), run["state"].as_str()), (Some(id.trim()), Some("SUCCEEDED")));
    assert_eq!(run["steps"][0]["response"]["user"], serde_json::json!({"userId": "u1"}));
    assert!(!out.contains("Ada") && !out.contains("ada@"), "{out}");
}

#[tokio::test]
async fn watch_tells_each_step_and_exits_by_the_end_of_the_run() {
    let world = World::start(Services::refusing()).await;
    let (_, id, _) = world.command(&["runs", "start", "test.greet"]).await;
    let (exit, out, _) = world.command(&["runs", "watch", id.trim()]).await;
    assert_eq!(exit, Exit::RunFailed);
    assert!(out.contains("  FAILED         CreateUser#1 ALREADY_EXISTS: there is one"), "{out}");
    let (exit, out, _) = world.command(&["runs", "watch", id.trim(), "-o", "json"]).await;
    assert_eq!(exit, Exit::RunFailed);
    let last: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!(last["state"].as_str(), Some("FAILED"));
}

#[tokio::test]
async fn exit_codes_say_what_happened() {
    let world = World::start(Services::refusing()).await;
    let exit = async |arguments: &[&str]| world.command(arguments).await.0;
    assert_eq!(exit(&["runs", "start", "test.greet", "--wait"]).await, Exit::RunFailed);
    assert_eq!(exit(&["runs", "start", "test.nap", "--wait", "50ms"]).await, Exit::TimeIsUp);
    assert_eq!(exit(&["runs", "start", "test.nope"]).await, Exit::Usage);
    assert_eq!(exit(&["runs", "show", "00000000-0000-0000-0000-000000000000"]).await, Exit::Usage);
    assert_eq!(exit(&["runs", "start", "test.greet", "--input", "{\"x\": 1}"]).await, Exit::Usage);
    assert_eq!(exit(&["runs", "start", "test.greet", "--input", "@/nowhere"]).await, Exit::Usage);
    assert_eq!(exit(&["runs", "show", "nonsense"]).await, Exit::Usage);
    assert_eq!(exit(&["runs", "list", "--state", "ASLEEP"]).await, Exit::Usage);
    let (_, id, _) = world.command(&["runs", "start", "test.nap"]).await;
    assert_eq!(exit(&["runs", "cancel", id.trim(), "--reason", "enough"]).await, Exit::Ok);
    assert_eq!(exit(&["runs", "watch", id.trim()]).await, Exit::RunFailed);
    assert_eq!(exit(&["runs", "retry", id.trim()]).await, Exit::Failed);
}

#[test]
fn without_a_server_the_command_says_so() {
    let (exit, out, talk) = plain(&["runs", "list", "--server", "http://127.0.0.1:1"]);
    assert_eq!((exit, out.as_str()), (Exit::Unreachable, ""));
    assert!(talk.starts_with("error: UNAVAILABLE"), "{talk}");
    assert_eq!(plain(&["runs", "list", "--server", "nonsense"]).0, Exit::Usage);
}

#[tokio::test]
async fn an_address_needs_no_scheme_and_a_wrong_port_is_told() {
    let world = World::start(Services::good()).await;
    let at = |server: &str| {
        let server = server.trim_start_matches("http://").to_owned();
        tokio::task::spawn_blocking(move || plain(&["runs", "list", "--server", &server]))
    };
    let (exit, _, talk) = at(&world.admin).await.unwrap();
    assert_eq!((exit, talk.as_str()), (Exit::Ok, ""));
    let (exit, _, talk) = at(&world.health).await.unwrap();
    assert_eq!(exit, Exit::Failed);
    assert!(
        talk.contains("UNIMPLEMENTED: the server does not have this method; expected the address of an admin"),
        "{talk}"
    );
}

#[tokio::test]
async fn a_step_is_shown_with_its_request_its_response_and_the_attempts_that_failed() {
    let good = Services::good();
    let refused = std::sync::atomic::AtomicU32::new(0);
    let world = World::start(Services::new(move |path, attempt| {
        let is_first = attempt.key.is_some() && refused.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        if is_first {
            Outcome::Ambiguous { failure: Failure::new(Code::Unavailable, "gone"), retry_after: None }
        } else {
            good.answer(path, attempt)
        }
    }))
    .await;
    let (_, out, _) = world.command(&["runs", "start", "test.greet", "--wait"]).await;
    let id = out.split_whitespace().nth(1).unwrap();
    let (exit, out, talk) = world.command(&["runs", "show", id, "CreateUser#1"]).await;
    assert_eq!((exit, talk.as_str()), (Exit::Ok, ""));
    assert!(out.contains("Method     /acme.users.v1.UserService/CreateUser") && out.contains("Attempts   2"), "{out}");
    assert!(out.contains("Request:\n{") && out.contains("Response:\n{}"), "{out}");
    assert!(!out.contains("Ada") && !out.contains("ada@"), "what is marked is not shown: {out}");
    let failed: Vec<&str> = out.lines().last().unwrap().split_whitespace().collect();
    assert_eq!((failed[0], &failed[2..]), ("1", &["UNAVAILABLE:", "gone"][..]), "{out}");

    let (_, out, _) = world.command(&["runs", "show", id, "GetUser#0"]).await;
    assert!(out.contains("Request:\n(not stored: ") && out.contains("\"userId\": \"u1\""), "{out}");
    let (_, out, _) = world.command(&["runs", "show", id, "CreateUser#1", "--output", "json"]).await;
    let step: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(step["failedAttempts"][0]["error"]["message"], "gone");
    let (exit, _, talk) = world.command(&["runs", "show", id, "CreateUser#9"]).await;
    assert_eq!(exit, Exit::Usage);
    assert!(talk.contains("has no step \"CreateUser#9\""), "{talk}");
}

#[test]
fn a_usage_line_requires_only_what_is_required_whatever_the_environment_sets() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_test-app"))
        .args(["runs", "retry", "--dry-run"])
        .envs([("ORCHESTRATOR_SERVER", "http://127.0.0.1:1"), ("ORCHESTRATOR_CALLER", "ada")])
        .output()
        .unwrap();
    let talk = String::from_utf8(output.stderr).unwrap();
    assert!(talk.contains("Usage: orchestrator runs retry [OPTIONS] <ID>\n"), "{talk}");
}

#[test]
fn config_check_warns_of_what_serve_would_warn_of() {
    let (exit, _, talk) =
        plain(&["config", "check", "--set", "schedules.x.workflow=no.such", "--set", "schedules.x.every=1h"]);
    assert_eq!(exit, Exit::Ok);
    assert!(
        talk.contains("warning: schedules.x.workflow names \"no.such\", which this program does not have"),
        "{talk}"
    );
}

#[test]
fn help_goes_to_stdout_and_explains_the_exit_codes() {
    let (exit, out, talk) = plain(&["--help"]);
    assert_eq!((exit, talk.as_str()), (Exit::Ok, ""));
    assert!(out.contains("the run that was waited for did not succeed"), "{out}");
    let (exit, out, talk) = plain(&["runs", "explode"]);
    assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
    assert!(talk.contains("unrecognized subcommand"), "{talk}");
}

#[test]
fn config_check_tells_all_mistakes_and_config_show_is_toml() {
    let (exit, out, talk) = plain(&["config", "check", "--set", "drain.grace=soon", "--set", "admin.listn=x"]);
    assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
    assert!(talk.contains("2 mistakes") && talk.contains("drain.grace") && talk.contains("admin.listn"), "{talk}");
    let (exit, out, _) = plain(&["config", "show", "--store", "/tmp/x.db"]);
    assert_eq!(exit, Exit::Ok);
    assert!(out.contains("path = \"/tmp/x.db\"  # a flag"), "{out}");
}
