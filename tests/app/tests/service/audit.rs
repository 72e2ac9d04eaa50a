//! What the audit trail says of who called, of what was refused, and how it is searched and exported.

use server::access::Role;
use server::command_line::Exit;
use server::proto::orchestrator::admin::v1::audit_service_client::AuditServiceClient;
use server::proto::orchestrator::admin::v1::run_service_client::RunServiceClient;
use server::proto::orchestrator::admin::v1::*;
use tonic::{Code, Request, Status};
use uuid::Uuid;

use crate::access::{grant, static_token};
use crate::support::{Services, World, start};

/// Two who may do everything, one who may read, and one who may read of some workflows.
async fn world() -> World {
    World::configured(Services::good(), |configuration| {
        let admin = &mut configuration.admin;
        admin.tokens = ["ada", "ben", "reader", "naps"].map(|name| static_token(name, name)).to_vec();
        admin.grants = vec![
            grant("token:ada", Role::Admin, &[]),
            grant("token:ben", Role::Admin, &[]),
            grant("token:reader", Role::Viewer, &[]),
            grant("token:naps", Role::Viewer, &["test.nap"]),
        ];
    })
    .await
}

/// The request as one of them makes it, who says that it is somebody else.
fn by<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request.metadata_mut().insert("orchestrator-caller", "root@example".parse().unwrap());
    request
}

async fn runs(world: &World) -> RunServiceClient<tonic::transport::Channel> {
    RunServiceClient::new(World::channel(&world.admin).await)
}

async fn entries(world: &World, token: &str, filter: &str) -> Result<Vec<AuditEntry>, Status> {
    let mut client = AuditServiceClient::new(World::channel(&world.admin).await);
    let request = ListAuditEntriesRequest { filter: filter.to_owned(), ..ListAuditEntriesRequest::default() };
    client.list_audit_entries(by(token, request)).await.map(|answer| answer.into_inner().audit_entries)
}

fn greet() -> StartRunRequest {
    StartRunRequest { input_form: None, reason: String::from("because"), ..start("test.greet", 0) }
}

#[tokio::test]
async fn refused_calls_are_in_the_trail_counted_for_each_caller_and_method() {
    let world = world().await;
    let mut client = runs(&world).await;
    let unknown = Uuid::now_v7().to_string();
    for _ in 0..20 {
        let refused = client.start_run(by("reader", greet())).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
        let refused = client.start_run(by("a-wrong-one", greet())).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
        // Refused by the handler: the method is granted, the run is not.
        let of = GetRunRequest { run_id: unknown.clone(), ..GetRunRequest::default() };
        assert_eq!(client.get_run(by("naps", of)).await.unwrap_err().code(), Code::PermissionDenied);
    }
    // No refusal, whatever it is answered.
    let of = GetRunRequest { run_id: unknown, ..GetRunRequest::default() };
    assert_eq!(client.get_run(by("reader", of)).await.unwrap_err().code(), Code::NotFound);
    world.running.guard().write_refusals(world.running.engine()).await;

    let mut found = entries(&world, "reader", "refused_count > 0").await.unwrap();
    found.sort_by(|left, right| left.caller.cmp(&right.caller));
    // A minute may have ended between them, and they are written by a background service too.
    let mut counted: Vec<(String, String, i64)> = Vec::new();
    for entry in &found {
        assert_eq!((entry.claimed_caller.as_str(), entry.run_id.as_str()), ("root@example", ""));
        assert!(!entry.detail.contains("a-wrong-one"), "{}", entry.detail);
        match counted.last_mut() {
            Some((caller, _, count)) if *caller == entry.caller => *count += entry.refused_count,
            _ => counted.push((entry.caller.clone(), entry.method.clone(), entry.refused_count)),
        }
    }
    let told: Vec<_> =
        counted.iter().map(|(caller, method, count)| (caller.as_str(), method.as_str(), *count)).collect();
    assert_eq!(told, [("token:naps", "GetRun", 20), ("token:reader", "StartRun", 20), ("unproven", "StartRun", 20)]);
    assert!(found.iter().any(|entry| entry.detail.contains("expected a grant of the role operator")), "{found:?}");
    assert_eq!(entries(&world, "naps", "").await.unwrap(), [], "not for those who see some workflows only");
    world.running.drain().await;
}

#[tokio::test]
async fn the_trail_has_who_was_proven_and_what_it_calls_itself_and_is_searched_by_both() {
    let world = world().await;
    let mut client = runs(&world).await;
    let mut ids = Vec::new();
    for token in ["ada", "ben"] {
        ids.push(client.start_run(by(token, greet())).await.unwrap().into_inner().run_id);
    }
    let pin = PinRunRequest { run_id: ids[0].clone(), ..PinRunRequest::default() };
    client.pin_run(by("ben", pin)).await.unwrap();
    let told = async |filter: &str| {
        let found = entries(&world, "reader", filter).await.unwrap();
        found.into_iter().map(|entry| (entry.caller, entry.method)).collect::<Vec<_>>()
    };
    let expected = |of: &[(&str, &str)]| {
        of.iter().map(|(caller, method)| (format!("token:{caller}"), (*method).to_owned())).collect::<Vec<_>>()
    };
    let (of_run, both) = (format!("run_id = {}", ids[0]), format!("run_id = {} AND caller = token:ada", ids[0]));
    for (filter, found) in [
        ("", &[("ben", "PinRun"), ("ben", "StartRun"), ("ada", "StartRun")][..]),
        ("caller = \"token:ada\"", &[("ada", "StartRun")]),
        ("caller = token:b*", &[("ben", "PinRun"), ("ben", "StartRun")]),
        ("NOT method = StartRun", &[("ben", "PinRun")]),
        ("claimed_caller = \"root@example\" AND method != PinRun", &[("ben", "StartRun"), ("ada", "StartRun")]),
        ("create_time > \"2999-01-01T00:00:00Z\"", &[]),
        (
            "create_time < \"2999-01-01T00:00:00Z\" AND method = PinRun OR caller = token:ada",
            &[("ben", "PinRun"), ("ada", "StartRun")],
        ),
        (&of_run, &[("ben", "PinRun"), ("ada", "StartRun")]),
        (&both, &[("ada", "StartRun")]),
        ("schedule:*", &[]),
        ("workflow = test.gr*", &[("ben", "PinRun"), ("ben", "StartRun"), ("ada", "StartRun")]),
    ] {
        assert_eq!(told(filter).await, expected(found), "{filter}");
    }
    let wrong = entries(&world, "reader", "who = me").await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
    assert!(
        wrong.message().contains("filter: at character 1: \"who\" is no field; expected caller,"),
        "{}",
        wrong.message()
    );
    world.running.drain().await;
}

#[tokio::test]
async fn the_request_id_of_one_is_not_answered_with_the_result_of_another() {
    let world = world().await;
    let mut client = runs(&world).await;
    let request = StartRunRequest { request_id: Uuid::new_v4().to_string(), ..greet() };
    let first = client.start_run(by("ada", request.clone())).await.unwrap().into_inner().run_id;
    let again = client.start_run(by("ada", request.clone())).await.unwrap().into_inner().run_id;
    assert_eq!(first, again);
    let refused = client.start_run(by("ben", request)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(!refused.message().contains(&first), "{}", refused.message());
    world.running.drain().await;
}

#[tokio::test]
async fn the_command_line_exports_every_entry_as_a_line_of_json() {
    let world = World::start(Services::good()).await;
    let mut client = runs(&world).await;
    for _ in 0..3 {
        client.start_run(greet()).await.unwrap();
    }
    let (exit, lines, talk) = world.command(&["audit", "list", "--all", "--output", "json"]).await;
    assert_eq!(exit, Exit::Ok, "{talk}");
    let lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert!(lines.iter().all(|entry| entry["method"] == "StartRun" && entry["reason"] == "because"), "{lines:?}");
    let (exit, table, talk) = world.command(&["audit", "list", "--all", "--filter", "method = StartRun"]).await;
    assert_eq!((exit, table.lines().count()), (Exit::Ok, 4), "{talk}");
    let (exit, _, talk) = world.command(&["audit", "list", "--filter", "method ~ StartRun"]).await;
    assert_eq!(exit, Exit::Usage, "{talk}");
    world.running.drain().await;
}
