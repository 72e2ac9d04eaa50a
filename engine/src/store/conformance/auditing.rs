//! What is kept of changes, beside and beyond their runs.

use super::*;

/// What there is to know of the entries of one run, or of all, newest first.
async fn entries(store: &dyn Store, run: Option<Uuid>) -> Vec<(String, String, Option<Uuid>)> {
    let all = ListAudit { limit: 100, ..ListAudit::default() };
    let found = store.audit(run.map_or(all, |run| ListAudit::of_run(run, 100))).await.unwrap();
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
        let page = store.audit(ListAudit { before, limit: 2, ..ListAudit::default() }).await.unwrap();
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

fn refusal(caller: &str, action: &str, count: u32) -> Refusal {
    let [caller, action] = [caller, action].map(str::to_owned);
    Refusal { caller, said: String::from("ci@build"), action, why: String::from("no grant"), count }
}

/// Entries that meet the filter, newest first.
async fn found(store: &dyn Store, filter: Filter<AuditField>) -> Vec<AuditEntry> {
    store.audit(ListAudit { filter, limit: 100, ..ListAudit::default() }).await.unwrap()
}

pub(super) async fn refused_calls_are_counted_once_for_each_caller_method_and_minute(stores: &dyn Stores) {
    let store = stores.empty().await;
    store.refused(Vec::new()).await.unwrap();
    assert_eq!(found(&*store, Filter::default()).await, []);
    let mut before = now().as_micros() / 60_000_000;
    // What falls into two minutes is done again.
    let entries = loop {
        for count in [1, 41] {
            store
                .refused(vec![refusal("token:b", "CancelRun", 1), refusal("token:a", "CancelRun", count)])
                .await
                .unwrap();
        }
        store.refused(vec![refusal("token:a", "StartRun", 5)]).await.unwrap();
        let after = now().as_micros() / 60_000_000;
        if before == after {
            break found(&*store, Filter::default()).await;
        }
        before = after;
        assert_eq!(store.purge_audit(now().after(MINUTE)).await.map(|dropped| dropped > 0), Ok(true));
    };
    let mut counted: Vec<_> =
        entries.iter().map(|entry| (entry.caller.as_str(), entry.action.as_str(), entry.refusals)).collect();
    counted.sort_unstable();
    assert_eq!(counted, [("token:a", "CancelRun", 42), ("token:a", "StartRun", 5), ("token:b", "CancelRun", 2)]);
    for entry in entries {
        assert_eq!((entry.said.as_str(), entry.detail.as_str(), entry.workflow.as_str()), ("ci@build", "no grant", ""));
        assert_eq!((entry.run, entry.schedule, entry.request), (Uuid::nil(), None, None));
    }
}

pub(super) async fn entries_are_found_by_what_they_say(stores: &dyn Stores) {
    let store = stores.empty().await;
    let began = now();
    let mut ids = Vec::new();
    for (workflow, caller) in [(WORKFLOW, "token:a"), (OTHER, "token:a"), (WORKFLOW, "token:b")] {
        let change = Some(Requester::new(caller, "enough").to("StartRun", ""));
        ids.push(created(&*store, NewRun { workflow: workflow.to_owned(), change, ..running() }).await);
    }
    let cancel = Command { change: Requester::new("token:b", "").to("CancelRun", ""), ..cancel(ids[0]) };
    store.command(cancel).await.unwrap();
    store.refused(vec![refusal("token:a", "DeleteRun", 3)]).await.unwrap();

    let number = |field, comparison, number| Filter::Compare(field, comparison, Value::Number(number));
    let caller = |name: &str| Filter::is(AuditField::Caller, name);
    let none = || Vec::<&str>::new();
    let run = Filter::Compare(AuditField::Run, Comparison::Equal, Value::Id(ids[0]));
    let cases = [
        ("a caller", caller("token:b"), vec!["CancelRun", "StartRun"]),
        ("a run", run.clone(), vec!["CancelRun", "StartRun"]),
        ("a run and a caller", run.and(caller("token:a")), vec!["StartRun"]),
        ("not a caller", Filter::Not(Box::new(caller("token:a"))), vec!["CancelRun", "StartRun"]),
        ("a method", Filter::is(AuditField::Action, "StartRun"), vec!["StartRun"; 3]),
        (
            "changes",
            number(AuditField::Refusals, Comparison::Equal, 0),
            vec!["CancelRun", "StartRun", "StartRun", "StartRun"],
        ),
        ("refusals", number(AuditField::Refusals, Comparison::Greater, 0), vec!["DeleteRun"]),
        ("a schedule, which none has", Filter::Present(AuditField::Schedule), none()),
        (
            "no schedule and a method",
            Filter::Not(Box::new(Filter::Present(AuditField::Schedule)))
                .and(Filter::is(AuditField::Action, "CancelRun")),
            vec!["CancelRun"],
        ),
        ("before", number(AuditField::At, Comparison::Less, began.before(MINUTE).as_micros()), none()),
        (
            "since",
            number(AuditField::At, Comparison::AtLeast, began.before(MINUTE).as_micros()).and(caller("token:b")),
            vec!["CancelRun", "StartRun"],
        ),
        (
            "a prefix",
            Filter::begins_with_one(&AuditField::Workflow, [String::from("conformance.f")]),
            vec!["CancelRun", "StartRun", "StartRun"],
        ),
        (
            "a prefix is no pattern",
            Filter::begins_with_one(&AuditField::Workflow, [String::from("conformance_f"), String::from("%")]),
            none(),
        ),
        ("no prefix", Filter::begins_with_one(&AuditField::Workflow, []), none()),
        ("what a caller says", Filter::is(AuditField::Said, "ci@build"), vec!["DeleteRun"]),
    ];
    for (what, filter, expected) in cases {
        let actions: Vec<String> = found(&*store, filter).await.into_iter().map(|entry| entry.action).collect();
        assert_eq!(actions, expected, "{what}");
    }
}

pub(super) async fn what_a_caller_calls_itself_is_kept_beside_who_it_is(stores: &dyn Stores) {
    let store = stores.empty().await;
    let asked = Requester { said: String::from("ada@desk"), ..Requester::new("token:ci", "enough") };
    let id = created(&*store, NewRun { change: Some(asked.clone().to("StartRun", "")), ..running() }).await;
    store.command(Command { change: asked.to("CancelRun", ""), ..cancel(id) }).await.unwrap();
    let entries = found(&*store, Filter::default()).await;
    let said: Vec<_> = entries.iter().map(|entry| (entry.caller.as_str(), entry.said.as_str())).collect();
    assert_eq!(said, [("token:ci", "ada@desk"); 2]);
}
