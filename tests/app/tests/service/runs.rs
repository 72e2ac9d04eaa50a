//! What the admin API answers about runs and workflows.

use std::time::Duration;

use engine::transport::Outcome;
use engine::{Code as FailureCode, Failure};
use futures_util::StreamExt;
use prost::Message;
use prost_reflect::DescriptorPool;
use prost_types::Any;
use server::proto::orchestrator::admin::v1::start_run_request::InputForm;
use server::proto::orchestrator::admin::v1::{
    CancelRunRequest, GetRunRequest, GetWorkflowRequest, ListRunsRequest, ListWorkflowsRequest, RetryRunRequest, Run,
    RunState, RunView, StartRunRequest, WatchRunRequest, step,
};
use test_app::contracts::acme::orchestration::greetings::v1::{GreetRequest, GreetResponse};
use test_app::contracts::acme::users::v1::{CreateUserRequest, GetUserResponse, User};
use tonic::Code;
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::support::{Services, World, start};

fn get(run: &Run) -> GetRunRequest {
    GetRunRequest { run_id: run.run_id.clone(), ..GetRunRequest::default() }
}

fn unpacked<M: Message + Default>(any: Option<&Any>) -> M {
    M::decode(any.unwrap().value.as_slice()).unwrap()
}

#[tokio::test]
async fn a_start_that_waits_answers_with_the_end_and_the_output() {
    let world = World::start(Services::good()).await;
    let run = world.greet().await;
    assert_eq!(run.state(), RunState::Succeeded);
    assert_eq!(unpacked::<GreetResponse>(run.output.as_ref()).due, 7);
    assert_eq!(run.workflow, "test.greet");
    assert!(run.end_time.is_some());
    assert!(run.steps.is_empty());
}

#[tokio::test]
async fn a_start_that_does_not_wait_answers_at_once_and_the_run_is_there() {
    let world = World::start(Services::good()).await;
    let run = world.runs().await.start_run(start("test.nap", 0)).await.unwrap().into_inner();
    assert!(run.end_time.is_none());
    let found = world.runs().await.get_run(get(&run)).await.unwrap().into_inner();
    assert_eq!(found.run_id, run.run_id);
}

#[tokio::test]
async fn a_packed_input_is_taken_as_it_is() {
    let world = World::start(Services::good()).await;
    let packed = Any::from_msg(&GreetRequest { limit: 9, ..GreetRequest::default() }).unwrap();
    let request = StartRunRequest { input_form: Some(InputForm::Input(packed)), ..start("test.greet", 10) };
    let run = world.runs().await.start_run(request).await.unwrap().into_inner();
    assert_eq!(unpacked::<GreetResponse>(run.output.as_ref()).due, 9);
}

#[tokio::test]
async fn steps_are_shown_decoded_and_without_personal_data() {
    let world = World::start(Services::good()).await;
    let run = world.greet().await;
    let run = world.runs().await.get_run(get(&run)).await.unwrap().into_inner();
    assert_eq!(unpacked::<GreetRequest>(run.input.as_ref()).limit, 7);
    let paths: Vec<&str> = run.steps.iter().map(|step| step.path.as_str()).collect();
    assert_eq!(paths, ["GetUser#0", "CreateUser#1"]);

    let [read, create] = run.steps.as_slice() else { panic!("{:?}", run.steps) };
    assert_eq!((read.level.as_str(), create.level.as_str()), ("NO_SIDE_EFFECTS", "IDEMPOTENT"));
    assert_eq!(create.state(), step::State::Succeeded);
    let user = unpacked::<GetUserResponse>(read.response.as_ref()).user.unwrap();
    assert_eq!((user.user_id.as_str(), user.email.as_str(), user.name.as_str()), ("u1", "", ""));
    let request = create.request.as_ref();
    assert_eq!(request.unwrap().type_url, "type.googleapis.com/acme.users.v1.CreateUserRequest");
    let request = unpacked::<CreateUserRequest>(request);
    assert_eq!((request.email.as_str(), request.name.as_str()), ("", ""));
    assert_eq!(request.request_id, create.idempotency_key);
}

#[tokio::test]
async fn the_basic_view_and_max_steps_show_less() {
    let world = World::start(Services::refusing()).await;
    let run = world.greet().await;
    let mut client = world.runs().await;
    let basic = GetRunRequest { view: RunView::Basic.into(), ..get(&run) };
    let basic = client.get_run(basic).await.unwrap().into_inner();
    assert!(basic.steps.is_empty() && basic.input.is_none());
    assert_eq!(basic.step_count, 2);
    let one = client.get_run(GetRunRequest { max_steps: 1, ..get(&run) }).await.unwrap().into_inner();
    let paths: Vec<&str> = one.steps.iter().map(|step| step.path.as_str()).collect();
    assert_eq!(paths, ["CreateUser#1"], "the step that failed comes first");
}

#[tokio::test]
async fn a_failed_run_names_its_error_and_step_and_can_be_retried() {
    let world = World::start(Services::refusing()).await;
    let run = world.greet().await;
    assert_eq!(run.state(), RunState::Failed);
    let error = run.error.as_ref().unwrap();
    assert_eq!((error.code, error.message.as_str()), (Code::AlreadyExists as i32, "there is one"));
    assert_eq!(run.error_step, "CreateUser#1");

    let retry = RetryRunRequest {
        run_id: run.run_id.clone(),
        request_id: Uuid::new_v4().to_string(),
        reason: String::from("once more"),
        ..RetryRunRequest::default()
    };
    let retried = world.runs().await.retry_run(retry).await.unwrap().into_inner();
    assert_eq!(retried.run_id, run.run_id);
}

#[tokio::test]
async fn the_same_request_id_starts_one_run_and_another_request_under_it_is_refused() {
    let world = World::start(Services::good()).await;
    let mut client = world.runs().await;
    let request = StartRunRequest { request_id: Uuid::new_v4().to_string(), ..start("test.greet", 0) };
    let first = client.start_run(request.clone()).await.unwrap().into_inner();
    let again = StartRunRequest { wait: Some(prost_types::Duration { seconds: 10, nanos: 0 }), ..request.clone() };
    let second = client.start_run(again).await.unwrap().into_inner();
    assert_eq!(first.run_id, second.run_id);
    assert_eq!(second.state(), RunState::Succeeded);

    let other = StartRunRequest { input_form: None, ..request };
    let status = client.start_run(other).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.get_details_error_info().unwrap().reason, "REQUEST_ID_REUSED");
    assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "request_id");
}

#[tokio::test]
async fn a_watch_tells_each_state_and_ends_with_the_run() {
    let world = World::start(Services::good()).await;
    let mut client = world.runs().await;
    let run = client.start_run(start("test.nap", 0)).await.unwrap().into_inner();
    let watch = WatchRunRequest { run_id: run.run_id.clone(), ..WatchRunRequest::default() };
    let mut states = client.watch_run(watch).await.unwrap().into_inner();
    let first = states.next().await.unwrap().unwrap();
    assert!(first.end_time.is_none());

    let cancel = CancelRunRequest {
        run_id: run.run_id.clone(),
        reason: String::from("enough slept"),
        ..CancelRunRequest::default()
    };
    let answered = world.runs().await.cancel_run(cancel).await.unwrap().into_inner();
    assert_eq!(answered.cancel_reason, "enough slept");
    let rest: Vec<Run> = states.map(Result::unwrap).collect().await;
    let last = rest.last().unwrap();
    assert_eq!(last.state(), RunState::Cancelled);
    assert!(rest.windows(2).all(|pair| pair[0] != pair[1]), "no state is told twice");
}

#[tokio::test]
async fn a_watch_of_a_run_that_has_ended_tells_it_once() {
    let world = World::start(Services::good()).await;
    let run = world.greet().await;
    let watch = WatchRunRequest { run_id: run.run_id, ..WatchRunRequest::default() };
    let states: Vec<_> = world.runs().await.watch_run(watch).await.unwrap().into_inner().collect().await;
    assert_eq!(states.len(), 1);
}

#[tokio::test]
async fn lists_page_newest_first_and_a_token_belongs_to_its_arguments() {
    let world = World::start(Services::good()).await;
    let mut client = world.runs().await;
    let mut started = Vec::new();
    for _ in 0..5 {
        started.insert(0, world.greet().await.run_id);
    }
    let mut listed = Vec::new();
    let mut request = ListRunsRequest {
        page_size: 2,
        workflow: String::from("test.greet"),
        states: vec![RunState::Succeeded.into()],
        ..ListRunsRequest::default()
    };
    loop {
        let page = client.list_runs(request.clone()).await.unwrap().into_inner();
        assert!(page.runs.len() <= 2);
        listed.extend(page.runs.into_iter().map(|run| run.run_id));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(listed, started);

    let changed = ListRunsRequest { states: Vec::new(), ..request };
    let status = client.list_runs(changed).await.unwrap_err();
    assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "page_token");
}

#[tokio::test]
async fn workflows_tell_their_messages_an_example_and_when_they_run_next() {
    let world = World::start(Services::good()).await;
    let mut client = world.workflows().await;
    // The schedule is declared by a background service, a moment after the start.
    let scheduled = async {
        loop {
            let page = client.list_workflows(ListWorkflowsRequest::default()).await.unwrap().into_inner();
            if !page.workflows[0].schedules.is_empty() {
                return page.workflows;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let workflows = tokio::time::timeout(Duration::from_secs(5), scheduled).await.unwrap();
    let names: Vec<&str> = workflows.iter().map(|workflow| workflow.workflow.as_str()).collect();
    assert_eq!(
        names,
        [
            "test.greet",
            "test.invite",
            "test.nap",
            "test.round",
            "test.stay",
            "test.undeclared",
            "test.unsure",
            "test.wait"
        ]
    );
    let schedule = &workflows[0].schedules[0];
    assert_eq!(schedule.schedule, "hourly");
    assert_eq!(schedule.next_time.unwrap().seconds % 3_600, 0);

    let request = GetWorkflowRequest { workflow: String::from("test.greet") };
    let workflow = world.workflows().await.get_workflow(request).await.unwrap().into_inner();
    let example: serde_json::Value = serde_json::from_str(&workflow.input_example_json).unwrap();
    assert_eq!(example, serde_json::json!({"limit": 0, "text": ""}));
    let pool = DescriptorPool::from_file_descriptor_set(workflow.descriptors.unwrap()).unwrap();
    assert!(pool.get_message_by_name(&workflow.input_type).is_some());
    assert!(pool.get_message_by_name(&workflow.output_type).is_some());
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let world = World::start(Services::good()).await;
    let mut client = world.runs().await;
    let unknown = GetRunRequest { run_id: Uuid::new_v4().to_string(), ..GetRunRequest::default() };
    let status = client.get_run(unknown).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(status.get_details_error_info().unwrap().reason, "RUN_NOT_FOUND");
    let status = client.start_run(start("test.nope", 0)).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let info = status.get_details_error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.metadata["workflow"].as_str()), ("UNKNOWN_WORKFLOW", "test.nope"));
}

#[tokio::test]
async fn cancel_of_a_run_that_has_ended_is_a_failed_precondition() {
    let world = World::start(Services::good()).await;
    let run = world.greet().await;
    let cancel = CancelRunRequest { run_id: run.run_id, ..CancelRunRequest::default() };
    let status = world.runs().await.cancel_run(cancel).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(status.get_details_error_info().unwrap().reason, "RUN_STATE");
}

#[tokio::test]
async fn a_run_goes_on_where_its_caller_goes_away() {
    let (entered, mut calls) = tokio::sync::mpsc::unbounded_channel();
    let services = Services::new(move |_, _| {
        let _ = entered.send(());
        Outcome::Done(bytes::Bytes::new())
    });
    let world = World::start(services).await;
    let mut client = world.runs().await;
    let call = tokio::spawn(async move { client.start_run(start("test.greet", 60)).await });
    calls.recv().await.unwrap();
    call.abort();
    let ended = async {
        loop {
            let page = world.runs().await.list_runs(ListRunsRequest::default()).await.unwrap().into_inner();
            if page.runs.first().is_some_and(|run| run.state() == RunState::Succeeded) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), ended).await.unwrap();
}

#[tokio::test]
async fn a_drain_answers_waits_ends_streams_and_gives_runs_back() {
    let world = World::start(Services::good()).await;
    let mut client = world.runs().await;
    let run = client.start_run(start("test.nap", 0)).await.unwrap().into_inner();
    let watch = WatchRunRequest { run_id: run.run_id.clone(), ..WatchRunRequest::default() };
    let mut states = client.watch_run(watch).await.unwrap().into_inner();
    states.next().await.unwrap().unwrap();
    let mut waiting = world.runs().await;
    let waiting = tokio::spawn(async move { waiting.start_run(start("test.nap", 3_600)).await });
    while client.list_runs(ListRunsRequest::default()).await.unwrap().into_inner().runs.len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    let before = std::time::Instant::now();
    world.running.drain().await;
    assert!(before.elapsed() < Duration::from_secs(4), "{:?}", before.elapsed());
    let rest: Vec<_> = states.collect().await;
    let last = rest.into_iter().find_map(Result::err).unwrap();
    assert_eq!(last.code(), Code::Unavailable);
    assert_eq!(last.get_details_error_info().unwrap().reason, "DRAINING");
    let answered = waiting.await.unwrap().unwrap().into_inner();
    assert!(answered.end_time.is_none(), "the start is durable, so its answer is the run as it is");
}

#[tokio::test]
async fn a_run_with_large_payloads_is_shown_within_what_clients_take() {
    let large = Services::new(|path, _| {
        let user = User { user_id: String::from("u1"), name: "x".repeat(1_900_000), ..User::default() };
        let answer = GetUserResponse { user: Some(user) };
        match path {
            "/acme.users.v1.UserService/GetUser" => Outcome::Done(answer.encode_to_vec().into()),
            _ => Outcome::Refused(Failure::new(FailureCode::Aborted, "m".repeat(60_000))),
        }
    });
    let world = World::start(large).await;
    let run = world.greet().await;
    assert!(run.encoded_len() < 1 << 20, "{}", run.encoded_len());
    // A client takes 4 MiB unless told otherwise.
    let run = world.show(&run.run_id).await;
    let omitted: Vec<bool> = run.steps.iter().map(|step| step.payloads_omitted).collect();
    assert_eq!(omitted, [false, true], "{:?}", run.steps);
    assert!(run.input.is_some() && !run.payloads_omitted);
    let list = ListRunsRequest::default();
    let listed = world.runs().await.list_runs(list).await.unwrap().into_inner();
    assert!(listed.encoded_len() < 10_000, "{}", listed.encoded_len());
}
