//! Says whether all that was begun came to its end, and everything that was meant to happen happened once.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use demo::{Count, Faults, World};
use server::proto::orchestrator::admin::v1::run_service_client::RunServiceClient;
use server::proto::orchestrator::admin::v1::{GetRunRequest, ListRunsRequest, Run, RunState, RunView};
use tonic::transport::Channel;

use crate::load::Started;

/// Lets everything come to its end and looks at it: the runs, then the services. Returns the figures.
pub(crate) async fn settle(
    world: &World,
    mut runs: RunServiceClient<Channel>,
    started: &[Started],
    within: Duration,
) -> String {
    let ended = all_ended(&mut runs, within).await;
    let unhappy: Vec<String> = ended.iter().filter(|run| run.state() != RunState::Succeeded).map(told).collect();
    assert!(unhappy.is_empty(), "runs that did not succeed: {unhappy:#?}");
    every_tick_started_one_run(&ended);
    every_acknowledged_start_is_there(&mut runs, started, &ended).await;
    every_effect_happened_once(world);
    every_key_is_that_of_a_journaled_step(world, &mut runs, &ended).await;

    let sum = |of: fn(&Count) -> u64| world.ledger().effects().values().map(of).sum::<u64>();
    format!(
        "runs {}, of them acknowledged starts {}, effects {}, asked for {} times, doubled 0",
        ended.len(),
        started.len(),
        sum(|count| count.applied),
        sum(|count| count.entered)
    )
}

/// No more faults from here on.
pub(crate) fn heal(world: &World) {
    world.faults().set("", Faults::default());
}

async fn all_ended(runs: &mut RunServiceClient<Channel>, within: Duration) -> Vec<Run> {
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

/// What reached the services is what the journals say, key by key: nothing was sent that had not been written down, and
/// no crash made a new key of an old one.
async fn every_key_is_that_of_a_journaled_step(world: &World, runs: &mut RunServiceClient<Channel>, ended: &[Run]) {
    let arrived: HashSet<(String, String)> = world.ledger().keys().into_keys().collect();
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
        let keyed = run.steps.into_iter().filter(|step| !step.idempotency_key.is_empty());
        journaled.extend(keyed.map(|step| (step.method, step.idempotency_key)));
    }
    let unwritten: Vec<_> = arrived.difference(&journaled).collect();
    assert!(unwritten.is_empty(), "keys that no journal has: {unwritten:#?}");
    let unsent: Vec<_> = journaled.difference(&arrived).collect();
    assert!(unsent.is_empty(), "steps that ended and never reached their service: {unsent:#?}");
}

/// What the services counted before they recognised repeats. Every effect that was asked for happened, and once.
fn every_effect_happened_once(world: &World) {
    let ledger = world.ledger();
    assert_eq!(ledger.doubled(), BTreeMap::new());
    let effects = ledger.effects();
    for kind in ["push", "notified", "token-removed", "emotions"] {
        let some = effects.keys().any(|identity| identity.starts_with(&format!("{kind}:")));
        assert!(some, "nothing of the kind {kind} happened");
    }
    let missing = |(identity, count): &(&String, &Count)| count.applied != 1 && !was_refused(&effects, identity);
    let missing: Vec<_> = effects.iter().filter(missing).collect();
    assert!(missing.is_empty(), "effects that were asked for and did not happen: {missing:#?}");

    // One business identity, one key, whichever run asked for it and after whatever crash.
    let keys = ledger.keys_of_effects();
    let pushes = keys.iter().filter(|(identity, _)| identity.starts_with("push:"));
    let several: Vec<_> = pushes.filter(|(_, keys)| keys.len() != 1).collect();
    assert!(several.is_empty(), "pushes that were asked for under several keys: {several:#?}");
}

/// A push to a device that the push provider no longer knew, which was therefore removed.
fn was_refused(effects: &BTreeMap<String, Count>, identity: &str) -> bool {
    let Some((user, token)) = identity.strip_prefix("push:").and_then(|push| {
        let mut parts = push.split('/');
        Some((parts.next()?, parts.nth(1)?))
    }) else {
        return false;
    };
    effects.contains_key(&format!("token-removed:{user}/{token}"))
}
