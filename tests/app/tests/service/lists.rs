//! Lists and counts of runs: by filter (AIP-160), from either end, and what a filter costs.

use server::command_line::Exit;
use server::proto::orchestrator::admin::v1::bulk_service_client::BulkServiceClient;
use server::proto::orchestrator::admin::v1::*;
use tonic::Code;

use crate::support::{Services, World, start};

/// Two runs that succeed, one that fails, and one that waits, in this order.
async fn world() -> (World, Vec<String>) {
    let world = World::start(Services::refusing()).await;
    let mut client = world.runs().await;
    let mut ids = Vec::new();
    for (workflow, seconds) in [("test.greet", 20), ("test.greet", 20), ("test.nap", 0)] {
        let request = StartRunRequest { input_form: None, ..start(workflow, seconds) };
        ids.push(client.start_run(request).await.unwrap().into_inner().run_id);
    }
    (world, ids)
}

async fn listed(world: &World, filter: &str, order_by: &str) -> (Vec<String>, bool) {
    let request =
        ListRunsRequest { filter: filter.to_owned(), order_by: order_by.to_owned(), ..ListRunsRequest::default() };
    let page = world.runs().await.list_runs(request).await.unwrap().into_inner();
    (page.runs.into_iter().map(|run| run.run_id).collect(), page.full_scan)
}

#[tokio::test]
async fn runs_are_filtered_ordered_and_counted() {
    let (world, ids) = world().await;
    let failed = CountRunsRequest { filter: String::from("workflow = test.greet") };
    let counted = world.runs().await.count_runs(failed).await.unwrap().into_inner();
    let state = counted.run_counts[0].state();
    assert_eq!((counted.run_counts.len(), counted.total_count, counted.run_counts[0].run_count), (1, 2, 2));
    let newest: Vec<String> = ids.iter().rev().cloned().collect();
    let (of_state, code) = (format!("state = {}", state.as_str_name()), "error.code = ALREADY_EXISTS");
    let pin = PinRunRequest { run_id: ids[1].clone(), ..PinRunRequest::default() };
    world.runs().await.pin_run(pin).await.unwrap();
    for (filter, order_by, found, full_scan) in [
        ("", "", &newest[..], false),
        ("", "create_time", &ids[..], false),
        ("workflow = \"test.nap\"", "", &ids[2..], false),
        ("workflow = test.g*", "create_time", &ids[..2], false),
        (&of_state, "create_time desc", &newest[1..], false),
        (code, "create_time", if state == RunState::Failed { &ids[..2] } else { &[] }, true),
        ("pinned = true", "", &ids[1..2], true),
        ("NOT pinned = true AND workflow != test.nap", "", &ids[..1], true),
        ("schedule:*", "", &[], true),
        ("create_time >= \"2026-01-01T00:00:00Z\" AND workflow = test.nap", "", &ids[2..], false),
        ("create_time < \"2026-01-01T00:00:00Z\"", "", &[], false),
        ("parent_run_id = 018f4f5e-0000-7000-8000-000000000000", "", &[], false),
        ("end_time:*", "create_time", &ids[..2], true),
    ] {
        assert_eq!(listed(&world, filter, order_by).await, (found.to_vec(), full_scan), "{filter}");
    }
    let wrong = ListRunsRequest { filter: String::from("state = FALIED"), ..ListRunsRequest::default() };
    let told = world.runs().await.list_runs(wrong).await.unwrap_err();
    assert_eq!(told.code(), Code::InvalidArgument);
    assert!(told.message().contains("filter: at character 9: expected one of PENDING"), "{}", told.message());
    world.running.drain().await;
}

#[tokio::test]
async fn a_filter_selects_the_runs_of_a_bulk_operation_and_is_no_wish_for_all() {
    let (world, ids) = world().await;
    let mut client = BulkServiceClient::new(World::channel(&world.admin).await);
    let pin = SteerRunsRequest {
        action: BulkAction::Pin.into(),
        filter: String::from("workflow = test.g* AND NOT pinned = true"),
        reason: String::from("keep them"),
        ..SteerRunsRequest::default()
    };
    let mut answers = client.steer_runs(pin.clone()).await.unwrap().into_inner();
    let mut steered = Vec::new();
    while let Some(answer) = answers.message().await.unwrap() {
        assert_eq!(answer.error, None);
        steered.push(answer.run_id);
    }
    steered.reverse();
    assert_eq!(steered, ids[..2]);
    assert_eq!(listed(&world, "pinned = true", "create_time").await.0, ids[..2]);
    let all = client.steer_runs(SteerRunsRequest { filter: String::from("  "), ..pin }).await;
    assert_eq!(all.unwrap_err().code(), Code::InvalidArgument);
    world.running.drain().await;
}

#[tokio::test]
async fn the_command_line_lists_and_counts_by_filter() {
    let (world, ids) = world().await;
    let (exit, table, talk) = world.command(&["runs", "list", "--filter", "workflow = test.nap"]).await;
    assert_eq!(exit, Exit::Ok, "{talk}");
    assert!(table.contains(&ids[2]) && !table.contains(&ids[0]), "{table}");
    let (exit, table, talk) = world.command(&["runs", "list", "--oldest-first"]).await;
    assert_eq!(exit, Exit::Ok, "{talk}");
    assert!(table.find(&ids[0]) < table.find(&ids[2]), "{table}");
    let (exit, table, talk) = world.command(&["runs", "count"]).await;
    assert_eq!(exit, Exit::Ok, "{talk}");
    assert!(table.contains("total") && table.lines().last().unwrap().ends_with('3'), "{table}");
    let (exit, _, talk) = world.command(&["runs", "count", "--filter", "state"]).await;
    assert_eq!(exit, Exit::Usage, "{talk}");
    world.running.drain().await;
}
