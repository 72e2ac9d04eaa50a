//! Claims: which runs, in which order, and what becomes of those who had them.

use super::*;

pub(super) async fn a_pending_run_is_claimed_once(stores: &dyn Stores) {
    let store = stores.empty().await;
    let run = NewRun { origin: None, ..pending() };
    let id = created(&*store, run).await;
    let waiting = row(&*store, id).await;
    assert_eq!((waiting.epoch, waiting.owned), (0, false));
    let claimed = claim_at(&*store, now(), 10).await;
    assert_eq!(claimed.runs.len(), 1);
    assert_eq!((claimed.runs[0].id, claimed.runs[0].epoch, claimed.runs[0].owned), (id, 1, true));
    assert_eq!(claimed.next_due, None);
    assert!(claim_at(&*store, now(), 10).await.runs.is_empty());
    assert_eq!(store.append(fact(id, 1, 1)).await, Ok(Appended::Done));
}

pub(super) async fn a_sleeping_run_is_claimed_when_its_time_has_come(stores: &dyn Stores) {
    let store = stores.empty().await;
    let wake_at = now().after(10 * MINUTE);
    let id = left(&*store, sleeping(wake_at)).await;
    let early = claim_at(&*store, now(), 10).await;
    assert!(early.runs.is_empty());
    assert_eq!(early.next_due, Some(wake_at));
    let woken = claim_at(&*store, wake_at, 10).await;
    assert_eq!((woken.runs[0].id, woken.runs[0].epoch, woken.runs[0].sequence), (id, 2, 2));
    assert_eq!(woken.runs[0].status, sleeping(wake_at));
    assert_eq!(store.append(fact(id, 1, 2)).await, Err(StoreError::Fenced(id)));
    assert_eq!(store.append(fact(id, 2, 2)).await, Ok(Appended::Done));
}

pub(super) async fn a_parked_run_without_a_wake_time_is_left_alone(stores: &dyn Stores) {
    let store = stores.empty().await;
    let deadline = now().after(MINUTE);
    for state in [State::Paused, State::Blocked, State::NeedsDecision] {
        left(&*store, status(state)).await;
    }
    let dated = left(&*store, Status { wake_at: Some(deadline), ..status(State::Blocked) }).await;
    let claimed = claim_at(&*store, now(), 10).await;
    assert!(claimed.runs.is_empty());
    assert_eq!(claimed.next_due, Some(deadline));
    let claimed = claim_at(&*store, deadline, 10).await;
    assert!(claimed.runs.iter().map(|run| run.id).eq([dated]));
}

pub(super) async fn the_longest_due_run_is_claimed_first_and_the_limit_holds(stores: &dyn Stores) {
    let store = stores.empty().await;
    let start = now();
    let mut expected = Vec::new();
    for minutes in [5, 1, 4, 2, 3] {
        expected.push((minutes, left(&*store, sleeping(start.after(minutes * MINUTE))).await));
    }
    expected.sort_unstable();
    let later = start.after(10 * MINUTE);
    let first = claim_at(&*store, later, 2).await;
    assert!(first.runs.iter().map(|run| run.id).eq(expected[..2].iter().map(|(_, id)| *id)));
    assert_eq!(first.next_due, Some(start.after(3 * MINUTE)));
    let rest = claim_at(&*store, later, 10).await;
    assert!(rest.runs.iter().map(|run| run.id).eq(expected[2..].iter().map(|(_, id)| *id)));
    assert_eq!(rest.next_due, None);
}

pub(super) async fn unknown_workflows_and_newer_versions_are_left_alone(stores: &dyn Stores) {
    let store = stores.empty().await;
    let unknown = created(&*store, NewRun { workflow: OTHER.to_owned(), ..pending() }).await;
    let newer = created(&*store, NewRun { workflow_version: 3, ..pending() }).await;
    let older = created(&*store, NewRun { workflow_version: 1, ..pending() }).await;
    let wish = |workflows| ClaimRuns { workflows, now: now(), limit: 10, held: None };
    let claimed = store.claim(wish(vec![(WORKFLOW.to_owned(), 2)])).await.unwrap();
    assert!(claimed.runs.iter().map(|run| run.id).eq([older]));
    assert_eq!(claimed.next_due, None);
    assert!(store.claim(wish(Vec::new())).await.unwrap().runs.is_empty());
    let left = |workflow: &str, version| Unclaimable { workflow: workflow.to_owned(), version, runs: 1 };
    let unclaimable = store.unclaimable(vec![(WORKFLOW.to_owned(), 2)]).await.unwrap();
    assert_eq!(unclaimable, [left(WORKFLOW, 3), left(OTHER, 1)]);
    let both = vec![(WORKFLOW.to_owned(), 3), (OTHER.to_owned(), 1)];
    let claimed = store.claim(wish(both)).await.unwrap();
    assert!(claimed.runs.iter().map(|run| run.id).eq([unknown, newer]));
}

pub(super) async fn a_new_owner_claims_what_the_old_one_held(stores: &dyn Stores) {
    let store = stores.empty().await;
    let first = created(&*store, running()).await;
    let second = left(&*store, sleeping(now().after(MINUTE))).await;
    let ended = left(&*store, status(State::Succeeded)).await;
    let store = stores.succeed(store).await;
    assert!(!row(&*store, first).await.owned);
    let limited = claim_at(&*store, now(), 1).await;
    assert!(limited.runs.iter().map(|run| (run.id, run.epoch)).eq([(first, 2)]));
    let claimed = claim_at(&*store, now().after(MINUTE), 10).await;
    assert!(claimed.runs.iter().map(|run| run.id).eq([second]));
    assert_eq!(row(&*store, ended).await.epoch, 1);
    assert_eq!(store.append(fact(first, 1, 1)).await, Err(StoreError::Fenced(first)));
    assert_eq!(store.append(fact(first, 2, 1)).await, Ok(Appended::Done));
}

pub(super) async fn a_new_owner_leaves_parked_runs_parked(stores: &dyn Stores) {
    let store = stores.empty().await;
    let id = created(&*store, running()).await;
    let held = Append { status: status(State::NeedsDecision), ..fact(id, 1, 1) };
    assert_eq!(store.append(held).await, Ok(Appended::Done));
    let store = stores.succeed(store).await;
    assert!(claim_at(&*store, now().after(MINUTE), 10).await.runs.is_empty());
    let cancelled = store.command(cancel(id)).await.unwrap();
    assert!(!cancelled.owned);
    let claimed = claim_at(&*store, now(), 10).await;
    assert!(claimed.runs.iter().map(|run| (run.id, run.epoch)).eq([(id, 2)]));
}

pub(super) async fn an_old_owner_cannot_write(stores: &dyn Stores) {
    let store = stores.empty().await;
    let id = created(&*store, running()).await;
    let old = store.ownership();
    let store = stores.succeed(store).await;
    assert!(!old.is_held());
    assert!(store.ownership().is_held());
    // Its last words arrive when no one has claimed the run yet: the epoch is the same, the owner is not.
    assert_eq!(store.append(fact(id, 1, 1)).await, Err(StoreError::Fenced(id)));
    assert_eq!(store.journal(id, 0, 10).await.unwrap().len(), 1);
}

pub(super) async fn a_claim_shows_what_was_committed_before(stores: &dyn Stores) {
    let store = stores.empty().await;
    let run = pending();
    let id = run.id;
    let created = store.create(run);
    let cancelled = store.command(cancel(id));
    let claimed = claim_at(&*store, now().after(MINUTE), 10).await;
    assert_eq!(created.await, Ok(Created::New));
    assert_eq!(cancelled.await.unwrap().control, 1);
    assert_eq!((claimed.runs[0].id, claimed.runs[0].control), (id, 1));
    assert_eq!(claimed.runs[0].cancel_requested.as_deref(), Some("enough"));
}

pub(super) async fn a_run_is_created_asleep(stores: &dyn Stores) {
    let store = stores.empty().await;
    let wake_at = now().after(MINUTE);
    let asleep = created(&*store, NewRun { status: sleeping(wake_at), ..pending() }).await;
    let awaits = Status { awaits: vec!["paid".to_owned()], ..status(State::Waiting) };
    let waits = created(&*store, NewRun { status: awaits.clone(), ..pending() }).await;
    assert_eq!((row(&*store, asleep).await.status, row(&*store, waits).await.status), (sleeping(wake_at), awaits));
    let claimed = claim_at(&*store, now(), 10).await;
    assert_eq!((claimed.runs.len(), claimed.next_due), (0, Some(wake_at)));
    let signal = Signal { name: "paid".to_owned(), payload: Bytes::new(), room: 3 };
    let kind = CommandKind::Signal(signal);
    store.command(Command { run: waits, now: now(), change: change("SignalRun", None), kind }).await.unwrap();
    let claimed = claim_at(&*store, wake_at, 10).await;
    assert!(claimed.runs.iter().map(|run| (run.id, run.epoch)).eq([(waits, 1), (asleep, 1)]));
}

pub(super) async fn what_its_owner_has_not_in_memory_is_given_back_and_claimed_anew(stores: &dyn Stores) {
    let store = stores.empty().await;
    let held = created(&*store, running()).await;
    let forgotten = created(&*store, running()).await;
    let paused = created(&*store, running()).await;
    assert_eq!(store.append(Append { status: status(State::Paused), ..fact(paused, 1, 1) }).await, Ok(Appended::Done));
    let ended = created(&*store, running()).await;
    assert_eq!(store.append(Append { status: status(State::Failed), ..fact(ended, 1, 1) }).await, Ok(Appended::Done));
    let wish = |held| ClaimRuns { workflows: vec![(WORKFLOW.to_owned(), 1)], now: now(), limit: 10, held };
    assert!(store.claim(wish(None)).await.unwrap().runs.is_empty());
    let claimed = store.claim(wish(Some(vec![held]))).await.unwrap();
    // No one asked for an end of the pause that it seems to be in, or for one: it continues.
    assert!(claimed.runs.iter().map(|run| (run.id, run.epoch)).eq([(forgotten, 2), (paused, 2)]));
    assert_eq!(store.append(fact(forgotten, 1, 1)).await, Err(StoreError::Fenced(forgotten)));
    assert_eq!(store.append(fact(held, 1, 1)).await, Ok(Appended::Done));
    assert!(store.claim(wish(Some(vec![held, forgotten, paused]))).await.unwrap().runs.is_empty());
}

pub(super) async fn what_is_parked_and_not_in_memory_is_given_back_as_it_is(stores: &dyn Stores) {
    let store = stores.empty().await;
    let (blocked, cancelled) = (created(&*store, running()).await, created(&*store, running()).await);
    for run in [blocked, cancelled] {
        let append = Append { status: status(State::Blocked), ..fact(run, 1, 1) };
        assert_eq!(store.append(append).await, Ok(Appended::Done));
    }
    store.command(cancel(cancelled)).await.unwrap();
    let workflows = vec![(WORKFLOW.to_owned(), 1)];
    let claimed = store.claim(ClaimRuns { workflows, now: now(), limit: 10, held: Some(Vec::new()) }).await.unwrap();
    assert!(claimed.runs.iter().map(|run| run.id).eq([cancelled]));
    assert!(!row(&*store, blocked).await.owned);
}
