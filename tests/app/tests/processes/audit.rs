//! Says whether all that was begun came to its end, and everything that was meant to happen happened once.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use server::proto::orchestrator::admin::v1::run_service_client::RunServiceClient;
use server::proto::orchestrator::admin::v1::{GetRunRequest, ListRunsRequest, Run, RunState, RunView};
use tonic::transport::Channel;

use crate::USERS;
use crate::load::Started;
use crate::world::World;

/// Lets everything come to its end and looks at it: the runs, then the services. Returns the figures.
pub(crate) async fn settle(
    world: &World,
    runs: RunServiceClient<Channel>,
    started: &[Started],
    within: Duration,
) -> String {
    settle_but(world, runs, started, within, &[]).await
}

/// The same beside runs that do something else, which only have to end.
pub(crate) async fn settle_but(
    world: &World,
    mut runs: RunServiceClient<Channel>,
    started: &[Started],
    within: Duration,
    others: &[String],
) -> String {
    let mut ended = all_ended(&mut runs, within).await;
    ended.retain(|run| !others.contains(&run.run_id));
    let unhappy: Vec<String> = ended.iter().filter(|run| run.state() != RunState::Succeeded).map(told).collect();
    assert!(unhappy.is_empty(), "runs that did not succeed: {unhappy:#?}");
    every_tick_started_one_run(&ended);
    every_acknowledged_start_is_there(&mut runs, started, &ended).await;
    every_effect_happened_once(world, &ended);
    every_key_is_that_of_a_journaled_step(world, &mut runs, &ended).await;

    let users = world.ledger.users();
    let calls: u64 = users.values().map(|user| user.calls).sum();
    assert!(calls > u64::try_from(users.len()).unwrap(), "nothing was ever asked for again");
    format!(
        "runs {}, of them acknowledged starts {}, effects {}, asked for {calls} times, doubled 0",
        ended.len(),
        started.len(),
        users.len()
    )
}

/// Waits until all runs have ended.
pub(crate) async fn all_ended(runs: &mut RunServiceClient<Channel>, within: Duration) -> Vec<Run> {
    let deadline = Instant::now() + within;
    loop {
        let all = list(runs).await;
        let open: Vec<String> = all.iter().filter(|run| run.end_time.is_none()).map(told).collect();
        if open.is_empty() {
            return all;
        }
        assert!(Instant::now() < deadline, "runs that did not end within {within:?}: {open:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn list(runs: &mut RunServiceClient<Channel>) -> Vec<Run> {
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListRunsRequest { page_size: 1_000, page_token, ..ListRunsRequest::default() };
        let page = runs.list_runs(request).await.unwrap().into_inner();
        all.extend(page.runs);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return all;
        }
    }
}

fn told(run: &Run) -> String {
    let error = run.error.as_ref().map(|error| error.message.as_str()).unwrap_or_default();
    format!("{} {} {} {} {error}", run.run_id, run.workflow, run.state().as_str_name(), run.reason)
}

fn every_tick_started_one_run(runs: &[Run]) {
    let mut ticks = HashSet::new();
    for run in runs.iter().filter(|run| !run.schedule.is_empty()) {
        let nominal = run.nominal_time.unwrap();
        assert!(ticks.insert((&run.schedule, nominal.seconds, nominal.nanos)), "a tick started twice: {}", told(run));
    }
    assert!(!ticks.is_empty(), "no tick started a run");
}

async fn every_acknowledged_start_is_there(runs: &mut RunServiceClient<Channel>, started: &[Started], ended: &[Run]) {
    let by_hand = ended.iter().filter(|run| run.schedule.is_empty()).count();
    // The last one may have been made without its acknowledgement having been waited for.
    assert!((started.len()..=started.len() + 1).contains(&by_hand), "{by_hand} runs of {} starts", started.len());
    for Started { request, run_id } in started {
        let get = GetRunRequest { run_id: run_id.clone(), view: RunView::Basic.into(), ..GetRunRequest::default() };
        let run = runs.get_run(get).await.unwrap().into_inner();
        assert_eq!(run.workflow, request.workflow);
        // And the id is still known: to ask again starts nothing.
        let again = runs.start_run(request.clone()).await.unwrap().into_inner();
        assert_eq!(again.run_id, *run_id);
    }
}

/// What reached the service is what the journals say, key by key: nothing was sent that had not been written down, and
/// no crash made a new key of an old one.
async fn every_key_is_that_of_a_journaled_step(world: &World, runs: &mut RunServiceClient<Channel>, ended: &[Run]) {
    let arrived: HashSet<String> = world.ledger.users().into_values().flat_map(|user| user.keys).collect();
    let mut journaled = HashSet::new();
    for run in ended {
        let get = GetRunRequest {
            run_id: run.run_id.clone(),
            view: RunView::Full.into(),
            max_steps: 10_000,
            ..GetRunRequest::default()
        };
        let run = runs.get_run(get).await.unwrap().into_inner();
        assert_eq!(run.steps.len(), run.step_count as usize, "{}", told(&run));
        journaled.extend(run.steps.into_iter().map(|step| step.idempotency_key).filter(|key| !key.is_empty()));
    }
    let unwritten: Vec<_> = arrived.difference(&journaled).collect();
    assert!(unwritten.is_empty(), "keys that no journal has: {unwritten:#?}");
    let unsent: Vec<_> = journaled.difference(&arrived).collect();
    assert!(unsent.is_empty(), "steps that ended and never reached their service: {unsent:#?}");
}

/// What the service counted before it recognised repeats. Every user that was asked for was created, once and under one key.
fn every_effect_happened_once(world: &World, runs: &[Run]) {
    let users = world.ledger.users();
    for run in runs {
        for number in 0..USERS {
            let user = &users[&format!("{}-{number}@example.org", run.run_id)];
            assert!(user.acts == 1 && user.keys.len() == 1, "{user:?} of {}", told(run));
        }
    }
    assert_eq!(users.len(), runs.len() * USERS as usize, "users that no run asked for");
}
