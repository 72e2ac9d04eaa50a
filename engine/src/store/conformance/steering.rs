//! Runs that are stopped, kept and removed.

use super::*;
use crate::store::{Pause, Purge, Purged};

fn command(run: Uuid, kind: CommandKind) -> Command {
    Command { run, now: now(), change: change("Steer", None), kind }
}

pub(super) fn pausing(run: Uuid, stops_clock: bool) -> Command {
    command(run, CommandKind::Pause(Pause { stops_clock, wake_at: now().after(60 * MINUTE) }))
}

pub(super) async fn a_run_that_nobody_holds_is_paused_at_once(stores: &dyn Stores) {
    let store = stores.empty().await;
    for stops in [false, true] {
        let id = left(&*store, sleeping(now())).await;
        let paused = store.command(pausing(id, stops)).await.unwrap();
        assert_eq!((paused.status.state, paused.control), (State::Paused, 1));
        assert_eq!(paused.status.wake_at.is_some(), !stops);
        assert!(claim_at(&*store, now(), 10).await.runs.is_empty());
        let resumed = store.command(command(id, CommandKind::Resume)).await.unwrap();
        assert_eq!((resumed.status.state, resumed.control, resumed.paused), (State::Pending, 2, None));
        assert_eq!(resumed.deadline > paused.deadline, stops);
        let claimed = claim_at(&*store, now().after(MINUTE), 10).await.runs;
        assert!(claimed.iter().map(|run| run.id).eq([id]));
    }
}

pub(super) async fn a_run_that_is_held_hears_of_a_pause_with_its_next_start(stores: &dyn Stores) {
    let store = stores.empty().await;
    let id = created(&*store, running()).await;
    let asked = store.command(pausing(id, true)).await.unwrap();
    assert_eq!((asked.status.state, asked.owned), (State::Running, true));
    assert!(asked.paused.as_ref().is_some_and(|paused| paused.stops_clock && paused.reason == "enough"));
    let start = Append { control: Some(0), ..fact(id, 1, 1) };
    assert_eq!(store.append(start).await, Ok(Appended::Superseded(Box::new(asked))));
}

pub(super) async fn what_does_not_go_on_is_not_paused(stores: &dyn Stores) {
    let store = stores.empty().await;
    for state in [State::Blocked, State::NeedsDecision, State::Succeeded] {
        let id = left(&*store, status(state)).await;
        let refused = Err(StoreError::Precondition { run: id, state });
        assert_eq!(store.command(pausing(id, false)).await, refused);
        assert_eq!(store.command(command(id, CommandKind::Resume)).await, refused);
    }
}

pub(super) async fn only_an_ended_run_is_deleted_with_all_that_belongs_to_it(stores: &dyn Stores) {
    let store = stores.empty().await;
    let going = created(&*store, running()).await;
    let refused = StoreError::Precondition { run: going, state: State::Running };
    assert_eq!(store.command(command(going, CommandKind::Delete)).await, Err(refused));
    let ended = left(&*store, status(State::Failed)).await;
    store.command(command(ended, CommandKind::Delete)).await.unwrap();
    assert_eq!(store.run(ended).await, Ok(None));
    assert!(store.journal(ended, 0, 10).await.unwrap().is_empty());
    let entries = store.audit(ListAudit::of_run(ended, 9)).await.unwrap();
    assert_eq!((entries.len(), entries[0].workflow.as_str()), (1, WORKFLOW));
    assert_eq!(store.command(command(ended, CommandKind::Delete)).await, Err(StoreError::NotFound(ended)));
}

fn purging(state: State, runs: u32) -> Purge {
    Purge { workflow: WORKFLOW.to_owned(), state, ended_before: now().after(MINUTE), after: None, runs, facts: 1_000 }
}

pub(super) async fn old_ends_are_purged_in_batches_and_pinned_runs_stay(stores: &dyn Stores) {
    let store = stores.empty().await;
    let mut ended = Vec::new();
    for _ in 0..5 {
        ended.push(left(&*store, status(State::Succeeded)).await);
    }
    let failed = left(&*store, status(State::Failed)).await;
    let going = created(&*store, running()).await;
    let pinned = store.command(command(ended[1], CommandKind::Pin(true))).await.unwrap();
    assert_eq!((pinned.pinned, pinned.control), (true, 0));
    let first = store.purge(purging(State::Succeeded, 3)).await.unwrap();
    assert_eq!(first, Purged { runs: 2, next: Some(ended[2]) });
    let rest = Purge { after: first.next, ..purging(State::Succeeded, 3) };
    assert_eq!(store.purge(rest).await, Ok(Purged { runs: 2, next: None }));
    let list = store.list(crate::store::ListRuns { limit: 10, ..Default::default() }).await.unwrap();
    assert!(list.iter().map(|run| run.id).eq([going, failed, ended[1]]));
    store.command(command(ended[1], CommandKind::Pin(false))).await.unwrap();
    assert_eq!(store.purge(purging(State::Succeeded, 3)).await.unwrap().runs, 1);
}

pub(super) async fn young_ends_and_long_journals_wait_for_a_later_purge(stores: &dyn Stores) {
    let store = stores.empty().await;
    for _ in 0..3 {
        left(&*store, status(State::Succeeded)).await;
    }
    let early = Purge { ended_before: Timestamp::from_micros(1), ..purging(State::Succeeded, 10) };
    assert_eq!(store.purge(early).await, Ok(Purged::default()));
    // Each has two facts; the second one fills the measure.
    let measured = Purge { facts: 3, ..purging(State::Succeeded, 10) };
    assert_eq!(store.purge(measured).await.unwrap().runs, 2);
}

pub(super) async fn old_audit_entries_are_dropped(stores: &dyn Stores) {
    let store = stores.empty().await;
    for number in 0..3 {
        created(&*store, starting(request(Uuid::new_v4(), number))).await;
    }
    assert_eq!(store.purge_audit(Timestamp::from_micros(1)).await, Ok(0));
    assert_eq!(store.purge_audit(now().after(MINUTE)).await, Ok(3));
}
