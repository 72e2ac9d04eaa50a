//! Decisions about calls in doubt, and the audit trail, over the admin API and the command line.

use bytes::Bytes;
use engine::transport::Outcome;
use engine::{Code, Failure};
use prost::Message;
use prost_types::Any;
use serde_json::Value;
use server::command_line::Exit;
use server::proto::orchestrator::admin::v1::audit_service_client::AuditServiceClient;
use server::proto::orchestrator::admin::v1::resolve_step_request::Decision;
use server::proto::orchestrator::admin::v1::{ListAuditEntriesRequest, ResolveStepRequest, Run, RunState};
use test_app::contracts::acme::users::v1::{CreateUserResponse, User};
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::support::{Services, World, start};

/// Services that lose the answer of every effect.
fn losing() -> Services {
    Services::new(|_, attempt| match attempt.key {
        None => Outcome::Done(Bytes::new()),
        Some(_) => {
            Outcome::Ambiguous { failure: Failure::new(Code::Unavailable, "connection lost"), retry_after: None }
        }
    })
}

#[tokio::test]
async fn a_decision_is_bounded_in_depth_count_and_size_and_the_run_stays_as_it_was() {
    let world = World::start(losing()).await;
    let run = in_doubt(&world).await;
    let packed = |name: &str, value: Vec<u8>| Any { type_url: format!("type.googleapis.com/{name}"), value };
    let deep = (0..1_000).fold(Vec::new(), |value, _| packed("google.protobuf.Any", value).encode_to_vec());
    let failed = |message: String, details: Vec<Any>| {
        Decision::Failure(server::proto::google::rpc::Status { code: 10, message, details })
    };
    let in_a_status = server::proto::google::rpc::Status {
        details: vec![packed("google.protobuf.Any", deep.clone())],
        ..Default::default()
    };
    for (decision, field) in [
        (failed(String::new(), vec![packed("google.protobuf.Any", deep.clone())]), "failure.details[0]"),
        (failed(String::new(), vec![packed("google.rpc.Status", in_a_status.encode_to_vec())]), "failure.details[0]"),
        (failed(String::new(), vec![packed("acme.v1.Unknown", vec![0; 100_000])]), "failure.details"),
        (failed(String::new(), vec![packed("acme.v1.Unknown", Vec::new()); 17]), "failure.details"),
        (failed(String::new(), vec![packed(&"n".repeat(1_000), Vec::new())]), "failure.details[0]"),
        (failed("m".repeat(100_000), Vec::new()), "failure.message"),
        (Decision::ResponseJson("[".repeat(1 << 20)), "response_json"),
        (Decision::Response(packed("google.protobuf.Any", deep.clone())), "response.type_url"),
    ] {
        let status = world.runs().await.resolve_step(resolving(&run, decision)).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status:?}");
        assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, field);
    }
    assert_eq!(world.show(&run.run_id).await.state(), RunState::NeedsDecision);
    let unknown = failed(String::from("it failed"), vec![packed("acme.v1.Unknown", deep)]);
    // No one here reads a message of a type that is not among the contracts, however deep it is.
    world.runs().await.resolve_step(resolving(&run, unknown)).await.unwrap();
    world.until_ended(&run.run_id).await;
    let shown = world.show(&run.run_id).await;
    assert_eq!(shown.error.unwrap().details[0].type_url, "type.googleapis.com/acme.v1.Unknown");
    let (exit, _, talk) = world.command(&["runs", "show", &run.run_id, "--output", "json"]).await;
    assert_eq!(exit, Exit::Ok, "{talk}");
}

/// A run whose only effect is in doubt.
async fn in_doubt(world: &World) -> Run {
    let run = world.runs().await.start_run(start("test.unsure", 0)).await.unwrap().into_inner();
    for _ in 0..500 {
        let run = world.show(&run.run_id).await;
        if run.state() == RunState::NeedsDecision {
            return run;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("run {} asks for no decision", run.run_id);
}

fn resolving(run: &Run, decision: Decision) -> ResolveStepRequest {
    let step = &run.steps[0];
    ResolveStepRequest {
        run_id: run.run_id.clone(),
        request_id: Uuid::new_v4().to_string(),
        reason: String::from("looked at the ledger"),
        step: step.path.clone(),
        incarnation: step.incarnation,
        attempts: step.attempts,
        decision: Some(decision),
    }
}

#[tokio::test]
async fn a_decision_is_typed_by_the_contract_of_the_method() {
    let world = World::start(losing()).await;
    let run = in_doubt(&world).await;
    let mut client = world.runs().await;
    let mut refused = async |decision: Decision| {
        let status = client.resolve_step(resolving(&run, decision)).await.unwrap_err();
        let violations = status.get_details_bad_request().unwrap().field_violations;
        violations.into_iter().map(|violation| violation.field).collect::<Vec<_>>()
    };
    let any = |name: &str, value: &[u8]| {
        Decision::Response(Any { type_url: format!("type.googleapis.com/{name}"), value: value.to_vec() })
    };
    assert_eq!(refused(Decision::ResponseJson(String::from("{\"users\": 1}"))).await, ["response_json.users"]);
    assert_eq!(refused(any("acme.users.v1.User", &[])).await, ["response.type_url"]);
    assert_eq!(refused(any("acme.users.v1.CreateUserResponse", &[0xff])).await, ["response.value"]);
    let status = server::proto::google::rpc::Status { code: 0, ..Default::default() };
    assert_eq!(refused(Decision::Failure(status)).await, ["failure.code"]);
    let twice = String::from("{\"user\": {\"userId\": \"a\", \"user_id\": \"b\"}}");
    assert_eq!(refused(Decision::ResponseJson(twice)).await, ["response_json.user.user_id"]);

    let elsewhere = ResolveStepRequest { step: String::from("Nowhere#0"), ..resolving(&run, Decision::AskAgain(())) };
    assert_eq!(world.runs().await.resolve_step(elsewhere).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    let early = world.runs().await.resolve_step(resolving(&run, Decision::AskAgain(()))).await.unwrap_err();
    assert_eq!(early.code(), tonic::Code::FailedPrecondition);
    let mut stale = resolving(&run, Decision::AskAgain(()));
    stale.attempts = 2;
    let stale = world.runs().await.resolve_step(stale).await.unwrap_err();
    assert_eq!(stale.code(), tonic::Code::FailedPrecondition);

    let user = User { user_id: String::from("u9"), ..User::default() };
    let response = CreateUserResponse { user: Some(user) }.encode_to_vec();
    let request = resolving(&run, any("acme.users.v1.CreateUserResponse", &response));
    let mut client = world.runs().await;
    client.resolve_step(request.clone()).await.unwrap();
    world.until_ended(&run.run_id).await;
    // The same request again answers with the run as it is by now.
    let again = client.resolve_step(request).await.unwrap().into_inner();
    assert_eq!((again.state(), again.run_id), (RunState::Succeeded, run.run_id));
}

#[tokio::test]
async fn the_command_line_decides_and_the_audit_trail_says_who() {
    let world = World::start(losing()).await;
    let run = in_doubt(&world).await;
    let path = &run.steps[0].path;
    let resolve = ["runs", "resolve", &run.run_id, path, "--reason", "ticket 7"];
    let with = |more: &[&'static str]| [&resolve[..], more].concat();
    let (exit, _, talk) = world.command(&with(&["--ask-again"])).await;
    assert_eq!(exit, Exit::Failed);
    assert!(talk.contains("ask again then"), "{talk}");
    assert_eq!(world.command(&with(&["--happened", "{\"nope\": 1}"])).await.0, Exit::Usage);
    assert_eq!(world.command(&with(&["--failed", "NOPE", "no"])).await.0, Exit::Usage);
    assert_eq!(world.command(&resolve).await.0, Exit::Usage);
    let (exit, _, talk) = world.command(&with(&["--failed", "ABORTED", "not there", "--caller", "ann@desk"])).await;
    assert_eq!((exit, talk.as_str()), (Exit::Ok, ""));
    world.until_ended(&run.run_id).await;
    let shown = world.show(&run.run_id).await;
    assert_eq!((shown.state(), shown.error.unwrap().message), (RunState::Failed, String::from("not there")));

    let (exit, out, _) = world.command(&["audit", "list", "--run", &run.run_id]).await;
    assert_eq!(exit, Exit::Ok);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 3, "{out}");
    assert!(lines[1].contains("ann@desk") && lines[1].contains("ResolveStep"), "{out}");
    assert!(lines[1].contains("it failed (ticket 7)"), "{out}");
    assert!(lines[2].contains("anonymous") && lines[2].contains("StartRun"), "{out}");
    let (exit, out, _) = world.command(&["audit", "list", "--limit", "1", "--output", "json"]).await;
    assert_eq!(exit, Exit::Ok);
    let page: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(page["auditEntries"][0]["method"].as_str(), Some("ResolveStep"));
    let token = page["nextPageToken"].as_str().unwrap();
    let (_, out, _) = world.command(&["audit", "list", "--limit", "1", "--page-token", token]).await;
    assert!(out.contains("StartRun"), "{out}");
}

#[tokio::test]
async fn a_change_by_the_command_line_is_by_user_at_host() {
    let world = World::start(Services::good()).await;
    world.command(&["runs", "start", "test.greet", "--wait"]).await;
    let mut client = AuditServiceClient::new(World::channel(&world.admin).await);
    let page = client.list_audit_entries(ListAuditEntriesRequest::default()).await.unwrap().into_inner();
    assert_eq!(page.audit_entries.len(), 1);
    assert!(page.audit_entries[0].caller.contains('@'), "{:?}", page.audit_entries[0]);
    assert!(!page.audit_entries[0].request_id.is_empty());
}

#[tokio::test]
async fn a_caller_that_is_too_long_is_refused() {
    let world = World::start(Services::good()).await;
    let mut request = tonic::Request::new(start("test.greet", 0));
    request.metadata_mut().insert("orchestrator-caller", "a".repeat(201).parse().unwrap());
    let status = world.runs().await.start_run(request).await.unwrap_err();
    let violations = status.get_details_bad_request().unwrap().field_violations;
    assert_eq!(violations[0].field, "orchestrator-caller");
}
