//! Canaries: secrets and personal data are planted in a real process, and then looked for in everything that it leaves behind.
//! And the grants of a real process follow its configuration file.

use std::path::Path;
use std::time::{Duration, Instant};

use server::access::Tokens;
use server::proto::orchestrator::admin::v1::run_service_client::RunServiceClient;
use server::proto::orchestrator::admin::v1::signal_run_request::MessageForm;
use server::proto::orchestrator::admin::v1::start_run_request::InputForm;
use server::proto::orchestrator::admin::v1::*;
use test_app::users::Users;
use tonic::transport::Channel;
use tonic::{Code, Request};

use crate::process::Process;
use crate::support::World;

const OURS: &str = "canary-of-an-admin-token";
const OF_SERVICE: &str = "canary-of-a-service-token";
const WRONG: &str = "canary-of-a-wrong-token";
const MAIL: &str = "canary-mail@example.org";
const NAME: &str = "canary-of-a-name";

fn configuration(token: &str, grants: &str) -> String {
    let sha256: String = Tokens::hash(token).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("[[admin.tokens]]\nname = \"ci\"\nsha256 = \"{sha256}\"\n\n{grants}")
}

const ALL: &str = "[[admin.grants]]\nwho = \"token:ci\"\nrole = \"admin\"\n";

fn started(grants: &str, settings: &[String]) -> Process {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orchestrator.toml");
    std::fs::write(&file, configuration(OURS, grants)).unwrap();
    Process::start_in(folder, settings, &["--config", file.to_str().unwrap()])
}

fn by<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

async fn until_ended(client: &mut RunServiceClient<Channel>, run_id: &str) {
    let began = Instant::now();
    loop {
        let of = GetRunRequest { run_id: run_id.to_owned(), ..GetRunRequest::default() };
        let run = client.get_run(by(OURS, of)).await.unwrap().into_inner();
        if run.end_time.is_some() {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{run:?}");
    }
}

/// Every file below the folder that has the text.
fn files_with(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if std::fs::read(&path).unwrap().windows(text.len()).any(|part| part == text.as_bytes()) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_in_a_log_and_no_personal_data_is_left_of_a_run_that_was_deleted() {
    let users = Users { knows_all: true, ..Users::default() }.serve().await.unwrap();
    let settings = [
        String::from("log.filter=trace"),
        format!("services.users.address=http://{users}"),
        format!("services.users.token={OF_SERVICE}"),
        String::from("services.users.allow_insecure_token=true"),
    ];
    let mut process = started(ALL, &settings);
    let mut client = RunServiceClient::new(World::channel(&process.admin).await);
    let input = format!("{{\"text\": \"{MAIL}\"}}");
    let start = StartRunRequest {
        workflow: String::from("test.stay"),
        input_form: Some(InputForm::InputJson(input)),
        ..StartRunRequest::default()
    };
    let run_id = client.start_run(by(OURS, start)).await.unwrap().into_inner().run_id;
    let message_json = format!("{{\"name\": \"{NAME}\"}}");
    let signal = SignalRunRequest {
        run_id: run_id.clone(),
        signal: String::from("arrived"),
        message_form: Some(MessageForm::MessageJson(message_json)),
        ..SignalRunRequest::default()
    };
    client.signal_run(by(OURS, signal)).await.unwrap();
    until_ended(&mut client, &run_id).await;
    assert!(!files_with(process.directory.path(), MAIL).is_empty(), "the canary is planted");

    // What is refused is told of, without what was sent.
    let wrong = ListRunsRequest { filter: format!("state = {NAME}"), ..ListRunsRequest::default() };
    for token in [WRONG, "canary-of-a-wrong-token.with.dots"] {
        let refused = client.list_runs(by(token, ListRunsRequest::default())).await.unwrap_err();
        assert!(refused.code() == Code::Unauthenticated && !refused.message().contains("canary"), "{refused:?}");
    }
    assert_eq!(client.list_runs(by(OURS, wrong)).await.unwrap_err().code(), Code::InvalidArgument);
    let input = format!("{{\"text\": 7, \"{NAME}\": 1}}");
    let malformed = StartRunRequest {
        workflow: String::from("test.stay"),
        input_form: Some(InputForm::InputJson(input)),
        ..StartRunRequest::default()
    };
    assert_eq!(client.start_run(by(OURS, malformed)).await.unwrap_err().code(), Code::InvalidArgument);

    let delete = DeleteRunRequest { run_id, ..DeleteRunRequest::default() };
    client.delete_run(by(OURS, delete)).await.unwrap();
    drop(client);
    let log = process.stopped();
    assert!(log.contains("\"level\":\"TRACE\""), "the log has its most detailed level");
    for canary in [OURS, OF_SERVICE, WRONG, MAIL, NAME] {
        let line = log.lines().find(|line| line.contains(canary)).unwrap_or_default();
        assert!(line.is_empty(), "{canary} is in the log: {line}");
        assert_eq!(files_with(process.directory.path(), canary), [] as [String; 0], "{canary}");
    }
}

/// Calls until the answer is this one.
async fn until(client: &mut RunServiceClient<Channel>, expected: Code) {
    let began = Instant::now();
    loop {
        let told = client.list_runs(by(OURS, ListRunsRequest::default())).await;
        if told.err().map_or(Code::Ok, |told| told.code()) == expected {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "the answer does not become {expected:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grants_of_a_running_process_follow_its_file_and_a_broken_file_changes_nothing() {
    let mut process = started(ALL, &[]);
    let mut client = RunServiceClient::new(World::channel(&process.admin).await);
    let file = process.directory.path().join("orchestrator.toml");
    until(&mut client, Code::Ok).await;
    // A file that is replaced, as a mounted ConfigMap is.
    let next = process.directory.path().join("next.toml");
    std::fs::write(&next, configuration(OURS, &ALL.replace("token:ci", "token:other"))).unwrap();
    std::fs::rename(&next, &file).unwrap();
    until(&mut client, Code::PermissionDenied).await;
    std::fs::write(&file, configuration(OURS, ALL)).unwrap();
    until(&mut client, Code::Ok).await;
    std::fs::write(&file, "[[admin.grants]]\nwho = ").unwrap();
    process.await_message("the configuration has mistakes, the grants and tokens before stay in force");
    until(&mut client, Code::Ok).await;
    std::fs::write(&file, configuration("another token", ALL)).unwrap();
    until(&mut client, Code::Unauthenticated).await;
    drop(client);
    process.stopped();
}
