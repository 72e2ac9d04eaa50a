//! Steps of a run, page by page and one by one: nothing of a run is out of reach because it is large.

use server::command_line::Exit;
use server::proto::orchestrator::admin::v1::get_step_request::Payload;
use server::proto::orchestrator::admin::v1::*;
use tonic::{Code, Status};

use crate::support::{Services, World, start};

async fn page(world: &World, request: ListStepsRequest) -> Result<ListStepsResponse, Status> {
    world.runs().await.list_steps(request).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn steps_are_listed_in_pages_by_filter_and_shown_one_by_one() {
    let world = World::start(Services::good()).await;
    let run = StartRunRequest { input_form: None, ..start("test.greet", 20) };
    let run_id = world.runs().await.start_run(run).await.unwrap().into_inner().run_id;
    let of = |page_size, filter: &str, page_token: &str| ListStepsRequest {
        run_id: run_id.clone(),
        page_size,
        filter: filter.to_owned(),
        page_token: page_token.to_owned(),
    };
    let first = page(&world, of(1, "", "")).await.unwrap();
    let second = page(&world, of(1, "", &first.next_page_token)).await.unwrap();
    let all = page(&world, of(0, "", "")).await.unwrap().steps;
    assert_eq!([first.steps, second.steps].concat(), all);
    assert_eq!((all.len(), second.next_page_token.as_str()), (2, ""));
    assert!(all.iter().all(|step| step.request.is_none() && step.response.is_none()), "{all:?}");
    for (filter, expected) in [
        ("path = \"GetUser*\"", &all[..1]),
        ("NOT path = GetUser*", &all[1..]),
        ("state = SUCCEEDED AND kind = CALL", &all[..]),
        ("attempts > 1 OR undone = true", &[]),
        ("method = \"/acme.users.v1.UserService/CreateUser\"", &all[1..]),
    ] {
        assert_eq!(page(&world, of(0, filter, "")).await.unwrap().steps, expected, "{filter}");
    }
    for wrong in [of(-1, "", ""), of(0, "input = 1", ""), of(0, "", "x"), of(1, "attempts > 1", &first.next_page_token)]
    {
        assert_eq!(page(&world, wrong).await.unwrap_err().code(), Code::InvalidArgument);
    }

    let step = async |path: &str, payload: Payload| {
        let request = GetStepRequest { run_id: run_id.clone(), step: path.to_owned(), payload: payload.into() };
        world.runs().await.get_step(request).await.map(tonic::Response::into_inner)
    };
    let path = all[1].path.clone();
    let both = step(&path, Payload::Unspecified).await.unwrap();
    let request = step(&path, Payload::Request).await.unwrap();
    let response = step(&path, Payload::Response).await.unwrap();
    assert!(both.request.is_some() && both.response.is_some(), "{both:?}");
    assert_eq!((&request.request, &request.response), (&both.request, &None));
    assert_eq!((&response.request, &response.response), (&None, &both.response));
    assert_eq!(step("nothing#1", Payload::Unspecified).await.unwrap_err().code(), Code::NotFound);

    let (exit, table, talk) = world.command(&["runs", "steps", &run_id, "--filter", "kind = CALL"]).await;
    assert_eq!((exit, table.lines().count()), (Exit::Ok, 3), "{talk} {table}");
    let (exit, lines, talk) = world.command(&["runs", "steps", &run_id, "--output", "json"]).await;
    assert_eq!((exit, lines.lines().count()), (Exit::Ok, 2), "{talk} {lines}");
    world.running.drain().await;
}
