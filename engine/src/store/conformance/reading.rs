//! Reading journals, rows and lists.

use super::*;
use crate::store::{ListRuns, ListSchedules, Origin};

pub(super) async fn a_journal_is_read_in_pages(stores: &dyn Stores) {
    let store = stores.empty().await;
    let id = created(&*store, running()).await;
    created(&*store, running()).await;
    for sequence in 1..10 {
        assert_eq!(store.append(fact(id, 1, sequence)).await, Ok(Appended::Done));
    }
    let mut read = Vec::new();
    loop {
        let after = read.last().copied().unwrap_or(0);
        let page = store.journal(id, after, 3).await.unwrap();
        assert!(page.len() <= 3);
        if page.is_empty() {
            break;
        }
        read.extend(page.iter().map(|entry| entry.sequence));
    }
    assert!(read.into_iter().eq(1..=10));
}

pub(super) async fn runs_are_listed_newest_first_in_pages(stores: &dyn Stores) {
    let store = stores.empty().await;
    let mut ids = Vec::new();
    for number in 0..7 {
        let workflow = if number % 2 == 0 { WORKFLOW } else { OTHER };
        ids.push(created(&*store, NewRun { workflow: workflow.to_owned(), ..running() }).await);
    }
    ids.sort_unstable_by(|left, right| right.cmp(left));
    let all = ListRuns { limit: 100, ..ListRuns::default() };
    assert!(store.list(all).await.unwrap().iter().map(|run| run.id).eq(ids.iter().copied()));
    for states in [vec![], vec![State::Running, State::Failed]] {
        let mut listed: Vec<Uuid> = Vec::new();
        loop {
            let before = listed.last().copied();
            let filter = ListRuns { states: states.clone(), before, limit: 3, ..ListRuns::default() };
            let page = store.list(filter).await.unwrap();
            if page.is_empty() {
                break;
            }
            listed.extend(page.iter().map(|run| run.id));
        }
        assert_eq!(listed, ids);
    }
}

pub(super) async fn runs_are_listed_by_workflow_and_state(stores: &dyn Stores) {
    let store = stores.empty().await;
    let mut runs = Vec::new();
    for (version, workflow) in [(1, WORKFLOW), (2, WORKFLOW), (1, OTHER)] {
        for state in State::ALL {
            let run = NewRun { workflow: workflow.to_owned(), workflow_version: version, ..running() };
            let id = created(&*store, run).await;
            let append = Append { status: status(state), ..fact(id, 1, 1) };
            assert_eq!(store.append(append).await, Ok(Appended::Done));
            runs.push((id, workflow, state));
        }
    }
    runs.sort_unstable_by_key(|run| std::cmp::Reverse(run.0));
    let filters = [
        (None, vec![State::Waiting]),
        (None, vec![State::Failed, State::Cancelled, State::Failed]),
        (Some(WORKFLOW), vec![]),
        (Some(WORKFLOW), vec![State::Succeeded, State::Blocked]),
        (Some(OTHER), vec![State::Running]),
        (Some("conformance.none"), vec![]),
    ];
    for (workflow, states) in filters {
        let expected = runs
            .iter()
            .filter(|run| workflow.is_none_or(|name| name == run.1))
            .filter(|run| states.is_empty() || states.contains(&run.2))
            .map(|run| run.0);
        let workflow = workflow.map(str::to_owned);
        let filter = ListRuns { workflow, states: states.clone(), limit: 100, ..ListRuns::default() };
        let listed = store.list(filter).await.unwrap();
        assert!(listed.iter().map(|run| run.id).eq(expected.clone()), "{states:?}");
        if let Some(first) = listed.first() {
            let workflow = Some(first.workflow.clone());
            let filter = ListRuns { workflow, states, before: Some(first.id), limit: 1, ..ListRuns::default() };
            let next = listed.iter().skip(1).find(|run| run.workflow == first.workflow);
            assert_eq!(store.list(filter).await.unwrap().first(), next);
        }
    }
}

pub(super) async fn what_is_not_granted_is_on_no_page(stores: &dyn Stores) {
    let store = stores.empty().await;
    let mut granted = Vec::new();
    for number in 0..9 {
        let workflow = if number % 3 == 0 { WORKFLOW } else { OTHER };
        let id = created(&*store, NewRun { workflow: workflow.to_owned(), ..running() }).await;
        if workflow == WORKFLOW {
            granted.insert(0, id);
        }
    }
    let page = |prefixes: &[&str], before, states: &[State]| ListRuns {
        granted: Some(prefixes.iter().map(|prefix| (*prefix).to_owned()).collect()),
        before,
        states: states.to_vec(),
        limit: 2,
        ..ListRuns::default()
    };
    let ids = async |filter| store.list(filter).await.unwrap().into_iter().map(|run| run.id).collect::<Vec<_>>();
    assert_eq!(ids(page(&["conformance.f"], None, &[])).await, granted[..2]);
    assert_eq!(ids(page(&["conformance.f"], Some(granted[1]), &[State::Running])).await, granted[2..]);
    assert_eq!(ids(page(&["nothing", "conformance.f"], None, &[State::Failed])).await, Vec::<Uuid>::new());
    assert_eq!(ids(page(&[], None, &[])).await, Vec::<Uuid>::new());
    let other = ListRuns { workflow: Some(OTHER.to_owned()), ..page(&["conformance.f"], None, &[]) };
    assert_eq!(ids(other).await, Vec::<Uuid>::new());
}

pub(super) async fn workflows_are_named_once_over_all_their_versions(stores: &dyn Stores) {
    let store = stores.empty().await;
    assert_eq!(store.workflows().await, Ok(Vec::new()));
    for workflow_version in 1..3 {
        created(&*store, NewRun { workflow_version, ..running() }).await;
    }
    created(&*store, NewRun { workflow: OTHER.to_owned(), ..running() }).await;
    let mut names = vec![WORKFLOW.to_owned(), OTHER.to_owned()];
    names.sort();
    assert_eq!(store.workflows().await, Ok(names));
}

pub(super) async fn what_is_not_there_is_none(stores: &dyn Stores) {
    let store = stores.empty().await;
    let id = Uuid::now_v7();
    assert_eq!(store.run(id).await, Ok(None));
    assert_eq!(store.journal(id, 0, 10).await, Ok(Vec::new()));
    assert_eq!(store.list(ListRuns { limit: 10, ..ListRuns::default() }).await, Ok(Vec::new()));
    assert_eq!(store.schedules(ListSchedules::default()).await, Ok(Vec::new()));
    let by = Some(crate::store::TickOrigin::Trigger(Uuid::now_v7()));
    let origin = Origin { schedule: "hourly".to_owned(), nominal: now(), by };
    let run = NewRun { origin: Some(origin.clone()), ..pending() };
    let id = created(&*store, run).await;
    assert_eq!(row(&*store, id).await.origin, Some(origin));
}
