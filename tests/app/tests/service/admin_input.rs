//! What callers may send: refused with the name of the field, and never a panic.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use prost_types::{Any, Duration};
use server::command_line::Exit;
use server::proto::orchestrator::admin::v1::run_service_client::RunServiceClient;
use server::proto::orchestrator::admin::v1::signal_run_request::MessageForm;
use server::proto::orchestrator::admin::v1::start_run_request::InputForm;
use server::proto::orchestrator::admin::v1::workflow_service_client::WorkflowServiceClient;
use server::proto::orchestrator::admin::v1::{
    CancelRunRequest, GetRunRequest, GetWorkflowRequest, ListRunsRequest, ListWorkflowsRequest, RetryRunRequest,
    SignalRunRequest, StartRunRequest, WatchRunRequest,
};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::{Services, World, start};

/// The fields that a status names.
fn fields(status: &Status) -> Vec<String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(status.get_details_error_info().is_some(), "{status:?}");
    let violations = status.get_details_bad_request().unwrap().field_violations;
    violations.into_iter().map(|violation| violation.field).collect()
}

async fn refused(client: &mut RunServiceClient<Channel>, json: &str) -> Vec<String> {
    let input_form = Some(InputForm::InputJson(json.to_owned()));
    let request = StartRunRequest { input_form, ..start("test.greet", 0) };
    fields(&client.start_run(request).await.unwrap_err())
}

#[tokio::test]
async fn json_that_does_not_fit_names_the_field() {
    let world = World::start(Services::good()).await;
    let mut client = world.runs().await;
    assert_eq!(refused(&mut client, "{\"limit\": \"many\"}").await, ["input_json.limit"]);
    assert_eq!(refused(&mut client, "{\"limit\": 1, \"limits\": 2}").await, ["input_json.limits"]);
    assert_eq!(refused(&mut client, "{\"limit\": 99999999999}").await, ["input_json.limit"]);
    assert_eq!(refused(&mut client, "").await, ["input_json"]);
    assert_eq!(refused(&mut client, "{} {}").await, ["input_json"]);
    assert_eq!(refused(&mut client, "[]").await, ["input_json"]);
}

#[tokio::test]
async fn a_packed_input_of_another_type_or_with_other_bytes_names_the_field() {
    let world = World::start(Services::good()).await;
    let mut client = world.runs().await;
    let mut packed = async |type_name: &str, value: &[u8]| {
        let any = Any { type_url: format!("type.googleapis.com/{type_name}"), value: value.to_vec() };
        let request = StartRunRequest { input_form: Some(InputForm::Input(any)), ..start("test.greet", 0) };
        fields(&client.start_run(request).await.unwrap_err())
    };
    assert_eq!(packed("acme.users.v1.GetUserRequest", &[]).await, ["input.type_url"]);
    let input = "acme.orchestration.greetings.v1.GreetRequest";
    assert_eq!(packed(input, &[0xff, 0xff]).await, ["input.value"]);
}

#[tokio::test]
async fn a_value_that_breaks_a_rule_of_its_contract_names_the_field_and_is_not_shown() {
    let world = World::start(Services::good()).await;
    let mut client = world.runs().await;
    assert_eq!(refused(&mut client, "{\"limit\": 1000001}").await, ["input.limit"]);

    let run = client.start_run(start("test.wait", 0)).await.unwrap().into_inner();
    let message = format!("{{\"name\": \"{}\"}}", "secret".repeat(50));
    let signal = SignalRunRequest {
        run_id: run.run_id,
        signal: String::from("arrived"),
        message_form: Some(MessageForm::MessageJson(message)),
        ..SignalRunRequest::default()
    };
    let status = client.signal_run(signal).await.unwrap_err();
    assert_eq!(fields(&status), ["message.name"]);
    assert_eq!(status.get_details_error_info().unwrap().reason, "RULE_BROKEN");
    assert!(!status.message().contains("secret"), "{status:?}");

    let every_hour = ["schedules", "create", "often", "--workflow", "test.greet", "--every", "1h"];
    let (exit, _, talk) = world.command(&[&every_hour[..], &["--input", "{\"limit\": 1000001}"]].concat()).await;
    assert_eq!(exit, Exit::Usage, "{talk}");
    assert!(talk.contains("limit: expected at most 1000000"), "{talk}");
    let (exit, _, talk) = world.command(&[&every_hour[..], &["--input", "{\"limit\": 1000000}"]].concat()).await;
    assert_eq!(exit, Exit::Ok, "{talk}");
}

#[tokio::test]
async fn all_violations_of_a_request_are_told_together() {
    let world = World::start(Services::good()).await;
    let request = StartRunRequest {
        request_id: String::from("one"),
        wait: Some(Duration { seconds: 3_601, nanos: 0 }),
        deadline: Some(Duration { seconds: -1, nanos: 0 }),
        ..start("test.greet", 0)
    };
    let status = world.runs().await.start_run(request).await.unwrap_err();
    assert_eq!(fields(&status), ["wait", "deadline", "request_id"]);

    let request = ListRunsRequest {
        page_size: -1,
        page_token: String::from("x"),
        states: vec![77],
        workflow: "w".repeat(300),
        filter: String::from("states = FAILED"),
        order_by: String::from("workflow"),
    };
    let status = world.runs().await.list_runs(request).await.unwrap_err();
    assert_eq!(fields(&status), ["page_size", "workflow", "states", "filter", "order_by", "page_token"]);

    let request =
        CancelRunRequest { run_id: String::from("7"), reason: "é".repeat(300), ..CancelRunRequest::default() };
    let status = world.runs().await.cancel_run(request).await.unwrap_err();
    assert_eq!(fields(&status), ["run_id", "reason"]);

    let request = GetRunRequest { view: 9, max_steps: -1, ..GetRunRequest::default() };
    let status = world.runs().await.get_run(request).await.unwrap_err();
    assert_eq!(fields(&status), ["run_id", "max_steps", "view"]);
}

#[tokio::test]
async fn a_message_above_the_limit_is_refused() {
    let world =
        World::configured(Services::good(), |configuration| configuration.admin.max_message_bytes = 1_024).await;
    let input_form = Some(InputForm::InputJson(" ".repeat(4_096)));
    let request = StartRunRequest { input_form, ..start("test.greet", 0) };
    let status = world.runs().await.start_run(request).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.get_details_error_info().unwrap().reason, "MESSAGE_TOO_LARGE");
}

/// Any text, and text that is nearly right.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,40}",
        Just(String::from("test.greet")),
        "[0-9a-f]{0,64}",
        "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}",
    ]
}

fn json() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,60}",
        "\\{\"(limit|pageSize|page_size|x)\": (-?[0-9]{1,12}|null|\"\\PC{0,5}\"|\\[\\]|[0-9]e[0-9]{1,3})\\}",
        "\\[{1,200}",
        "(\\{\"limit\":){1,200}",
    ]
}

fn duration() -> impl Strategy<Value = Option<Duration>> {
    // Not between: a wait that is allowed would be waited for.
    let seconds = prop_oneof![i64::MIN..=0, 4_000..=i64::MAX];
    proptest::option::of((seconds, any::<i32>()).prop_map(|(seconds, nanos)| Duration { seconds, nanos }))
}

fn input() -> impl Strategy<Value = Option<InputForm>> {
    let packed =
        (text(), any::<bool>(), proptest::collection::vec(any::<u8>(), 0..64)).prop_map(|(name, known, value)| {
            let name = if known { "acme.orchestration.greetings.v1.GreetRequest" } else { name.as_str() };
            InputForm::Input(Any { type_url: format!("type.googleapis.com/{name}"), value })
        });
    proptest::option::of(prop_oneof![json().prop_map(InputForm::InputJson), packed])
}

#[test]
fn arbitrary_requests_never_panic() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let world = runtime.block_on(World::start(Services::good()));
    let (runs, workflows) = runtime.block_on(async { (world.runs().await, world.workflows().await) });
    let starts = (text(), input(), text(), duration(), duration());
    let others = (text(), text(), text(), any::<i32>(), any::<i32>());
    let mut runner = TestRunner::new(Config { cases: 256, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&(starts, others), |((workflow, input_form, request_id, wait, deadline), others)| {
        let request = StartRunRequest { workflow, input_form, request_id, wait, deadline, reason: String::new() };
        let statuses = runtime.block_on(send(runs.clone(), workflows.clone(), request, others));
        for status in statuses {
            prop_assert!(!matches!(status.code(), Code::Internal | Code::Unknown | Code::Cancelled), "{status:?}");
        }
        Ok(())
    });
    outcome.unwrap();
}

/// Sends everything once; returns the errors.
async fn send(
    mut runs: RunServiceClient<Channel>,
    mut workflows: WorkflowServiceClient<Channel>,
    start: StartRunRequest,
    (run_id, request_id, other, number, view): (String, String, String, i32, i32),
) -> Vec<Status> {
    let mut errors = Vec::new();
    errors.extend(runs.start_run(start).await.err());
    errors.extend(
        runs.get_run(GetRunRequest { run_id: run_id.clone(), view, max_steps: number, step: String::new() })
            .await
            .err(),
    );
    let list = ListRunsRequest {
        page_size: number,
        page_token: other.clone(),
        workflow: request_id.clone(),
        states: vec![view],
        filter: other.clone(),
        order_by: other.clone(),
    };
    errors.extend(runs.list_runs(list).await.err());
    errors.extend(runs.watch_run(WatchRunRequest { run_id: run_id.clone(), view, max_steps: number }).await.err());
    let cancel = CancelRunRequest { run_id: run_id.clone(), request_id: request_id.clone(), reason: other.clone() };
    errors.extend(runs.cancel_run(cancel).await.err());
    errors.extend(
        runs.retry_run(RetryRunRequest { run_id, request_id, reason: other.clone(), from_step: other.clone() })
            .await
            .err(),
    );
    errors.extend(workflows.get_workflow(GetWorkflowRequest { workflow: other.clone() }).await.err());
    let list = ListWorkflowsRequest { page_size: number, page_token: other };
    errors.extend(workflows.list_workflows(list).await.err());
    errors
}
