//! Commands of operators, and requests that come twice.

use super::*;

pub(super) async fn a_repeated_creation_gives_the_first_run(stores: &dyn Stores) {
    let store = stores.empty().await;
    let key = request(Uuid::new_v4(), 1);
    let first = created(&*store, starting(key.clone())).await;
    let again = starting(key.clone());
    let id = again.id;
    let existing = row(&*store, first).await;
    assert_eq!(store.answered(change("StartRun", Some(key.clone()))).await, Ok(Some(existing.clone())));
    assert_eq!(store.create(again).await, Ok(Created::Existing(Box::new(existing))));
    assert_eq!(store.run(id).await, Ok(None));
    // Whatever becomes of the owner.
    let store = stores.succeed(store).await;
    assert!(matches!(store.create(starting(key)).await, Ok(Created::Existing(row)) if row.id == first));
}

pub(super) async fn requests_that_name_a_removed_run_are_answered_with_what_it_was(stores: &dyn Stores) {
    let store = stores.empty().await;
    let start = request(Uuid::new_v4(), 1);
    let ended = Status { error: Some((13, "a text of its service".to_owned())), ..status(State::Failed) };
    let started = NewRun { status: ended, claimed: false, ..starting(start.clone()) };
    let id = created(&*store, started.clone()).await;
    let pin = Command {
        run: id,
        now: now(),
        change: change("PinRun", Some(request(Uuid::new_v4(), 1))),
        kind: CommandKind::Pin(true),
    };
    store.command(pin.clone()).await.unwrap();
    let was = row(&*store, id).await;
    let delete = Command {
        run: id,
        now: now(),
        change: change("DeleteRun", Some(request(Uuid::new_v4(), 1))),
        kind: CommandKind::Delete,
    };
    store.command(delete.clone()).await.unwrap();
    assert_eq!(store.run(id).await, Ok(None));
    let store = stores.succeed(store).await;
    let kept = store.command(delete).await.unwrap();
    assert_eq!((kept.id, &kept.workflow, kept.status.state), (id, &was.workflow, State::Failed));
    assert_eq!((kept.created_at, kept.updated_at, kept.ended_at), (was.created_at, was.updated_at, was.ended_at));
    assert_eq!(kept.status.error, None, "a text of a removed run is kept");
    assert_eq!(store.command(pin).await, Ok(kept.clone()));
    assert_eq!(store.create(started).await, Ok(Created::Existing(Box::new(kept.clone()))));
    assert_eq!(store.answered(change("StartRun", Some(start))).await, Ok(Some(kept)));
    // Another request to the run finds nothing.
    assert_eq!(store.command(cancel(id)).await, Err(StoreError::NotFound(id)));
}

pub(super) async fn a_request_for_many_runs_keeps_the_time_of_its_first_and_whether_it_is_completed(
    stores: &dyn Stores,
) {
    let store = stores.empty().await;
    let many = |id, hash| change("SteerRuns", Some(request(id, hash)));
    let id = Uuid::new_v4();
    let first = store.bulk_request(many(id, 1), false).await.unwrap();
    assert!(!first.completed);
    let store = stores.succeed(store).await;
    assert_eq!(store.bulk_request(many(id, 1), false).await, Ok(first));
    let completed = BulkRequest { completed: true, ..first };
    assert_eq!(store.bulk_request(many(id, 1), true).await, Ok(completed));
    assert_eq!(store.bulk_request(many(id, 1), false).await, Ok(completed));
    assert_eq!(store.bulk_request(many(id, 2), false).await, Err(StoreError::RequestMismatch(id)));
    let entries = store.audit(ListAudit { limit: 10, ..ListAudit::default() }).await;
    assert_eq!(entries, Ok(Vec::new()), "a request for many runs leaves its entries with each run");
}

pub(super) async fn a_request_id_of_another_request_is_refused(stores: &dyn Stores) {
    let store = stores.empty().await;
    let id = Uuid::new_v4();
    created(&*store, starting(request(id, 1))).await;
    let other = starting(request(id, 2));
    let run = other.id;
    assert_eq!(store.answered(change("StartRun", Some(request(id, 2)))).await, Err(StoreError::RequestMismatch(id)));
    assert_eq!(store.create(other).await, Err(StoreError::RequestMismatch(id)));
    assert_eq!(store.run(run).await, Ok(None));
}

pub(super) async fn request_ids_of_other_methods_are_others(stores: &dyn Stores) {
    let store = stores.empty().await;
    let id = Uuid::new_v4();
    for change in [change("StartRun", Some(request(id, 1))), change("RetryRun", Some(request(id, 3)))] {
        created(&*store, NewRun { change: Some(change), ..running() }).await;
    }
}

pub(super) async fn the_name_that_a_caller_gives_itself_is_no_part_of_a_request(stores: &dyn Stores) {
    let store = stores.empty().await;
    let key = request(Uuid::new_v4(), 1);
    let first = created(&*store, starting(key.clone())).await;
    let mut other = starting(key.clone());
    if let Some(change) = &mut other.change {
        change.asked.caller = "another name".to_owned();
    }
    assert!(matches!(store.create(other).await, Ok(Created::Existing(row)) if row.id == first));
    let mut other = change("StartRun", Some(RequestKey { hash: [2; 32], ..key.clone() }));
    other.asked.caller = "another name".to_owned();
    assert_eq!(store.answered(other).await, Err(StoreError::RequestMismatch(key.id)));
}

pub(super) async fn a_start_is_refused_after_a_cancel(stores: &dyn Stores) {
    let store = stores.empty().await;
    let id = created(&*store, running()).await;
    let cancelled = store.command(cancel(id)).await.unwrap();
    assert_eq!((cancelled.control, cancelled.owned, cancelled.status.wake_at), (1, true, None));
    let start = Append { control: Some(0), ..fact(id, 1, 1) };
    let commanded = Appended::Superseded(Box::new(row(&*store, id).await));
    assert_eq!(store.append(start.clone()).await, Ok(commanded));
    assert_eq!(row(&*store, id).await.sequence, 1);
    assert_eq!(store.journal(id, 0, 10).await.unwrap().len(), 1);
    assert_eq!(store.append(Append { control: Some(1), ..start }).await, Ok(Appended::Done));
}

pub(super) async fn facts_that_start_nothing_are_appended_after_a_cancel(stores: &dyn Stores) {
    let store = stores.empty().await;
    let id = created(&*store, running()).await;
    store.command(cancel(id)).await.unwrap();
    assert_eq!(store.append(fact(id, 1, 1)).await, Ok(Appended::Done));
    let row = row(&*store, id).await;
    assert_eq!((row.sequence, row.cancel_requested.as_deref()), (2, Some("enough")));
}

pub(super) async fn a_cancelled_run_that_nobody_holds_is_due_at_once(stores: &dyn Stores) {
    let store = stores.empty().await;
    let asleep = left(&*store, sleeping(now().after(60 * MINUTE))).await;
    let blocked = left(&*store, status(State::Blocked)).await;
    let wish = now();
    assert!(claim_at(&*store, wish, 10).await.runs.is_empty());
    for id in [asleep, blocked] {
        assert_eq!(store.command(Command { now: wish, ..cancel(id) }).await.unwrap().control, 1);
    }
    let claimed = claim_at(&*store, wish, 10).await;
    assert!(claimed.runs.iter().map(|run| run.id).eq([asleep, blocked]));
    assert!(claimed.runs.iter().all(|run| run.cancel_requested.is_some()));
}

pub(super) async fn a_cancel_of_an_ended_run_depends_on_its_end(stores: &dyn Stores) {
    let store = stores.empty().await;
    let failed = left(&*store, status(State::Failed)).await;
    let refused = StoreError::Precondition { run: failed, state: State::Failed };
    assert_eq!(store.command(cancel(failed)).await, Err(refused));
    let cancelled = left(&*store, status(State::Cancelled)).await;
    assert_eq!(store.command(cancel(cancelled)).await.unwrap(), row(&*store, cancelled).await);
    // It was asked to end, and ended another way before it heard.
    let late = created(&*store, running()).await;
    store.command(cancel(late)).await.unwrap();
    let end = Append { status: status(State::Succeeded), ..fact(late, 1, 1) };
    assert_eq!(store.append(end).await, Ok(Appended::Done));
    assert_eq!(store.command(cancel(late)).await.unwrap().status.state, State::Succeeded);
    let missing = Uuid::now_v7();
    assert_eq!(store.command(cancel(missing)).await, Err(StoreError::NotFound(missing)));
}

pub(super) async fn a_repeated_cancel_acts_once(stores: &dyn Stores) {
    let store = stores.empty().await;
    let id = created(&*store, running()).await;
    let key = request(Uuid::new_v4(), 1);
    for _ in 0..2 {
        let cancel = Command { change: change("CancelRun", Some(key.clone())), ..cancel(id) };
        assert_eq!(store.command(cancel).await.unwrap().control, 1);
    }
    let other = RequestKey { hash: [2; 32], ..key.clone() };
    let cancel = Command { change: change("CancelRun", Some(other)), ..cancel(id) };
    assert_eq!(store.command(cancel).await, Err(StoreError::RequestMismatch(key.id)));
}

/// A retry of a run that was left at sequence 2 of its first epoch.
fn reopening() -> UnownedAppend {
    UnownedAppend {
        epoch: 1,
        sequence: 2,
        control: 0,
        entry: Bytes::from_static(b"reopened"),
        facts: 1,
        status: Status { wake_at: Some(now()), steps: 4, ..status(State::Pending) },
        keeps_pause: false,
        deadline: now().after(90 * MINUTE),
        related_runs: None,
    }
}

fn appending(run: Uuid, append: UnownedAppend) -> Command {
    let kind = CommandKind::Append(Box::new(append));
    Command { run, now: now(), change: change("RetryRun", None), kind }
}

pub(super) async fn a_failed_run_is_reopened(stores: &dyn Stores) {
    let store = stores.empty().await;
    let failed = Status { error: Some((13, "internal".to_owned())), steps: 4, ..status(State::Failed) };
    let id = left(&*store, failed).await;
    let append = reopening();
    let change = change("RetryRun", Some(request(Uuid::new_v4(), 1)));
    let reopen = Command { change, ..appending(id, append.clone()) };
    let reopened = store.command(reopen.clone()).await.unwrap();
    assert_eq!((reopened.sequence, reopened.control, reopened.owned), (3, 1, false));
    assert_eq!((&reopened.status, reopened.ended_at), (&append.status, None));
    assert_eq!(reopened.deadline, append.deadline);
    // The same request again, although the run is where no reopening would be allowed.
    assert_eq!(store.command(reopen.clone()).await.unwrap(), reopened);
    let claimed = claim_at(&*store, reopen.now, 10).await;
    assert!(claimed.runs.iter().map(|run| (run.id, run.epoch)).eq([(id, 2)]));
    let journal = store.journal(id, 2, 10).await.unwrap();
    assert_eq!((journal.len(), journal[0].sequence, &journal[0].entry), (1, 3, &append.entry));
}

pub(super) async fn a_reopening_of_another_journal_is_fenced(stores: &dyn Stores) {
    let store = stores.empty().await;
    let id = left(&*store, status(State::Blocked)).await;
    for (epoch, sequence) in [(2, 2), (1, 1)] {
        let reopen = appending(id, UnownedAppend { epoch, sequence, ..reopening() });
        assert_eq!(store.command(reopen).await, Err(StoreError::Fenced(id)));
    }
    assert_eq!(row(&*store, id).await.status.state, State::Blocked);
    assert_eq!(store.command(appending(id, reopening())).await.unwrap().status.state, State::Pending);
}

pub(super) async fn a_run_is_amended_only_where_nobody_holds_it_and_the_table_of_moves_allows_it(stores: &dyn Stores) {
    let store = stores.empty().await;
    for state in [State::Waiting, State::Succeeded, State::Cancelled] {
        let id = left(&*store, status(state)).await;
        let refused = StoreError::Precondition { run: id, state };
        assert_eq!(store.command(appending(id, reopening())).await, Err(refused));
    }
    let held = created(&*store, running()).await;
    // Its owner may know more: the caller has to look again.
    let fenced = Err(StoreError::Fenced(held));
    assert_eq!(store.command(appending(held, UnownedAppend { sequence: 1, ..reopening() })).await, fenced);
    let missing = Uuid::now_v7();
    assert_eq!(store.command(appending(missing, reopening())).await, Err(StoreError::NotFound(missing)));
}

pub(super) async fn an_amendment_that_was_overtaken_by_a_command_is_fenced(stores: &dyn Stores) {
    let store = stores.empty().await;
    let id = left(&*store, status(State::Blocked)).await;
    store.command(cancel(id)).await.unwrap();
    assert_eq!(store.command(appending(id, reopening())).await, Err(StoreError::Fenced(id)));
}

pub(super) async fn an_amendment_keeps_a_pause_if_it_says_so(stores: &dyn Stores) {
    let store = stores.empty().await;
    for keeps_pause in [true, false] {
        let id = left(&*store, status(State::BackingOff)).await;
        store.command(super::steering::pausing(id, false)).await.unwrap();
        let appended =
            store.command(appending(id, UnownedAppend { control: 1, keeps_pause, ..reopening() })).await.unwrap();
        assert_eq!((appended.status.state, appended.paused.is_some()), (State::Pending, keeps_pause));
    }
}

pub(super) async fn a_run_that_needs_a_decision_keeps_being_asked_to_end(stores: &dyn Stores) {
    let store = stores.empty().await;
    let ending = Status { ending_as: Some(State::Cancelled), ..status(State::NeedsDecision) };
    let id = left(&*store, ending.clone()).await;
    store.command(cancel(id)).await.unwrap();
    let status = Status { state: State::Ending, wake_at: Some(now()), ..ending };
    let decided = store.command(appending(id, UnownedAppend { control: 1, status, ..reopening() })).await.unwrap();
    assert_eq!((decided.status.state, decided.cancel_requested.as_deref()), (State::Ending, Some("enough")));
}
