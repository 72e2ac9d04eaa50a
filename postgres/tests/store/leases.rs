//! Several replicas over one database: who holds what, and who takes over from whom.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::state::State;
use engine::store::{
    Append, Appended, ChangedRun, ClaimRuns, Claimed, Command, CommandKind, Created, NewRun, Recall, Requester,
    RunProgress, Status, Store, StoreError, UnownedAppend,
};
use engine::time::{Clock, Timestamp};
use postgres_store::testing::{Release, connect, database, expire};
use postgres_store::{Postgres, PostgresOptions};
use tokio_postgres::Config;
use uuid::Uuid;

const NONE: [Uuid; 0] = [];
pub(crate) const WORKFLOW: &str = "leases.first";

pub(crate) async fn replica(database: &Config) -> Postgres {
    let mut options = PostgresOptions::new(database.clone());
    options.hints = false;
    Postgres::open(options).await.unwrap()
}

/// One that hears of others only by hints.
async fn hinted(database: &Config) -> Postgres {
    let mut options = PostgresOptions::new(database.clone());
    options.look_every = Duration::from_secs(3_600);
    Postgres::open(options).await.unwrap()
}

/// One whose lease is short, for tests that wait for its heartbeats.
async fn restless(database: &Config) -> Postgres {
    let mut options = PostgresOptions::new(database.clone());
    (options.lease, options.margin) = (Duration::from_millis(1_500), Duration::from_millis(300));
    Postgres::open(options).await.unwrap()
}

pub(crate) fn now() -> Timestamp {
    Clock::system().now()
}

pub(crate) fn status(state: State) -> Status {
    Status { state, reason: String::new(), ending_as: None, wake_at: None, awaits: Vec::new(), steps: 0, error: None }
}

pub(crate) fn new_run(claimed: bool) -> NewRun {
    let created_at = now();
    NewRun {
        id: Uuid::now_v7(),
        workflow: WORKFLOW.to_owned(),
        workflow_version: 1,
        created_at,
        deadline: created_at.after(Duration::from_secs(3_600)),
        origin: None,
        previous_success: None,
        parent: None,
        change: None,
        claimed,
        entry: Bytes::from_static(b"created"),
        facts: 1,
        status: status(if claimed { State::Running } else { State::Pending }),
    }
}

pub(crate) async fn created(store: &Postgres, run: NewRun) -> Uuid {
    let id = run.id;
    assert_eq!(store.create(run).await, Ok(Created::New));
    id
}

pub(crate) fn fact(run: Uuid, epoch: u64, sequence: u64) -> Append {
    Append {
        run,
        epoch,
        sequence,
        control: None,
        entry: Bytes::from_static(b"fact"),
        facts: 1,
        status: status(State::Running),
        messages: None,
        takes: Vec::new(),
        related_runs: None,
        release: false,
        changes: Vec::new(),
    }
}

async fn claim_at(store: &Postgres, version: u32, now: Timestamp) -> Claimed {
    let workflows = vec![(WORKFLOW.to_owned(), version)];
    store.claim(ClaimRuns { workflows, now, limit: 1_000, held: None }).await.unwrap()
}

async fn claim(store: &Postgres) -> Vec<Uuid> {
    claim_at(store, 1, now()).await.runs.into_iter().map(|run| run.id).collect()
}

/// Waits for what heartbeats bring about.
async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let since = std::time::Instant::now();
    while !holds().await {
        assert!(since.elapsed() < Duration::from_secs(60), "it does not come about");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_living_replica_keeps_its_runs_and_a_dead_one_loses_them_when_its_lease_is_over() {
    let database = database(Release::Newest).await;
    let (first, second) = (replica(&database).await, replica(&database).await);
    let run = created(&first, new_run(true)).await;
    assert_eq!(claim(&second).await, NONE, "it is held");
    assert!(second.run(run).await.unwrap().unwrap().owned);
    first.die();
    assert_eq!(claim(&second).await, NONE, "nothing is known of its death yet");
    expire(&database, first.lease()).await;
    assert_eq!(claim(&second).await, [run]);
    let row = second.run(run).await.unwrap().unwrap();
    assert_eq!((row.epoch, row.owned), (2, true));
    assert_eq!(second.append(fact(run, 2, 1)).await, Ok(Appended::Done));
}

fn cancel(run: Uuid) -> Command {
    let change = Requester::new("ann@host", "it has to").to("CancelRun", "");
    Command { run, now: now(), change, kind: CommandKind::Cancel }
}

/// Cancels runs that the first holds until the first hears of one: a hint may be sent before anyone listens.
async fn cancelled_until_heard(first: &Postgres, second: &Postgres) -> Vec<ChangedRun> {
    let changed = first.shared().unwrap().changed_by_others();
    let cancelling = async {
        loop {
            let run = created(first, new_run(true)).await;
            second.command(cancel(run)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        changed = changed => changed.unwrap(),
        () = cancelling => unreachable!("it cancels for ever"),
    }
}

#[tokio::test]
async fn a_run_that_a_command_made_due_is_found_without_a_hint() {
    let database = database(Release::Newest).await;
    let (first, second) = (replica(&database).await, replica(&database).await);
    let run = created(&first, NewRun { status: status(State::Waiting), ..new_run(false) }).await;
    second.command(cancel(run)).await.unwrap();
    let told = first.shared().unwrap().changed_by_others().await.unwrap();
    assert!(told.is_empty(), "it holds none: {told:?}");
    assert_eq!(claim(&first).await, [run]);
}

#[tokio::test]
async fn a_hint_tells_the_owner_of_a_run_without_a_look() {
    let database = database(Release::Newest).await;
    let (first, second) = (hinted(&database).await, hinted(&database).await);
    let changed = cancelled_until_heard(&first, &second).await;
    assert!(changed.iter().all(|changed| changed.row.cancel_requested.is_some()) && !changed.is_empty(), "{changed:?}");
}

#[tokio::test]
async fn a_hint_finds_a_run_that_no_replica_holds_by_its_bucket() {
    let database = database(Release::Newest).await;
    let (first, second) = (hinted(&database).await, hinted(&database).await);
    let changed = first.shared().unwrap().changed_by_others();
    let cancelling = async {
        loop {
            // In a bucket of the first, and of no one's.
            let run = created(&first, NewRun { status: status(State::Waiting), ..new_run(false) }).await;
            second.command(cancel(run)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let told = tokio::select! {
        changed = changed => changed.unwrap(),
        () = cancelling => unreachable!("it cancels for ever"),
    };
    assert!(told.is_empty(), "it holds none of them: {told:?}");
}

#[tokio::test]
async fn a_run_that_a_replica_died_of_is_a_suspect_for_the_one_that_takes_it() {
    let database = database(Release::Newest).await;
    let (dead, other) = (replica(&database).await, replica(&database).await);
    let (suspect, innocent) = (created(&dead, new_run(true)).await, created(&dead, new_run(true)).await);
    dead.die();
    // It comes back before its lease is over.
    let back = replica(&database).await;
    back.shared().unwrap().accuse(vec![suspect]).await.unwrap();
    expire(&database, dead.lease()).await;
    let mut claimed = claim_at(&other, 1, now()).await;
    claimed.runs.sort_by_key(|run| run.id);
    assert_eq!(claimed.runs.iter().map(|run| run.id).collect::<Vec<_>>(), [suspect, innocent]);
    assert_eq!(claimed.suspects, [suspect]);
    other.die();
    expire(&database, other.lease()).await;
    let again = claim_at(&back, 1, now()).await;
    assert_eq!((again.runs.len(), again.suspects), (2, Vec::new()), "it is said once");
}

#[tokio::test]
async fn a_replica_that_was_taken_for_dead_writes_nothing_with_its_old_lease() {
    let database = database(Release::Newest).await;
    let (frozen, other) = (replica(&database).await, replica(&database).await);
    let run = created(&frozen, new_run(true)).await;
    expire(&database, frozen.lease()).await;
    // A lease that has expired and that no one has found yet still holds: nothing is in doubt about who writes.
    assert_eq!(frozen.append(fact(run, 1, 1)).await, Ok(Appended::Done));
    assert_eq!(claim(&other).await, [run]);
    assert_eq!(frozen.append(fact(run, 1, 2)).await, Err(StoreError::Fenced(run)));
    assert_eq!(frozen.append(fact(run, 2, 2)).await, Err(StoreError::Fenced(run)), "it guesses the epoch");
    assert!(matches!(frozen.create(new_run(true)).await, Err(StoreError::Unavailable(_))), "it may hold nothing");
    let waiting = created(&frozen, new_run(false)).await;
    assert_eq!(claim(&frozen).await, NONE, "it may claim nothing");
    assert!(!other.run(waiting).await.unwrap().unwrap().owned);
}

#[tokio::test]
async fn a_replica_whose_lease_is_over_begins_another_life_and_says_that_all_is_lost() {
    let database = database(Release::Newest).await;
    let store = restless(&database).await;
    let run = created(&store, new_run(true)).await;
    let (old, lease, losses) = (store.ownership(), store.lease(), store.losses());
    assert!(old.is_held());
    expire(&database, lease).await;
    until(async || store.lease() != lease).await;
    assert!(losses.has_changed().unwrap() && !old.is_held());
    assert!(store.ownership().is_held());
    assert_eq!(store.append(fact(run, 1, 1)).await, Err(StoreError::Fenced(run)));
    assert_eq!(claim(&store).await, [run]);
    assert_eq!(store.append(fact(run, 2, 1)).await, Ok(Appended::Done));
}

#[tokio::test]
async fn heartbeats_keep_a_lease_for_longer_than_it_is_long() {
    let database = database(Release::Newest).await;
    let store = restless(&database).await;
    let (claim, lease) = (store.ownership(), store.lease());
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(claim.is_held() && store.lease() == lease);
}

#[tokio::test]
async fn what_a_replica_held_is_free_as_soon_as_it_has_closed_the_store() {
    let database = database(Release::Newest).await;
    let (first, second) = (replica(&database).await, replica(&database).await);
    let run = created(&first, new_run(true)).await;
    assert_eq!(first.close().await, Ok(()));
    assert_eq!(claim(&second).await, [run]);
}

#[tokio::test]
async fn replicas_share_the_buckets_evenly_and_take_those_of_one_that_left() {
    let database = database(Release::Newest).await;
    let first = restless(&database).await;
    assert_eq!(first.buckets().len(), 64);
    let (second, third) = (restless(&database).await, restless(&database).await);
    let all = [&first, &second, &third];
    let shared = async || {
        let held: Vec<Vec<i16>> = all.iter().map(|store| store.buckets()).collect();
        let together: BTreeSet<i16> = held.iter().flatten().copied().collect();
        together.len() == 64 && held.iter().all(|held| (20..=22).contains(&held.len()))
    };
    until(shared).await;
    third.close().await.unwrap();
    until(async || first.buckets().len() == 32 && second.buckets().len() == 32).await;
}

#[tokio::test]
async fn replicas_that_claim_at_the_same_time_get_each_run_once() {
    let database = database(Release::Newest).await;
    let first = Arc::new(restless(&database).await);
    let mut expected = BTreeSet::new();
    for _ in 0..100 {
        expected.insert(created(&first, new_run(false)).await);
    }
    let mut replicas = vec![Arc::clone(&first)];
    for _ in 0..3 {
        replicas.push(Arc::new(restless(&database).await));
    }
    // All look at all of them: so much later the runs are anyone's.
    let later = now().after(Duration::from_secs(3_600));
    let claims = replicas.iter().map(|store| {
        let store = Arc::clone(store);
        tokio::spawn(async move { claim_at(&store, 1, later).await.runs })
    });
    let mut claimed = Vec::new();
    for runs in futures_util::future::join_all(claims).await {
        claimed.extend(runs.unwrap().into_iter().map(|run| (run.id, run.epoch)));
    }
    assert!(claimed.iter().all(|(_, epoch)| *epoch == 1));
    claimed.sort_unstable();
    assert_eq!(claimed.iter().map(|(run, _)| *run).collect::<Vec<_>>(), Vec::from_iter(expected));
}

#[tokio::test]
async fn a_run_whose_code_only_another_replica_has_is_claimed_by_that_one() {
    let database = database(Release::Newest).await;
    let (old, new) = (replica(&database).await, replica(&database).await);
    let run = created(&old, NewRun { workflow_version: 2, ..new_run(false) }).await;
    assert_eq!(claim(&old).await, NONE, "it has no code for it, and all buckets");
    let claimed = claim_at(&new, 2, now().after(Duration::from_secs(60))).await;
    assert!(claimed.runs.iter().map(|run| run.id).eq([run]));
}

#[tokio::test]
async fn a_command_finds_a_run_wherever_it_is_held() {
    let database = database(Release::Newest).await;
    let (first, second) = (replica(&database).await, replica(&database).await);
    let run = created(&first, new_run(true)).await;
    let change = Requester::new("someone", "enough").to("CancelRun", "");
    let cancelled = second.command(Command { run, now: now(), change, kind: CommandKind::Cancel }).await.unwrap();
    assert!(cancelled.owned, "its owner ends it");
    let start = Append { control: Some(0), ..fact(run, 1, 1) };
    let refused = first.append(start).await.unwrap();
    assert_eq!(refused, Appended::Superseded(Box::new(cancelled)));
}

async fn changes(store: &Postgres) -> Vec<(Uuid, u64, Option<Recall>)> {
    let changed = store.shared().unwrap().changed_by_others().await.unwrap();
    changed.into_iter().map(|changed| (changed.row.id, changed.row.control, changed.recall)).collect()
}

#[tokio::test]
async fn the_owner_of_a_run_hears_what_other_replicas_ask_of_it_and_only_that_once() {
    let database = database(Release::Newest).await;
    let (first, second) = (replica(&database).await, replica(&database).await);
    let (run, other) = (created(&first, new_run(true)).await, created(&first, new_run(true)).await);
    created(&first, new_run(true)).await;
    let change = || Requester::new("someone", "enough").to("CancelRun", "");
    let cancel = |run| Command { run, now: now(), change: change(), kind: CommandKind::Cancel };
    second.command(cancel(run)).await.unwrap();
    assert_eq!(changes(&first).await, [(run, 1, None)]);
    second.shared().unwrap().recall(other, Recall::Now).await.unwrap();
    assert_eq!(changes(&first).await, [(other, 0, Some(Recall::Now))]);
    second.command(cancel(run)).await.unwrap();
    assert_eq!(changes(&first).await, [(run, 2, None)]);
    let silent = tokio::time::timeout(Duration::from_secs(2), changes(&first)).await;
    assert!(silent.is_err(), "{silent:?}");
    let silent = tokio::time::timeout(Duration::from_secs(1), changes(&second)).await;
    assert!(silent.is_err(), "they are not its runs: {silent:?}");
}

#[tokio::test]
async fn a_run_that_was_recalled_is_left_to_who_asked_until_it_is_written_to_or_some_seconds_are_over() {
    let database = database(Release::Newest).await;
    let (first, second) = (replica(&database).await, replica(&database).await);
    let (run, given_up) = (created(&first, new_run(true)).await, created(&first, new_run(true)).await);
    let asked_at = now();
    for asked in [run, given_up] {
        second.shared().unwrap().recall(asked, Recall::Settled).await.unwrap();
        let back = Append { status: status(State::Pending), release: true, ..fact(asked, 1, 1) };
        assert_eq!(first.append(back).await, Ok(Appended::Done));
    }
    assert_eq!(claim(&first).await, NONE);
    let row = second.run(run).await.unwrap().unwrap();
    let append = UnownedAppend {
        epoch: 1,
        sequence: 2,
        control: 0,
        entry: Bytes::from_static(b"decided"),
        facts: 1,
        status: Status { wake_at: Some(now()), ..status(State::Running) },
        keeps_pause: false,
        deadline: row.deadline,
        related_runs: None,
    };
    let change = Requester::new("someone", "enough").to("ResolveStep", "");
    let kind = CommandKind::Append(Box::new(append));
    second.command(Command { run, now: now(), change, kind }).await.unwrap();
    assert_eq!(claim(&first).await, [run]);
    let later = claim_at(&first, 1, asked_at.after(Duration::from_secs(60))).await;
    assert!(later.runs.iter().map(|run| run.id).eq([given_up]));
}

#[tokio::test]
async fn a_run_is_followed_wherever_it_is_held() {
    let database = database(Release::Newest).await;
    let (first, second) = (replica(&database).await, replica(&database).await);
    let (run, ended) = (created(&first, new_run(true)).await, created(&first, new_run(true)).await);
    let end = Append { status: status(State::Succeeded), ..fact(ended, 1, 1) };
    assert_eq!(first.append(end).await, Ok(Appended::Done));
    let mut progress = second.shared().unwrap().progress(vec![run, ended, Uuid::now_v7()]).await.unwrap();
    progress.sort_unstable_by_key(|progress| progress.ended);
    let expected =
        [RunProgress { run, sequence: 1, ended: false }, RunProgress { run: ended, sequence: 2, ended: true }];
    assert_eq!(progress, expected);
}

#[tokio::test]
async fn a_database_that_goes_away_and_comes_back_is_used_again() {
    let database = database(Release::Newest).await;
    let store = replica(&database).await;
    let run = created(&store, new_run(true)).await;
    // As a restart of the server does: every connection is gone, those that are in use too.
    let others = connect(&database).await;
    for sequence in 1..20 {
        others
            .execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid()",
                &[],
            )
            .await
            .unwrap();
        // A write whose connection goes may have been done; the row says so.
        until(async || matches!(store.run(run).await, Ok(Some(_)))).await;
        let row = store.run(run).await.unwrap().unwrap();
        if row.sequence == sequence {
            until(async || store.append(fact(run, 1, sequence)).await.is_ok()).await;
        }
    }
    assert_eq!(store.run(run).await.unwrap().unwrap().sequence, 20);
}
