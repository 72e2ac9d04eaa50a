//! SIGKILL and SIGSTOP in the middle of runs with undos, child runs, signals and calls in doubt: each story comes to its own
//! end, and no effect happens twice.

use std::time::{Duration, Instant};

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
use test_app::contracts::acme::orchestration::greetings::v1::GreetResponse;
use tonic::transport::Channel;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::process::Orchestrator;
use crate::replicas::{any, replicas};
use crate::world::World;
use crate::{SETTLED, WITHOUT_SCHEDULES};

const KILLS: usize = 6;
/// Users who come to stay.
const GUESTS: usize = 16;
/// Users who are charged, each in a child run.
const CHARGED: usize = 40;
/// How long one answer may take; a frozen orchestrator gives none.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long somebody asks for one thing.
const STUBBORN: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_frozen_in_the_middle_every_story_comes_to_its_end() {
    let seed = std::env::var("ORCHESTRATOR_TEST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("seed {seed}; set ORCHESTRATOR_TEST_SEED={seed} to try it again");
    let mut dice = StdRng::seed_from_u64(seed);
    // Slow, so that kills come in the middle of charges, of which no one can know then whether they were made.
    let world = World::unreliable_and_slow(Duration::from_millis(700)).await;
    let mut orchestrator = Orchestrator::over(&world);
    orchestrator.start(&WITHOUT_SCHEDULES).await;
    let runs = orchestrator.runs();
    every_story_comes_to_its_end(&world, runs, std::slice::from_mut(&mut orchestrator), &mut dice).await;
    orchestrator.stop(Duration::from_secs(30)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_frozen_beside_others_every_story_comes_to_its_end() {
    let seed = std::env::var("ORCHESTRATOR_TEST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("seed {seed}; set ORCHESTRATOR_TEST_SEED={seed} to try it again");
    let mut dice = StdRng::seed_from_u64(seed);
    let world = World::unreliable_and_slow(Duration::from_millis(700)).await;
    let mut replicas = replicas(&world, 2).await;
    for replica in &mut replicas {
        replica.start(&WITHOUT_SCHEDULES).await;
    }
    every_story_comes_to_its_end(&world, any(&replicas), &mut replicas, &mut dice).await;
    for replica in &mut replicas {
        replica.stop(Duration::from_secs(30)).await;
    }
}

/// Tells all stories at the same time, while one of the replicas after the other is hit.
async fn every_story_comes_to_its_end(
    world: &World,
    runs: RunServiceClient<Channel>,
    replicas: &mut [Orchestrator],
    dice: &mut StdRng,
) {
    let round = start(&runs, "test.round", &format!("{{\"limit\": {CHARGED}}}")).await;
    let pauses: Vec<_> = (0..GUESTS).map(|_| Duration::from_millis(dice.random_range(0..5_000))).collect();
    let guests = pauses.into_iter().enumerate().map(|(number, pause)| guest(&runs, number, pause));
    let (guests, ()) = tokio::join!(join_all(guests), trouble(replicas, dice));
    let decisions = decide_until_all_have_ended(&runs).await;

    for guest in &guests {
        stayed_or_left_nothing(world, &runs, guest).await;
    }
    let charged = every_charge_ended_before_the_round(world, &runs, &round).await;
    assert_eq!(world.ledger.users().len(), GUESTS + charged, "users that no run asked for");
    println!("guests {GUESTS}, charges {CHARGED}, decisions {decisions}, doubled 0");
}

/// Ends and stops the process at moments that no one chose.
async fn trouble(replicas: &mut [Orchestrator], dice: &mut StdRng) {
    for kill in 1..=KILLS {
        tokio::time::sleep(Duration::from_millis(dice.random_range(300..1_500))).await;
        let hit = dice.random_range(0..replicas.len());
        let orchestrator = &mut replicas[hit];
        if kill == KILLS / 2 {
            orchestrator.signal(Signal::STOP);
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            orchestrator.signal(Signal::CONT);
            continue;
        }
        orchestrator.kill().await;
        orchestrator.spawn(&WITHOUT_SCHEDULES);
    }
    for replica in replicas {
        replica.ready().await;
    }
}

/// One guest: the run, their address, and whether somebody cancelled the run.
struct Guest {
    run: String,
    email: String,
    cancelled: bool,
}

/// Every other guest arrives; the run of the others is cancelled while it waits for them.
async fn guest(runs: &RunServiceClient<Channel>, number: usize, pause: Duration) -> Guest {
    tokio::time::sleep(pause).await;
    let email = format!("guest-{number}@example.org");
    let run = start(runs, "test.stay", &format!("{{\"text\": \"{email}\"}}")).await;
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
            signal: "arrived".to_owned(),
            message_form: Some(MessageForm::MessageJson(String::from("{\"name\": \"Ada\"}"))),
            ..SignalRunRequest::default()
        };
        stubbornly(async || runs.clone().signal_run(signal.clone()).await).await;
    }
    Guest { run, email, cancelled }
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
                    reason: "it cannot be known".to_owned(),
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

/// Whoever arrived is there; whoever left again was deleted. Both were created once.
async fn stayed_or_left_nothing(world: &World, runs: &RunServiceClient<Channel>, guest: &Guest) {
    let run = get(runs, &guest.run).await;
    let expected = if guest.cancelled { RunState::Cancelled } else { RunState::Succeeded };
    assert_eq!(run.state(), expected, "{run:#?}");
    if !guest.cancelled {
        assert_eq!(due(&run), 1, "the signal was received");
    }
    let user = &world.ledger.users()[&guest.email];
    let deletions = usize::from(guest.cancelled);
    assert_eq!((user.acts, user.keys.len(), user.deleted_by.len()), (1, 1, deletions), "{user:?} of {run:#?}");
}

/// A child run for each user, which ended before its parent. No one was charged twice. Returns how many charges arrived.
async fn every_charge_ended_before_the_round(world: &World, runs: &RunServiceClient<Channel>, round: &str) -> usize {
    let parent = get(runs, round).await;
    assert_eq!(parent.state(), RunState::Succeeded, "{parent:#?}");
    let children: Vec<Run> = list(runs).await.into_iter().filter(|run| run.parent_run_id == round).collect();
    let charged = children.iter().filter(|run| run.state() == RunState::Succeeded).count();
    let failed = children.iter().filter(|run| run.state() == RunState::Failed).count();
    assert_eq!((children.len(), charged + failed, due(&parent)), (CHARGED, CHARGED, charged));
    assert!(charged > 0 && failed > 0, "{charged} were charged, {failed} failed");
    let users = world.ledger.users();
    let of = |run: &Run| users.get(&format!("{}-charged@example.org", run.run_id));
    for run in &children {
        let calls = of(run).map_or(0, |user| user.calls);
        assert!(calls == 1 || calls == 0 && run.state() == RunState::Failed, "{calls} calls of {run:#?}");
    }
    children.iter().filter(|run| of(run).is_some()).count()
}

fn due(run: &Run) -> usize {
    let output = run.output.as_ref().unwrap_or_else(|| panic!("no output of {run:#?}"));
    GreetResponse::decode(&*output.value).unwrap().due as usize
}
