//! What is kept of changes, beside and beyond their runs.

use super::*;

/// What there is to know of the entries of one run, or of all, newest first.
async fn entries(store: &dyn Store, run: Option<Uuid>) -> Vec<(String, String, Option<Uuid>)> {
    let found = store.audit(ListAudit { run, before: None, limit: 100, ..ListAudit::default() }).await.unwrap();
    assert!(found.iter().all(|entry| entry.workflow == WORKFLOW && entry.caller == "someone"));
    found.into_iter().map(|entry| (entry.action, entry.reason, entry.request)).collect()
}

pub(super) async fn a_change_leaves_an_entry_with_it(stores: &dyn Stores) {
    let store = stores.empty().await;
    let key = request(Uuid::new_v4(), 1);
    let id = created(&*store, starting(key.clone())).await;
    created(&*store, running()).await;
    store.command(cancel(id)).await.unwrap();
    let expected = [
        ("CancelRun".to_owned(), "enough".to_owned(), None),
        ("StartRun".to_owned(), "enough".to_owned(), Some(key.id)),
    ];
    assert_eq!(entries(&*store, Some(id)).await, expected);
    let store = stores.succeed(store).await;
    assert_eq!(entries(&*store, None).await, expected);
}

pub(super) async fn a_change_that_is_refused_leaves_no_entry(stores: &dyn Stores) {
    let store = stores.empty().await;
    let id = left(&*store, status(State::Failed)).await;
    assert!(store.command(cancel(id)).await.is_err());
    // Neither does one that was made before.
    let key = request(Uuid::new_v4(), 1);
    let first = created(&*store, starting(key.clone())).await;
    assert_eq!(store.create(starting(key)).await, Ok(Created::Existing(Box::new(row(&*store, first).await))));
    assert_eq!(entries(&*store, None).await.len(), 1);
}

pub(super) async fn entries_are_listed_newest_first_in_pages(stores: &dyn Stores) {
    let store = stores.empty().await;
    let mut runs = Vec::new();
    for number in 0..5 {
        runs.push(created(&*store, starting(request(Uuid::new_v4(), number))).await);
    }
    let (mut before, mut seen) = (None, Vec::new());
    loop {
        let page = store.audit(ListAudit { run: None, before, limit: 2, ..ListAudit::default() }).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.number);
        seen.extend(page.into_iter().map(|entry| entry.run));
    }
    runs.reverse();
    assert_eq!(seen, runs);
}

pub(super) async fn changes_that_an_owner_makes_leave_entries(stores: &dyn Stores) {
    let store = stores.empty().await;
    let id = created(&*store, running()).await;
    let resolve = change("ResolveStep", Some(request(Uuid::new_v4(), 1)));
    let append = Append { changes: vec![resolve.clone()], ..fact(id, 1, 1) };
    // One that does not find its run leaves none.
    assert_eq!(store.append(Append { epoch: 2, ..append.clone() }).await, Err(StoreError::Fenced(id)));
    assert!(entries(&*store, None).await.is_empty());
    assert_eq!(store.append(append).await, Ok(Appended::Done));
    assert_eq!(entries(&*store, Some(id)).await.len(), 1);
    assert_eq!(store.answered(resolve).await, Ok(Some(row(&*store, id).await)));
}
