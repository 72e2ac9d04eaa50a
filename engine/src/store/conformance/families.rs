//! Parents and children: each append of one does to the other what it says, or nothing.

use super::*;

fn child_of(parent: Uuid) -> NewRun {
    NewRun { parent: Some(Parent { run: parent, depth: 1 }), ..pending() }
}

fn with(related_runs: RelatedRuns, append: Append) -> Append {
    Append { related_runs: Some(Box::new(related_runs)), ..append }
}

pub(super) async fn children_are_created_with_their_parents_append(stores: &dyn Stores) {
    let store = stores.empty().await;
    let parent = created(&*store, running()).await;
    let children = vec![child_of(parent), child_of(parent)];
    let ids: Vec<Uuid> = children.iter().map(|child| child.id).collect();
    let bears = with(RelatedRuns { children, ..RelatedRuns::default() }, fact(parent, 1, 1));
    assert_eq!(store.append(Append { epoch: 2, ..bears.clone() }).await, Err(StoreError::Fenced(parent)));
    assert_eq!(store.run(ids[0]).await, Ok(None));
    assert_eq!(store.append(bears.clone()).await, Ok(Appended::Done));
    for id in &ids {
        let child = row(&*store, *id).await;
        assert_eq!((child.parent, child.owned, child.status.state), (Some(parent), false, State::Pending));
    }
    assert_eq!(claim_at(&*store, now(), 10).await.runs.len(), 2);
    // The same again leaves them as they are.
    assert_eq!(store.append(Append { sequence: 2, ..bears }).await, Ok(Appended::Done));
    assert_eq!(row(&*store, ids[0]).await.epoch, 1);
}

pub(super) async fn the_end_of_a_child_lies_in_its_parents_inbox(stores: &dyn Stores) {
    let store = stores.empty().await;
    let waiting = Status { awaits: vec![Message::CHILD_ENDED.to_owned()], ..status(State::Waiting) };
    let parent = left(&*store, waiting).await;
    let child = created(&*store, NewRun { parent: child_of(parent).parent, ..running() }).await;
    let report = ChildEndNotice { parent, payload: Bytes::from_static(b"ended") };
    let end = Append { status: status(State::Succeeded), ..fact(child, 1, 1) };
    let end = with(RelatedRuns { report: Some(report), ..RelatedRuns::default() }, end);
    assert_eq!(store.append(end.clone()).await, Ok(Appended::Done));
    let inbox = store.inbox(parent, 0).await.unwrap();
    assert_eq!((inbox.len(), inbox[0].name.as_str(), &inbox[0].payload[..]), (1, Message::CHILD_ENDED, &b"ended"[..]));
    let claimed = claim_at(&*store, now(), 10).await;
    assert!(claimed.runs.iter().map(|run| (run.id, run.messages)).eq([(parent, 1)]));
    // A second owner of the child cannot end it again.
    assert_eq!(store.append(end).await, Err(StoreError::Fenced(child)));
    assert_eq!(store.inbox(parent, 0).await.unwrap().len(), 1);
}

pub(super) async fn an_ended_parent_hears_of_no_child(stores: &dyn Stores) {
    let store = stores.empty().await;
    let parent = left(&*store, status(State::Failed)).await;
    let child = created(&*store, running()).await;
    for parent in [parent, Uuid::now_v7()] {
        let report = Some(ChildEndNotice { parent, payload: Bytes::from_static(b"ended") });
        let sequence = row(&*store, child).await.sequence;
        let says = with(RelatedRuns { report, ..RelatedRuns::default() }, fact(child, 1, sequence));
        assert_eq!(store.append(says).await, Ok(Appended::Done));
        assert!(store.inbox(parent, 0).await.unwrap().is_empty());
    }
}

pub(super) async fn children_are_asked_to_end_with_their_parents_append(stores: &dyn Stores) {
    let store = stores.empty().await;
    let parent = created(&*store, running()).await;
    let asleep = left(&*store, sleeping(now().after(60 * MINUTE))).await;
    let held = created(&*store, running()).await;
    let ended = left(&*store, status(State::Succeeded)).await;
    let related_runs = RelatedRuns { cancels: vec![asleep, held, ended], ..RelatedRuns::default() };
    for sequence in 1..3 {
        assert_eq!(store.append(with(related_runs.clone(), fact(parent, 1, sequence))).await, Ok(Appended::Done));
    }
    // Asked once, however often that is said.
    assert_eq!((row(&*store, held).await.control, row(&*store, held).await.owned), (1, true));
    assert_eq!(row(&*store, ended).await.cancel_requested, None);
    let claimed = claim_at(&*store, now(), 10).await;
    assert!(claimed.runs.iter().map(|run| (run.id, run.control)).eq([(asleep, 1)]));
    assert!(claimed.runs[0].cancel_requested.is_some());
}
