//! SIGKILL and SIGSTOP in the middle of sagas, child runs, signals and calls in doubt: each story comes to its own end, and
//! no effect happens twice.

use std::time::{Duration, Instant};

use clients::guras::meditation::v1::ListRecommendationsRequest;
use clients::guras::meditation::v1::meditation_service_client::MeditationServiceClient;
use clients::guras::notifications::v1::GetPreferencesRequest;
use clients::guras::notifications::v1::notification_service_client::NotificationServiceClient;
use clients::guras::orchestration::digests::v1::WeeklyResponse;
use clients::guras::orchestration::users::v1::{EraseResponse, OnboardResponse};
use clients::guras::users::v1::user_service_client::UserServiceClient;
use clients::guras::users::v1::{CreateUserRequest, GetUserRequest};
use demo::{Faults, World};
use futures_util::future::join_all;
use prost::Message;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;
use server::proto::orchestrator::admin::v1::resolve_step_request::Decision;
use server::proto::orchestrator::admin::v1::run_service_client::RunServiceClient;
use server::proto::orchestrator::admin::v1::signal_run_request::MessageForm;
use server::proto::orchestrator::admin::v1::start_run_request::InputForm;
use server::proto::orchestrator::admin::v1::step::State as StepState;
use server::proto::orchestrator::admin::v1::{
    CancelRunRequest, GetRunRequest, ListRunsRequest, ResolveStepRequest, Run, RunState, SignalRunRequest,
    StartRunRequest,
};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use uuid::Uuid;

use crate::process::Orchestrator;
use crate::{SETTLED, WITHOUT_SCHEDULES, audit, world};

const KILLS: usize = 6;
/// Users of each story.
const USERS: usize = 8;
const WRITE_TEXT: &str = "/guras.ai.v1.AiService/WriteText";
/// How long one answer may take; a frozen orchestrator gives none.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long somebody asks for one thing.
const STUBBORN: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_frozen_in_the_middle_every_story_comes_to_its_end() {
    let seed = std::env::var("ORCHESTRATOR_TEST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("seed {seed}; set ORCHESTRATOR_TEST_SEED={seed} to try it again");
    let mut dice = StdRng::seed_from_u64(seed);
    let world = world(seed).await;
    let mut orchestrator = Orchestrator::over(&world);
    orchestrator.start(&WITHOUT_SCHEDULES).await;

    // Slow, so that kills come in the middle of texts, of which no one can know then whether they were written.
    let slow = Faults { delay: Duration::from_millis(500), jitter: Duration::from_secs(1), ..Faults::default() };
    world.faults().set(WRITE_TEXT, slow);
    let runs = orchestrator.runs();
    let weekly = start(&runs, "digests.weekly", "{}").await;
    let pauses: Vec<_> = (0..USERS).map(|_| Duration::from_millis(dice.random_range(0..5_000))).collect();
    let stories = pauses.into_iter().enumerate().map(|(number, pause)| story(&world, &runs, number, pause));
    let (told, ()) = tokio::join!(join_all(stories), trouble(&mut orchestrator, &mut dice));
    world.faults().set(WRITE_TEXT, Faults::default());
    audit::heal(&world);
    let decisions = decide_until_all_have_ended(&runs).await;

    for (onboarded, erased) in &told {
        is_onboarded_or_left_as_before(&world, &runs, onboarded).await;
        is_gone(&world, &runs, erased).await;
    }
    every_user_has_a_run_for_their_week(&runs, &weekly).await;
    nothing_happened_twice(&world);
    println!("stories {}, decisions {decisions}, doubled 0", told.len() * 2 + 1);
    orchestrator.stop(Duration::from_secs(30)).await;
}

/// Ends and stops the process at moments that no one chose.
async fn trouble(orchestrator: &mut Orchestrator, dice: &mut StdRng) {
    for kill in 1..=KILLS {
        tokio::time::sleep(Duration::from_millis(dice.random_range(300..1_500))).await;
        if kill == KILLS / 2 {
            orchestrator.signal(Signal::STOP);
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            orchestrator.signal(Signal::CONT);
            continue;
        }
        orchestrator.kill().await;
        orchestrator.spawn(&WITHOUT_SCHEDULES);
    }
    orchestrator.ready().await;
}

/// A user arrives, and another one leaves.
async fn story(world: &World, runs: &RunServiceClient<Channel>, number: usize, pause: Duration) -> (Told, Told) {
    tokio::time::sleep(pause).await;
    let arriving = new_user(world, number).await;
    // The seeded users have numbers for ids; the last of them go.
    let leaving = format!("00000000-0000-4000-8000-{:012}", 39 - number);
    (onboard(runs, arriving, number).await, erase(runs, leaving).await)
}

/// One story: the run, whom it is about, and whether somebody cancelled it.
struct Told {
    run: String,
    user: String,
    cancelled: bool,
}

/// Every other user settles in; the setting up of the others is cancelled while it waits.
async fn onboard(runs: &RunServiceClient<Channel>, user: String, number: usize) -> Told {
    let run = start(runs, "users.onboard", &format!("{{\"userId\": \"{user}\"}}")).await;
    let cancelled = number % 2 == 1;
    let request_id = Uuid::new_v4().to_string();
    if cancelled {
        while get(runs, &run).await.state() != RunState::Waiting {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let cancel = CancelRunRequest { run_id: run.clone(), request_id, reason: "left again".to_owned() };
        stubbornly(async || runs.clone().cancel_run(cancel.clone()).await).await;
    } else {
        let signal = SignalRunRequest {
            run_id: run.clone(),
            request_id,
            signal: "settled-in".to_owned(),
            message_form: Some(MessageForm::MessageJson(format!("{{\"by\": \"{user}\"}}"))),
            ..SignalRunRequest::default()
        };
        stubbornly(async || runs.clone().signal_run(signal.clone()).await).await;
    }
    Told { run, user, cancelled }
}

async fn erase(runs: &RunServiceClient<Channel>, user: String) -> Told {
    let run = start(runs, "users.erase", &format!("{{\"userId\": \"{user}\"}}")).await;
    Told { run, user, cancelled: false }
}

async fn start(runs: &RunServiceClient<Channel>, workflow: &str, input: &str) -> String {
    let request = StartRunRequest {
        workflow: workflow.to_owned(),
        request_id: Uuid::new_v4().to_string(),
        input_form: Some(InputForm::InputJson(input.to_owned())),
        ..StartRunRequest::default()
    };
    stubbornly(async || runs.clone().start_run(request.clone()).await).await.run_id
}

async fn get(runs: &RunServiceClient<Channel>, run: &str) -> Run {
    let get = GetRunRequest { run_id: run.to_owned(), max_steps: 10_000, ..GetRunRequest::default() };
    stubbornly(async || runs.clone().get_run(get.clone()).await).await
}

async fn new_user(world: &World, number: usize) -> String {
    let users = UserServiceClient::new(channel(world, "users"));
    let create = CreateUserRequest {
        request_id: Uuid::new_v4().to_string(),
        email: format!("new-{number}@example.com"),
        name: format!("New {number}"),
        firebase_user_id: format!("new-{number}"),
    };
    stubbornly(async || users.clone().create_user(create.clone()).await).await.user.unwrap().user_id
}

fn channel(world: &World, service: &str) -> Channel {
    Endpoint::from_shared(format!("http://{}", world.address(service).unwrap())).unwrap().connect_lazy()
}

/// Asks again until it is granted, as whoever must not lose it does.
async fn stubbornly<T>(ask: impl AsyncFn() -> Result<tonic::Response<T>, Status>) -> T {
    let begun = Instant::now();
    loop {
        let refused = match tokio::time::timeout(PATIENCE, ask()).await {
            Ok(Ok(granted)) => return granted.into_inner(),
            Ok(Err(status)) if status.code() == Code::InvalidArgument => panic!("{status}"),
            Ok(Err(status)) => status,
            Err(_) => Status::deadline_exceeded("no answer"),
        };
        assert!(begun.elapsed() < STUBBORN, "refused for {STUBBORN:?}: {refused}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Says of every call in doubt that it failed, until all runs have ended. Returns how many there were.
async fn decide_until_all_have_ended(runs: &RunServiceClient<Channel>) -> usize {
    let (deadline, mut decisions) = (Instant::now() + SETTLED, 0);
    loop {
        let all = list(runs).await;
        let open: Vec<&Run> = all.iter().filter(|run| run.end_time.is_none()).collect();
        if open.is_empty() {
            return decisions;
        }
        assert!(Instant::now() < deadline, "runs that did not end within {SETTLED:?}: {open:#?}");
        for run in open.iter().filter(|run| run.state() == RunState::NeedsDecision) {
            for step in get(runs, &run.run_id).await.steps {
                if step.state() != StepState::NeedsDecision {
                    continue;
                }
                let failure = server::proto::google::rpc::Status { code: Code::Aborted.into(), ..Default::default() };
                let request = ResolveStepRequest {
                    run_id: run.run_id.clone(),
                    reason: "nobody knows".to_owned(),
                    step: step.path.clone(),
                    incarnation: step.incarnation,
                    attempts: step.attempts,
                    decision: Some(Decision::Failure(failure)),
                    ..ResolveStepRequest::default()
                };
                // It may have moved on meanwhile; then it is looked at again.
                decisions += usize::from(runs.clone().resolve_step(request).await.is_ok());
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn list(runs: &RunServiceClient<Channel>) -> Vec<Run> {
    let request = ListRunsRequest { page_size: 1_000, ..ListRunsRequest::default() };
    stubbornly(async || runs.clone().list_runs(request.clone()).await).await.runs
}

fn output<M: Message + Default>(run: &Run) -> M {
    M::decode(&*run.output.as_ref().unwrap_or_else(|| panic!("no output of {run:#?}")).value).unwrap()
}

/// Who settled in has preferences and a recommendation; of who left again all was taken back.
async fn is_onboarded_or_left_as_before(world: &World, runs: &RunServiceClient<Channel>, told: &Told) {
    let run = get(runs, &told.run).await;
    let expected = if told.cancelled { RunState::Cancelled } else { RunState::Succeeded };
    assert_eq!(run.state(), expected, "{run:#?}");
    if !told.cancelled {
        assert_eq!(output::<OnboardResponse>(&run).settled_by, told.user, "the signal was received");
    }
    let mut notifications = NotificationServiceClient::new(channel(world, "notifications"));
    let asked = notifications.get_preferences(GetPreferencesRequest { user_id: told.user.clone() }).await.unwrap();
    assert_eq!(asked.into_inner().preferences.unwrap().enabled, !told.cancelled, "{run:#?}");
    let mut meditation = MeditationServiceClient::new(channel(world, "meditation"));
    let asked = ListRecommendationsRequest { user_id: told.user.clone(), ..ListRecommendationsRequest::default() };
    let recommended = meditation.list_recommendations(asked).await.unwrap().into_inner().recommendations;
    assert_eq!(recommended.is_empty(), told.cancelled, "{run:#?}");
    let put = world.ledger().effects()[&format!("preferences:{}", told.user)].applied;
    assert_eq!(put, if told.cancelled { 2 } else { 1 }, "given once, and taken back once where it was: {run:#?}");
}

async fn is_gone(world: &World, runs: &RunServiceClient<Channel>, told: &Told) {
    let run = get(runs, &told.run).await;
    assert_eq!(run.state(), RunState::Succeeded, "{run:#?}");
    let report: EraseResponse = output(&run);
    assert!(report.user_deleted && report.unknown_to.is_empty(), "{report:?}");
    let mut users = UserServiceClient::new(channel(world, "users"));
    let asked = users.get_user(GetUserRequest { user_id: told.user.clone() }).await;
    assert_eq!(asked.unwrap_err().code(), Code::NotFound);
}

/// A child run for each user, and each of them ended before their parent, which counts them.
async fn every_user_has_a_run_for_their_week(runs: &RunServiceClient<Channel>, weekly: &str) {
    let parent = get(runs, weekly).await;
    assert_eq!(parent.state(), RunState::Succeeded, "{parent:#?}");
    let counted: WeeklyResponse = output(&parent);
    assert_eq!(counted.users, counted.sent + counted.skipped + counted.failed, "{counted:?}");
    let children: Vec<Run> = list(runs).await.into_iter().filter(|run| run.parent_run_id == weekly).collect();
    let failed = children.iter().filter(|run| run.state() == RunState::Failed).count();
    assert_eq!((children.len(), failed), (counted.users as usize, counted.failed as usize), "{counted:?}");
    assert!(counted.sent > 0, "{counted:?}");
}

/// Only preferences that were taken back were put twice.
fn nothing_happened_twice(world: &World) {
    let mut doubled = world.ledger().doubled();
    doubled.retain(|identity, _| !identity.starts_with("preferences:"));
    assert_eq!(doubled, std::collections::BTreeMap::new());
}
