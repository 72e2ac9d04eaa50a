//! Reading journals, rows and lists.

use super::*;
use crate::store::{ListRuns, ListSchedules, Origin, RunCount, RunField};

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

/// Whether the run meets the filter, told without SQL.
fn meets(filter: &Filter<RunField>, run: &RunRow) -> bool {
    let number = |number: i64| Some(Value::Number(number));
    let value = |field: &RunField| match field {
        RunField::Workflow => Some(Value::Text(run.workflow.clone())),
        RunField::State => number(run.status.state as i64),
        RunField::CreatedAt => number(run.created_at.as_micros()),
        RunField::UpdatedAt => number(run.updated_at.as_micros()),
        RunField::EndedAt => run.ended_at.and_then(|at| number(at.as_micros())),
        RunField::Schedule => run.origin.as_ref().map(|origin| Value::Text(origin.schedule.clone())),
        RunField::Reason => Some(run.status.reason.clone()).filter(|reason| !reason.is_empty()).map(Value::Text),
        RunField::Parent => run.parent.map(Value::Id),
        RunField::Pinned => Some(Value::Flag(run.pinned)),
        RunField::ErrorCode => run.status.error.as_ref().and_then(|(code, _)| number(i64::from(*code))),
    };
    match filter {
        Filter::All(all) => all.iter().all(|one| meets(one, run)),
        Filter::Any(any) => any.iter().any(|one| meets(one, run)),
        Filter::Not(one) => !meets(one, run),
        Filter::Present(field) => value(field).is_some(),
        Filter::Compare(field, ..) => {
            let one = value(field);
            one.is_some() && filter.known(&|_| one.clone()) == crate::store::filter::Known::Decided(true)
        }
    }
}

pub(super) async fn runs_are_found_and_counted_by_what_their_rows_say(stores: &dyn Stores) {
    let store = stores.empty().await;
    let parent = created(&*store, running()).await;
    let began = now();
    for number in 0..24 {
        let workflow = if number % 3 == 0 { OTHER } else { WORKFLOW };
        let origin = Origin { schedule: format!("every-{}", number % 2), nominal: now(), by: None };
        let run = NewRun {
            workflow: workflow.to_owned(),
            origin: (number % 4 == 1).then_some(origin),
            parent: (number % 4 == 2).then_some(Parent { run: parent, depth: 1 }),
            created_at: began.before(number * MINUTE),
            ..running()
        };
        let id = created(&*store, run).await;
        let state = State::ALL[number as usize % State::ALL.len()];
        let reason = if number % 5 == 0 { format!("UNDO_FAILED: {number}") } else { String::new() };
        let error = (state == State::Failed).then(|| (i32::try_from(number).unwrap() % 3, String::from("why")));
        let append = Append { status: Status { reason, error, ..status(state) }, ..fact(id, 1, 1) };
        assert_eq!(store.append(append).await, Ok(Appended::Done));
        if number % 7 == 0 {
            let kind = CommandKind::Pin(true);
            store.command(Command { run: id, now: now(), change: change("PinRun", None), kind }).await.unwrap();
        }
    }
    let all = store.list(ListRuns { limit: 100, ..ListRuns::default() }).await.unwrap();
    assert_eq!(all.len(), 25);

    let text = |field, comparison, text: &str| Filter::Compare(field, comparison, Value::Text(text.to_owned()));
    let number = |field, comparison, number| Filter::Compare(field, comparison, Value::Number(number));
    let not = |filter| Filter::Not(Box::new(filter));
    let state = |state: State| number(RunField::State, Comparison::Equal, state as i64);
    let ago = |minutes: u32| began.before(minutes * MINUTE).as_micros();
    let of_parent = Filter::Compare(RunField::Parent, Comparison::Equal, Value::Id(parent));
    let pinned = |pinned| Filter::Compare(RunField::Pinned, Comparison::Equal, Value::Flag(pinned));
    let filters = [
        Filter::default(),
        state(State::Failed),
        not(state(State::Failed)),
        Filter::Any(vec![state(State::Failed), text(RunField::Workflow, Comparison::Equal, OTHER)]),
        not(text(RunField::Workflow, Comparison::Equal, OTHER)).and(not(state(State::Running))),
        text(RunField::Workflow, Comparison::Begins, "conformance.s"),
        text(RunField::Schedule, Comparison::Equal, "every-1"),
        text(RunField::Schedule, Comparison::Equal, "every-1").and(not(state(State::Failed))),
        text(RunField::Schedule, Comparison::Begins, "every"),
        Filter::Present(RunField::Schedule),
        not(Filter::Present(RunField::Schedule)),
        not(text(RunField::Schedule, Comparison::Equal, "every-1")),
        of_parent.clone(),
        of_parent.and(text(RunField::Workflow, Comparison::Equal, WORKFLOW)),
        not(Filter::Present(RunField::Parent)),
        number(RunField::CreatedAt, Comparison::AtLeast, ago(5)),
        number(RunField::CreatedAt, Comparison::Greater, ago(9)).and(number(
            RunField::CreatedAt,
            Comparison::Less,
            ago(3),
        )),
        not(number(RunField::CreatedAt, Comparison::AtMost, ago(9))),
        number(RunField::EndedAt, Comparison::Greater, ago(60)),
        not(Filter::Present(RunField::EndedAt)),
        number(RunField::UpdatedAt, Comparison::Greater, ago(0)),
        text(RunField::Reason, Comparison::Begins, "UNDO_FAILED"),
        Filter::Present(RunField::Reason).and(state(State::Blocked)),
        not(Filter::Present(RunField::Reason)),
        pinned(true),
        pinned(false).and(state(State::Succeeded)),
        number(RunField::ErrorCode, Comparison::Equal, 1),
        not(number(RunField::ErrorCode, Comparison::Equal, 1)),
        Filter::Any(Vec::new()),
    ];
    for filter in filters {
        let expected: Vec<&RunRow> = all.iter().filter(|run| meets(&filter, run)).collect();
        let listed = store.list(ListRuns { filter: filter.clone(), limit: 100, ..ListRuns::default() }).await.unwrap();
        assert!(listed.iter().eq(expected.iter().copied()), "{filter:?}: {} of {}", listed.len(), expected.len());
        let mut counts: Vec<RunCount> = Vec::new();
        for run in &expected {
            let (workflow, state) = (run.workflow.clone(), run.status.state);
            match counts.iter_mut().find(|count| count.workflow == workflow && count.state == state) {
                Some(count) => count.runs += 1,
                None => counts.push(RunCount { workflow, state, runs: 1 }),
            }
        }
        counts.sort_by_key(|count| (count.workflow.clone(), count.state as u8));
        assert_eq!(store.count(filter.clone()).await, Ok(counts), "{filter:?}");
        let first = store.list(ListRuns { filter: filter.clone(), limit: 2, ..ListRuns::default() }).await.unwrap();
        assert!(first.iter().eq(expected.iter().copied().take(2)), "{filter:?}");
    }
}

pub(super) async fn lists_are_read_from_either_end_in_pages(stores: &dyn Stores) {
    let store = stores.empty().await;
    let mut ids = Vec::new();
    for number in 0..7 {
        let workflow = if number % 2 == 0 { WORKFLOW } else { OTHER };
        ids.push(created(&*store, NewRun { workflow: workflow.to_owned(), ..running() }).await);
    }
    ids.sort_unstable();
    let states = vec![State::Running, State::Failed];
    for filter in [ListRuns::default(), ListRuns { states, ..ListRuns::default() }] {
        let (mut after, mut seen) = (None, Vec::new());
        loop {
            let page = ListRuns { after, oldest_first: true, limit: 3, ..filter.clone() };
            let page = store.list(page).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            seen.extend(page.iter().map(|run| run.id));
        }
        assert_eq!(seen, ids);
    }
}
