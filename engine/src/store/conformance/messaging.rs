//! Messages to runs: what is acknowledged is kept, and no run goes to sleep beside one.

use super::*;

fn signal(run: Uuid, name: &str, payload: &'static [u8]) -> Command {
    let signal = Signal { name: name.to_owned(), payload: Bytes::from_static(payload), room: 3 };
    Command { run, now: now(), change: change("SignalRun", None), kind: CommandKind::Signal(signal) }
}

async fn numbers(store: &dyn Store, run: Uuid, after: u64) -> Vec<u64> {
    store.inbox(run, after).await.unwrap().into_iter().map(|message| message.number).collect()
}

fn waiting(names: &[&str]) -> Status {
    Status { awaits: names.iter().map(|name| (*name).to_owned()).collect(), ..status(State::Waiting) }
}

pub(super) async fn messages_are_kept_in_the_order_in_which_they_came(stores: &dyn Stores) {
    let store = stores.empty().await;
    let id = created(&*store, running()).await;
    assert_eq!(numbers(&*store, id, 0).await, [0; 0]);
    for (name, payload) in [("paid", &b"one"[..]), ("note", b"two")] {
        store.command(signal(id, name, payload)).await.unwrap();
    }
    let store = stores.succeed(store).await;
    let inbox = store.inbox(id, 0).await.unwrap();
    let said: Vec<(u64, &str, &[u8])> = inbox.iter().map(|m| (m.number, m.name.as_str(), &m.payload[..])).collect();
    assert_eq!(said, [(1, "paid", &b"one"[..]), (2, "note", b"two")]);
    assert_eq!(numbers(&*store, id, 1).await, [2]);
    // A message is no command: it refuses no start.
    let row = row(&*store, id).await;
    assert_eq!((row.messages, row.control), (2, 0));
}

pub(super) async fn a_message_makes_due_who_waits_for_it(stores: &dyn Stores) {
    let store = stores.empty().await;
    let waits = left(&*store, waiting(&["other", "paid"])).await;
    let other = left(&*store, waiting(&["paid too"])).await;
    let paused = left(&*store, Status { state: State::Paused, ..waiting(&["paid"]) }).await;
    assert_eq!(row(&*store, waits).await.status, waiting(&["other", "paid"]));
    for id in [waits, other, paused] {
        store.command(signal(id, "paid", b"paid")).await.unwrap();
    }
    let claimed = claim_at(&*store, now(), 10).await;
    assert!(claimed.runs.iter().map(|run| (run.id, run.messages)).eq([(waits, 1)]));
    assert_eq!(claimed.next_due, None);
}

pub(super) async fn a_run_is_not_given_back_beside_a_message_that_it_has_not_seen(stores: &dyn Stores) {
    let store = stores.empty().await;
    let id = created(&*store, running()).await;
    let sent = store.command(signal(id, "paid", b"paid"));
    let release = Append { status: waiting(&["paid"]), messages: Some(0), release: true, ..fact(id, 1, 1) };
    let answer = store.append(release.clone()).await;
    sent.await.unwrap();
    assert_eq!(answer, Ok(Appended::Superseded(Box::new(row(&*store, id).await))));
    assert_eq!((row(&*store, id).await.sequence, row(&*store, id).await.owned), (1, true));
    assert_eq!(store.append(Append { messages: Some(1), ..release }).await, Ok(Appended::Done));
    assert!(claim_at(&*store, now(), 10).await.runs.is_empty());
}

pub(super) async fn messages_leave_the_inbox_with_the_append_that_received_them(stores: &dyn Stores) {
    let store = stores.empty().await;
    let id = created(&*store, running()).await;
    for payload in [b"one", b"two", b"six"] {
        store.command(signal(id, "paid", payload)).await.unwrap();
    }
    let append = Append { takes: vec![1, 3], ..fact(id, 1, 1) };
    // One that does not find its run takes none.
    assert_eq!(store.append(Append { epoch: 2, ..append.clone() }).await, Err(StoreError::Fenced(id)));
    assert_eq!(numbers(&*store, id, 0).await, [1, 2, 3]);
    assert_eq!(store.append(append).await, Ok(Appended::Done));
    assert_eq!(numbers(&*store, id, 0).await, [2]);
    // Numbers are not given again.
    assert_eq!(store.command(signal(id, "paid", b"ten")).await.unwrap().messages, 4);
}

pub(super) async fn an_inbox_has_so_much_room_and_that_of_an_ended_run_none(stores: &dyn Stores) {
    let store = stores.empty().await;
    let id = created(&*store, running()).await;
    for _ in 0..3 {
        store.command(signal(id, "paid", b"paid")).await.unwrap();
    }
    let full = StoreError::InboxFull { run: id, room: 3 };
    assert_eq!(store.command(signal(id, "paid", b"paid")).await, Err(full));
    for state in [State::Succeeded, State::Failed, State::Cancelled, State::Terminated] {
        let ended = left(&*store, status(state)).await;
        let refused = StoreError::Precondition { run: ended, state };
        assert_eq!(store.command(signal(ended, "paid", b"paid")).await, Err(refused));
    }
}

pub(super) async fn a_message_of_one_request_comes_once(stores: &dyn Stores) {
    let store = stores.empty().await;
    let id = created(&*store, running()).await;
    let once = |hash| Command {
        change: change("SignalRun", Some(request(Uuid::from_u128(7), hash))),
        ..signal(id, "paid", b"paid")
    };
    for _ in 0..2 {
        assert_eq!(store.command(once(1)).await.unwrap().messages, 1);
    }
    assert_eq!(store.command(once(2)).await, Err(StoreError::RequestMismatch(Uuid::from_u128(7))));
    assert_eq!(numbers(&*store, id, 0).await, [1]);
}
