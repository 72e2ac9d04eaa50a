//! Commands of operators, and requests that come twice.

use super::*;

pub(super) async fn a_repeated_creation_gives_the_first_run(stores: &dyn Stores) {
    let store = stores.empty().await;
    let key = request(Uuid::new_v4(), 1);
    let first = created(&*store, NewRun { request: Some(key.clone()), ..running() }).await;
    let again = NewRun { request: Some(key.clone()), ..running() };
    let id = again.id;
    assert_eq!(store.create(again).await, Ok(Created::Existing(first)));
    assert_eq!(store.run(id).await, Ok(None));
    // Whatever becomes of the owner.
    let store = stores.succeed(store).await;
    let again = NewRun { request: Some(key), ..running() };
    assert_eq!(store.create(again).await, Ok(Created::Existing(first)));
}

pub(super) async fn a_request_id_of_another_request_is_refused(stores: &dyn Stores) {
    let store = stores.empty().await;
    let id = Uuid::new_v4();
    created(&*store, NewRun { request: Some(request(id, 1)), ..running() }).await;
    let other = NewRun { request: Some(request(id, 2)), ..running() };
    let run = other.id;
    assert_eq!(store.create(other).await, Err(StoreError::RequestMismatch(id)));
    assert_eq!(store.run(run).await, Ok(None));
}

pub(super) async fn request_ids_of_other_callers_and_methods_are_others(stores: &dyn Stores) {
    let store = stores.empty().await;
    let id = Uuid::new_v4();
    let caller = RequestKey { caller: "someone else".to_owned(), ..request(id, 2) };
    let method = RequestKey { method: "RetryRun", ..request(id, 3) };
    for key in [request(id, 1), caller, method] {
        created(&*store, NewRun { request: Some(key), ..running() }).await;
    }
}

pub(super) async fn a_start_is_refused_after_a_cancel(stores: &dyn Stores) {
    let store = stores.empty().await;
    let id = created(&*store, running()).await;
    let cancelled = store.cancel(cancel(id)).await.unwrap();
    assert_eq!((cancelled.control, cancelled.owned, cancelled.status.wake_at), (1, true, None));
    let start = Append { control: Some(0), ..fact(id, 1, 1) };
    let commanded = Appended::Commanded(Box::new(row(&*store, id).await));
    assert_eq!(store.append(start.clone()).await, Ok(commanded));
    assert_eq!(row(&*store, id).await.sequence, 1);
    assert_eq!(store.journal(id, 0, 10).await.unwrap().len(), 1);
    assert_eq!(store.append(Append { control: Some(1), ..start }).await, Ok(Appended::Done));
}

pub(super) async fn facts_that_start_nothing_are_appended_after_a_cancel(stores: &dyn Stores) {
    let store = stores.empty().await;
    let id = created(&*store, running()).await;
    store.cancel(cancel(id)).await.unwrap();
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
        assert_eq!(store.cancel(Cancel { now: wish, ..cancel(id) }).await.unwrap().control, 1);
    }
    let claimed = claim_at(&*store, wish, 10).await;
    assert!(claimed.runs.iter().map(|run| run.id).eq([asleep, blocked]));
    assert!(claimed.runs.iter().all(|run| run.cancel_requested.is_some()));
}

pub(super) async fn a_cancel_of_an_ended_run_depends_on_its_end(stores: &dyn Stores) {
    let store = stores.empty().await;
    let failed = left(&*store, status(State::Failed)).await;
    let refused = StoreError::Precondition { run: failed, state: State::Failed };
    assert_eq!(store.cancel(cancel(failed)).await, Err(refused));
    let cancelled = left(&*store, status(State::Cancelled)).await;
    assert_eq!(store.cancel(cancel(cancelled)).await.unwrap(), row(&*store, cancelled).await);
    // It was asked to end, and ended another way before it heard.
    let late = created(&*store, running()).await;
    store.cancel(cancel(late)).await.unwrap();
    let end = Append { status: status(State::Succeeded), ..fact(late, 1, 1) };
    assert_eq!(store.append(end).await, Ok(Appended::Done));
    assert_eq!(store.cancel(cancel(late)).await.unwrap().status.state, State::Succeeded);
    let missing = Uuid::now_v7();
    assert_eq!(store.cancel(cancel(missing)).await, Err(StoreError::NotFound(missing)));
}

pub(super) async fn a_repeated_cancel_acts_once(stores: &dyn Stores) {
    let store = stores.empty().await;
    let id = created(&*store, running()).await;
    let key = request(Uuid::new_v4(), 1);
    for _ in 0..2 {
        let cancel = Cancel { request: Some(key.clone()), ..cancel(id) };
        assert_eq!(store.cancel(cancel).await.unwrap().control, 1);
    }
    let other = RequestKey { hash: [2; 32], ..key.clone() };
    let cancel = Cancel { request: Some(other), ..cancel(id) };
    assert_eq!(store.cancel(cancel).await, Err(StoreError::RequestMismatch(key.id)));
}

fn reopening(run: Uuid) -> Reopen {
    Reopen {
        run,
        epoch: 1,
        sequence: 2,
        entry: Bytes::from_static(b"reopened"),
        facts: 1,
        deadline: now().after(90 * MINUTE),
        now: now(),
        request: None,
    }
}

pub(super) async fn a_failed_run_is_reopened(stores: &dyn Stores) {
    let store = stores.empty().await;
    let failed = Status { error: Some((13, "internal".to_owned())), steps: 4, ..status(State::Failed) };
    let id = left(&*store, failed).await;
    let reopen = Reopen { request: Some(request(Uuid::new_v4(), 1)), ..reopening(id) };
    let reopened = store.reopen(reopen.clone()).await.unwrap();
    assert_eq!((reopened.sequence, reopened.control, reopened.owned), (3, 1, false));
    assert_eq!((reopened.status.state, &reopened.status.error, reopened.ended_at), (State::Pending, &None, None));
    assert_eq!((reopened.deadline, reopened.status.steps), (reopen.deadline, 4));
    // The same request again, although the run is where no reopening would be allowed.
    assert_eq!(store.reopen(reopen.clone()).await.unwrap(), reopened);
    let claimed = claim_at(&*store, reopen.now, 10).await;
    assert!(claimed.runs.iter().map(|run| (run.id, run.epoch)).eq([(id, 2)]));
    let journal = store.journal(id, 2, 10).await.unwrap();
    assert_eq!((journal.len(), journal[0].sequence, &journal[0].entry), (1, 3, &reopen.entry));
}

pub(super) async fn a_reopening_of_another_journal_is_fenced(stores: &dyn Stores) {
    let store = stores.empty().await;
    let id = left(&*store, status(State::Blocked)).await;
    for (epoch, sequence) in [(2, 2), (1, 1)] {
        let reopen = Reopen { epoch, sequence, ..reopening(id) };
        assert_eq!(store.reopen(reopen).await, Err(StoreError::Fenced(id)));
    }
    assert_eq!(row(&*store, id).await.status.state, State::Blocked);
    assert_eq!(store.reopen(reopening(id)).await.unwrap().status.state, State::Pending);
}

pub(super) async fn a_running_run_is_not_reopened(stores: &dyn Stores) {
    let store = stores.empty().await;
    for state in [State::Waiting, State::Succeeded, State::Cancelled] {
        let id = left(&*store, status(state)).await;
        let refused = StoreError::Precondition { run: id, state };
        assert_eq!(store.reopen(reopening(id)).await, Err(refused));
    }
    let missing = Uuid::now_v7();
    assert_eq!(store.reopen(reopening(missing)).await, Err(StoreError::NotFound(missing)));
}
