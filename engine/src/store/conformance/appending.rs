//! Creating, appending, and the order of both.

use super::*;

pub(super) async fn a_created_run_is_there_with_its_first_facts(stores: &dyn Stores) {
    let store = stores.empty().await;
    let run = NewRun { facts: 3, ..running() };
    let id = created(&*store, run.clone()).await;
    let row = row(&*store, id).await;
    assert_eq!((row.epoch, row.sequence, row.control, row.owned), (1, 3, 0, true));
    assert_eq!((row.workflow.as_str(), row.workflow_version, &row.status), (WORKFLOW, 1, &run.status));
    assert_eq!((row.created_at, row.deadline, row.ended_at), (run.created_at, run.deadline, None));
    let journal = store.journal(id, 0, 10).await.unwrap();
    assert_eq!(journal.len(), 1);
    assert_eq!((journal[0].sequence, journal[0].epoch, &journal[0].entry), (3, 1, &run.entry));
}

pub(super) async fn an_append_moves_the_row_and_adds_to_the_journal(stores: &dyn Stores) {
    let store = stores.empty().await;
    let id = created(&*store, running()).await;
    let status = Status {
        awaits: Vec::new(),
        state: State::BackingOff,
        reason: "SERVICE_DOWN: the service is down".to_owned(),
        ending_as: Some(State::Cancelled),
        wake_at: Some(now()),
        steps: 7,
        error: Some((14, "unavailable".to_owned())),
    };
    let append = Append { facts: 2, control: Some(0), status: status.clone(), ..fact(id, 1, 1) };
    assert_eq!(store.append(append).await, Ok(Appended::Done));
    let row = row(&*store, id).await;
    assert_eq!((row.sequence, row.status, row.owned), (3, status, true));
    let journal = store.journal(id, 1, 10).await.unwrap();
    assert_eq!(journal.len(), 1);
    assert_eq!((journal[0].sequence, &journal[0].entry[..]), (3, &b"fact 2"[..]));
}

pub(super) async fn an_append_without_facts_moves_the_row_only(stores: &dyn Stores) {
    let store = stores.empty().await;
    let id = created(&*store, running()).await;
    let append = Append { facts: 0, entry: Bytes::new(), release: true, status: sleeping(now()), ..fact(id, 1, 1) };
    assert_eq!(store.append(append).await, Ok(Appended::Done));
    let row = row(&*store, id).await;
    assert_eq!((row.sequence, row.status.state, row.owned), (1, State::Waiting, false));
    assert_eq!(store.journal(id, 0, 10).await.unwrap().len(), 1);
}

pub(super) async fn an_append_at_another_sequence_is_fenced(stores: &dyn Stores) {
    let store = stores.empty().await;
    let id = created(&*store, running()).await;
    for sequence in [0, 2, u64::MAX] {
        assert_eq!(store.append(fact(id, 1, sequence.min(u64::MAX - 1))).await, Err(StoreError::Fenced(id)));
    }
    assert_eq!(row(&*store, id).await.sequence, 1);
    assert_eq!(store.journal(id, 0, 10).await.unwrap().len(), 1);
}

pub(super) async fn an_append_at_another_epoch_is_fenced(stores: &dyn Stores) {
    let store = stores.empty().await;
    let id = created(&*store, running()).await;
    for epoch in [0, 2] {
        let append = Append { control: Some(0), ..fact(id, epoch, 1) };
        assert_eq!(store.append(append).await, Err(StoreError::Fenced(id)));
    }
    assert_eq!(store.journal(id, 0, 10).await.unwrap().len(), 1);
}

pub(super) async fn an_append_to_a_run_that_is_given_back_is_fenced(stores: &dyn Stores) {
    let store = stores.empty().await;
    let id = left(&*store, sleeping(now().after(MINUTE))).await;
    assert_eq!(store.append(fact(id, 1, 2)).await, Err(StoreError::Fenced(id)));
}

pub(super) async fn an_append_to_a_run_that_is_not_there_says_so(stores: &dyn Stores) {
    let store = stores.empty().await;
    let id = Uuid::now_v7();
    assert_eq!(store.append(fact(id, 1, 1)).await, Err(StoreError::NotFound(id)));
}

pub(super) async fn a_run_that_is_created_twice_is_refused(stores: &dyn Stores) {
    let store = stores.empty().await;
    let run = running();
    let id = created(&*store, run.clone()).await;
    let again = store.create(run).await;
    assert_eq!(again, Err(StoreError::Precondition { run: id, state: State::Running }));
    assert_eq!(store.journal(id, 0, 10).await.unwrap().len(), 1);
}

pub(super) async fn an_ended_run_is_given_back_and_stays_ended(stores: &dyn Stores) {
    let store = stores.empty().await;
    let id = created(&*store, running()).await;
    let status = Status { wake_at: Some(now()), ..status(State::Succeeded) };
    assert_eq!(store.append(Append { status, ..fact(id, 1, 1) }).await, Ok(Appended::Done));
    let ended = row(&*store, id).await;
    assert!(ended.ended_at.is_some());
    assert_eq!((ended.owned, ended.status.wake_at), (false, None));
    assert_eq!(store.append(fact(id, 1, 2)).await, Err(StoreError::Fenced(id)));
    let claimed = claim_at(&*store, now().after(60 * MINUTE), 10).await;
    assert!(claimed.runs.is_empty());
    assert_eq!(claimed.next_due, None);
}

pub(super) async fn a_message_with_a_nul_is_kept_or_has_another_sign_there(stores: &dyn Stores) {
    let store = stores.empty().await;
    let id = created(&*store, running()).await;
    let error = Some((13, "before\0after".to_owned()));
    let status = Status { error, reason: "why\0not".to_owned(), ..status(State::Failed) };
    assert_eq!(store.append(Append { status, ..fact(id, 1, 1) }).await, Ok(Appended::Done));
    let Status { state, reason, error, .. } = row(&*store, id).await.status;
    let (code, message) = error.unwrap();
    let nul = |text: &str| text.replace('\u{FFFD}', "\0");
    assert_eq!((state, code, nul(&message).as_str()), (State::Failed, 13, "before\0after"));
    assert_eq!(nul(&reason), "why\0not");
}

pub(super) async fn appends_queued_together_keep_their_order(stores: &dyn Stores) {
    let store = stores.empty().await;
    let id = created(&*store, running()).await;
    let answers: Vec<_> = (1..=200).map(|sequence| store.append(fact(id, 1, sequence))).collect();
    // The last is asked first: order comes from the calls.
    for answer in answers.into_iter().rev() {
        assert_eq!(answer.await, Ok(Appended::Done));
    }
    let journal = store.journal(id, 1, 1_000).await.unwrap();
    assert!(journal.iter().map(|entry| entry.sequence).eq(2..=201));
}

pub(super) async fn a_refused_operation_does_not_fail_its_neighbours(stores: &dyn Stores) {
    let store = stores.empty().await;
    let first = created(&*store, running()).await;
    let second = created(&*store, running()).await;
    let missing = Uuid::now_v7();
    let taken = NewRun { id: first, ..running() };
    let good = store.append(fact(first, 1, 1));
    let stale = store.append(fact(second, 9, 1));
    let unknown = store.append(fact(missing, 1, 1));
    let twice = store.create(taken);
    let after = store.append(fact(second, 1, 1));
    assert_eq!(good.await, Ok(Appended::Done));
    assert_eq!(stale.await, Err(StoreError::Fenced(second)));
    assert_eq!(unknown.await, Err(StoreError::NotFound(missing)));
    assert_eq!(twice.await, Err(StoreError::Precondition { run: first, state: State::Running }));
    assert_eq!(after.await, Ok(Appended::Done));
}

pub(super) async fn operations_are_queued_when_they_are_called(stores: &dyn Stores) {
    let store = stores.empty().await;
    let run = running();
    let id = run.id;
    drop(store.create(run));
    assert_eq!(store.append(fact(id, 1, 1)).await, Ok(Appended::Done));
}

pub(super) async fn a_closed_store_says_so(stores: &dyn Stores) {
    let store = stores.empty().await;
    let claim = store.ownership();
    assert!(claim.is_held());
    let queued = store.create(running());
    assert_eq!(store.close().await, Ok(()));
    assert_eq!(queued.await, Ok(Created::New));
    assert!(!claim.is_held());
    assert_eq!(store.create(running()).await, Err(StoreError::Closed));
    assert_eq!(store.run(Uuid::now_v7()).await, Err(StoreError::Closed));
}
