//! Signals over the admin API and the command line.

use engine::engine::Seen;
use prost::Message;
use prost_types::Any;
use server::command_line::Exit;
use server::proto::orchestrator::admin::v1::signal_run_request::MessageForm;
use server::proto::orchestrator::admin::v1::step::{Kind, State};
use server::proto::orchestrator::admin::v1::{GetWorkflowRequest, Run, RunState, SignalRunRequest};
use test_app::contracts::acme::users::v1::User;
use tonic::Code;
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::support::{Services, World, start};

/// A run that waits for its signal.
async fn waiting(world: &World) -> Run {
    let run = world.runs().await.start_run(start("test.wait", 0)).await.unwrap().into_inner();
    for _ in 0..500 {
        let run = world.show(&run.run_id).await;
        if run.state() == RunState::Waiting {
            return run;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("run {} does not wait", run.run_id);
}

fn arrived(run: &Run, json: &str) -> SignalRunRequest {
    SignalRunRequest {
        run_id: run.run_id.clone(),
        request_id: Uuid::new_v4().to_string(),
        signal: String::from("arrived"),
        message_form: Some(MessageForm::MessageJson(json.to_owned())),
        reason: String::new(),
    }
}

#[tokio::test]
async fn a_signal_is_typed_and_comes_once_and_is_shown_redacted() {
    let world = World::start(Services::good()).await;
    let run = waiting(&world).await;
    assert_eq!((run.steps[0].kind(), run.steps[0].state()), (Kind::Signal, State::Waiting));
    let mut client = world.runs().await;
    let mut refused = async |request: SignalRunRequest| client.signal_run(request).await.unwrap_err();

    let unknown = refused(SignalRunRequest { signal: String::from("left"), ..arrived(&run, "{}") }).await;
    assert_eq!(unknown.code(), Code::InvalidArgument);
    assert_eq!(unknown.message(), "workflow test.wait takes no signal \"left\"; it takes arrived");
    let misfit = refused(arrived(&run, "{\"nope\": 1}")).await;
    assert_eq!(misfit.get_details_bad_request().unwrap().field_violations[0].field, "message_json.nope");
    let other = Any { type_url: String::from("type.googleapis.com/acme.users.v1.GetUserRequest"), value: Vec::new() };
    let other =
        refused(SignalRunRequest { message_form: Some(MessageForm::Message(other)), ..arrived(&run, "") }).await;
    assert_eq!(other.get_details_bad_request().unwrap().field_violations[0].field, "message.type_url");
    let nobody = SignalRunRequest { run_id: Uuid::now_v7().to_string(), ..arrived(&run, "{}") };
    assert_eq!(refused(nobody).await.code(), Code::NotFound);

    let signal = arrived(&run, "{\"userId\": \"u1\", \"name\": \"Ada\", \"email\": \"ada@example.org\"}");
    let mut client = world.runs().await;
    client.signal_run(signal.clone()).await.unwrap();
    world.until_ended(&run.run_id).await;
    // The same request again is answered although the run has ended; another one is refused.
    assert_eq!(client.signal_run(signal).await.unwrap().into_inner().state(), RunState::Succeeded);
    assert_eq!(client.signal_run(arrived(&run, "{}")).await.unwrap_err().code(), Code::FailedPrecondition);
    let step = &world.show(&run.run_id).await.steps[0];
    let message = User::decode(&step.response.as_ref().unwrap().value[..]).unwrap();
    assert_eq!((message.user_id.as_str(), message.name.as_str(), message.email.as_str()), ("u1", "", ""));
}

#[tokio::test]
async fn a_workflow_says_what_it_takes() {
    let world = World::start(Services::good()).await;
    let request = GetWorkflowRequest { workflow: String::from("test.wait") };
    let workflow = world.workflows().await.get_workflow(request).await.unwrap().into_inner();
    assert_eq!(workflow.signals.len(), 1);
    assert_eq!(workflow.signals[0].message_type, "acme.users.v1.User");
    assert!(workflow.signals[0].message_example_json.contains("email"));
}

#[tokio::test]
async fn the_command_line_sends_signals_and_shows_what_waits() {
    let world = World::start(Services::good()).await;
    let run = waiting(&world).await;
    let (exit, out, _) = world.command(&["runs", "show", &run.run_id]).await;
    assert_eq!(exit, Exit::Ok);
    assert!(out.contains("arrived#0") && out.contains("WAITING"), "{out}");
    let (exit, out, _) = world.command(&["workflows", "show", "test.wait"]).await;
    assert_eq!(exit, Exit::Ok);
    assert!(out.contains("Signal arrived takes acme.users.v1.User"), "{out}");
    let signal = ["runs", "signal", &run.run_id, "arrived", "--input"];
    let with = |input: &'static str| [&signal[..], &[input]].concat();
    assert_eq!(world.command(&with("{\"nope\": 1}")).await.0, Exit::Usage);
    let (exit, out, talk) = world.command(&with("{\"name\": \"Ada\"}")).await;
    assert_eq!(exit, Exit::Ok, "{talk}");
    assert!(out.contains(&run.run_id), "{out}");
    world.until_ended(&run.run_id).await;
    assert_eq!(world.show(&run.run_id).await.state(), RunState::Succeeded);
}

#[tokio::test]
async fn who_reads_on_of_a_run_sees_what_one_who_reads_all_of_it_sees() {
    let world = World::start(Services::good()).await;
    let (run, mut seen) = (waiting(&world).await, Seen::default());
    let id: Uuid = run.run_id.parse().unwrap();
    let mut looked = async || {
        let engine = world.running.engine();
        let row = engine.store().run(id).await.unwrap().unwrap();
        let on = engine.detail_since(row, &mut seen).await.unwrap();
        let all = engine.detail(id).await.unwrap();
        assert_eq!((&on.row, &on.steps, &on.output), (&all.row, &all.steps, &all.output));
        (on.steps.len(), seen.bytes())
    };
    let (_, first) = looked().await;
    assert_eq!(looked().await.1, first, "nothing was added");
    world.runs().await.signal_run(arrived(&run, "{\"name\": \"Ada\"}")).await.unwrap();
    world.until_ended(&run.run_id).await;
    assert!(looked().await.1 > first);
}
