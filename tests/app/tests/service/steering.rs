//! Operators stop, hurry, keep and remove runs, one by one and in bulk, over the admin API and the command line.

use futures_util::StreamExt;
use serde_json::Value;
use server::command_line::Exit;
use server::proto::orchestrator::admin::v1::{BulkAction, RunState, SteerRunsRequest, SteerRunsResponse};
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::support::{Services, World, start};

async fn napping(world: &World) -> String {
    let run = world.runs().await.start_run(start("test.nap", 0)).await.unwrap().into_inner();
    until(world, &run.run_id, RunState::Waiting).await;
    run.run_id
}

async fn until(world: &World, run: &str, state: RunState) {
    for _ in 0..500 {
        if world.show(run).await.state() == state {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("run is {:?}, not {state:?}", world.show(run).await.state());
}

#[tokio::test]
async fn a_run_is_paused_shown_resumed_and_ended_by_force() {
    let world = World::start(Services::good()).await;
    let run = napping(&world).await;
    let (exit, out, _) = world.command(&["runs", "pause", &run, "--stop-clock", "--reason", "maintenance"]).await;
    assert_eq!(exit, Exit::Ok);
    assert!(out.contains("its clock stands (maintenance)"), "{out}");
    until(&world, &run, RunState::Paused).await;
    assert_eq!(world.command(&["runs", "pause", &run]).await.0, Exit::Ok);
    let (exit, out, _) = world.command(&["runs", "resume", &run]).await;
    assert_eq!(exit, Exit::Ok);
    assert!(!out.contains("maintenance"), "{out}");
    until(&world, &run, RunState::Waiting).await;
    let (exit, _, talk) = world.command(&["runs", "resume", &run]).await;
    assert_eq!(exit, Exit::Failed);
    assert!(talk.contains("FAILED_PRECONDITION"), "{talk}");
    let (exit, _, talk) = world.command(&["runs", "skip-back-off", &run]).await;
    assert_eq!(exit, Exit::Failed);
    assert!(talk.contains("no step waits for its next attempt"), "{talk}");
    let (exit, out, _) = world.command(&["runs", "terminate", &run, "--reason", "stuck"]).await;
    assert_eq!(exit, Exit::Ok);
    assert!(out.contains("State      TERMINATED"), "{out}");
}

#[tokio::test]
async fn a_run_is_pinned_and_deleted_and_its_audit_trail_stays() {
    let world = World::start(Services::good()).await;
    let run = world.greet().await.run_id;
    let (exit, out, _) = world.command(&["runs", "pin", &run]).await;
    assert_eq!(exit, Exit::Ok);
    assert!(out.contains("Pinned     yes") && !out.contains("Expires"), "{out}");
    let (_, out, _) = world.command(&["runs", "unpin", &run]).await;
    assert!(!out.contains("Pinned") && out.contains("Expires"), "{out}");
    let napping = napping(&world).await;
    assert_eq!(world.command(&["runs", "delete", &napping]).await.0, Exit::Failed);
    assert_eq!(world.command(&["runs", "delete", &run]).await.0, Exit::Ok);
    let (exit, _, talk) = world.command(&["runs", "show", &run]).await;
    assert_eq!(exit, Exit::Usage);
    assert!(talk.contains("NOT_FOUND"), "{talk}");
    let (_, out, _) = world.command(&["audit", "list", "--run", &run]).await;
    let methods: Vec<&str> = out.lines().skip(1).filter_map(|line| line.split_whitespace().nth(2)).collect();
    assert_eq!(methods, ["DeleteRun", "UnpinRun", "PinRun", "StartRun"]);
}

#[tokio::test]
async fn a_retry_from_a_step_can_be_tried_dry() {
    let world = World::start(Services::refusing()).await;
    let run = world.greet().await.run_id;
    let (exit, out, _) = world.command(&["runs", "retry", &run, "--from", "GetUser#0", "--dry-run"]).await;
    assert_eq!(exit, Exit::Ok);
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[1].starts_with("GetUser#0") && lines[1].ends_with("none"), "{out}");
    assert!(lines[2].starts_with("CreateUser#1") && lines[2].ends_with("made again under a new key"), "{out}");
    assert_eq!(world.show(&run).await.state(), RunState::Failed);
    assert_eq!(world.command(&["runs", "retry", &run, "--from", "GetUser#0"]).await.0, Exit::Ok);
    assert_eq!(world.command(&["runs", "retry", &run, "--from", "Nothing#0"]).await.0, Exit::Failed);
}

#[tokio::test]
async fn a_blocked_run_is_shown_with_what_a_retry_does_and_with_what_its_end_leaves() {
    let world = World::start(Services::good()).await;
    let run = world.runs().await.start_run(start("test.undeclared", 0)).await.unwrap().into_inner().run_id;
    until(&world, &run, RunState::Blocked).await;
    let (exit, out, talk) = world.command(&["runs", "retry", &run, "--dry-run"]).await;
    assert_eq!((exit, talk.as_str()), (Exit::Ok, ""));
    assert_eq!(out, "no step would be made again; the run would continue from where it is\n");
    let (exit, out, _) = world.command(&["runs", "terminate", &run]).await;
    assert_eq!(exit, Exit::Ok);
    assert!(!out.contains("To undo"), "nothing will be undone: {out}");
    let (_, out, _) = world.command(&["runs", "show", &run]).await;
    assert!(out.contains("Not undone CreateUser#0") && !out.contains("To undo"), "{out}");
}

async fn steered(world: &World, request: SteerRunsRequest) -> Vec<SteerRunsResponse> {
    let channel = World::channel(&world.admin).await;
    let mut client = server::proto::orchestrator::admin::v1::bulk_service_client::BulkServiceClient::new(channel);
    let answers = client.steer_runs(request).await.unwrap().into_inner();
    answers.map(Result::unwrap).collect().await
}

#[tokio::test]
async fn a_bulk_finds_does_and_says_what_came_of_each_run() {
    let world = World::start(Services::good()).await;
    let mut naps = Vec::new();
    for _ in 0..3 {
        naps.push(napping(&world).await);
    }
    world.greet().await;
    let request = SteerRunsRequest {
        action: BulkAction::Cancel.into(),
        workflow: String::from("test.nap"),
        states: vec![RunState::Waiting.into()],
        validate_only: true,
        reason: String::from("all naps are over"),
        request_id: Uuid::new_v4().to_string(),
        max_rate: 1_000,
        ..SteerRunsRequest::default()
    };
    naps.reverse();
    let found = steered(&world, request.clone()).await;
    assert!(found.iter().map(|answer| &answer.run_id).eq(&naps), "newest first");
    assert!(naps.len() == 3 && found.iter().all(|answer| answer.error.is_none()));
    until(&world, &naps[0], RunState::Waiting).await;

    let bounded = SteerRunsRequest { validate_only: false, max_runs: 1, ..request.clone() };
    assert_eq!(steered(&world, bounded).await.len(), 1);
    until(&world, &naps[0], RunState::Cancelled).await;
    until(&world, &naps[1], RunState::Waiting).await;
    let (exit, out, talk) = world
        .command(&["runs", "bulk", "cancel", "--workflow", "test.nap", "--state", "waiting", "--reason", "over"])
        .await;
    assert_eq!((exit, out.lines().count()), (Exit::Ok, 2), "{talk}");
    assert!(talk.contains("2 done, 0 not"), "{talk}");
    until(&world, &naps[2], RunState::Cancelled).await;

    // What cannot be done is said for each run.
    let (exit, out, talk) = world
        .command(&["runs", "bulk", "resume", "--workflow", "test.nap", "--reason", "wake", "--output", "json"])
        .await;
    assert_eq!(exit, Exit::Failed, "{talk}");
    let answers: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 3);
    assert!(answers.iter().all(|answer| answer["error"]["code"] == 9), "{out}");
}

#[tokio::test]
async fn a_bulk_that_is_repeated_changes_no_runs_but_those_of_the_first() {
    let world = World::start(Services::good()).await;
    let selected = napping(&world).await;
    let request = SteerRunsRequest {
        action: BulkAction::Pause.into(),
        workflow: String::from("test.nap"),
        states: vec![RunState::Waiting.into()],
        reason: String::from("maintenance"),
        request_id: Uuid::new_v4().to_string(),
        max_rate: 1_000,
        ..SteerRunsRequest::default()
    };
    assert_eq!(steered(&world, request.clone()).await.len(), 1);
    until(&world, &selected, RunState::Paused).await;
    world.command(&["runs", "resume", &selected]).await;
    until(&world, &selected, RunState::Waiting).await;
    let later = napping(&world).await;

    let again = steered(&world, request.clone()).await;
    assert_eq!(again.iter().map(|answer| answer.run_id.as_str()).collect::<Vec<_>>(), [selected.as_str()]);
    until(&world, &selected, RunState::Waiting).await;
    until(&world, &later, RunState::Waiting).await;
    let (_, out, _) = world.command(&["audit", "list", "--run", &selected]).await;
    assert_eq!(out.matches("PauseRun").count(), 1, "{out}");

    let channel = World::channel(&world.admin).await;
    let mut client = server::proto::orchestrator::admin::v1::bulk_service_client::BulkServiceClient::new(channel);
    let other = SteerRunsRequest { action: BulkAction::Cancel.into(), ..request };
    let status = client.steer_runs(other).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status:?}");
}

#[tokio::test]
async fn a_bulk_over_everything_is_refused() {
    let world = World::start(Services::good()).await;
    let channel = World::channel(&world.admin).await;
    let mut client = server::proto::orchestrator::admin::v1::bulk_service_client::BulkServiceClient::new(channel);
    let status = client.steer_runs(SteerRunsRequest { max_rate: -1, ..Default::default() }).await.unwrap_err();
    let fields: Vec<String> = status
        .get_details_bad_request()
        .unwrap()
        .field_violations
        .into_iter()
        .map(|violation| violation.field)
        .collect();
    assert_eq!(fields, ["action", "states", "max_rate"]);
}
