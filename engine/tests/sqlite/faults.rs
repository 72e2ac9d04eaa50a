//! Disks that fail, disks that are full, and operations that cannot be stored.

use super::*;

#[tokio::test]
async fn a_failed_commit_voids_all_claims_and_the_store_comes_back() {
    for (fault, survives) in [(CommitFault::Before, false), (CommitFault::After, true)] {
        let folder = TempDir::new().unwrap();
        let store = open(&folder.path().join("store.db")).unwrap();
        let run = running();
        let id = run.id;
        store.create(run).await.unwrap();
        let (claim_before, mut losses) = (store.ownership(), store.losses());
        store.fail_next_commit(fault);
        let failed = store.append(fact(id, 1, 1, 10)).await;
        assert!(matches!(failed, Err(StoreError::Unavailable(_))), "{failed:?}");
        assert!(!claim_before.is_held());
        // While it is down it says so at the same time.
        let down = store.append(fact(id, 1, 1, 10)).await;
        assert!(matches!(down, Err(StoreError::Unavailable(_))), "{down:?}");

        losses.changed().await.unwrap();
        assert_eq!(*losses.borrow(), 1);
        let sequence = if survives { 2 } else { 1 };
        assert_eq!(store.append(fact(id, 1, sequence, 10)).await, Err(StoreError::Fenced(id)));
        assert!(claim_before.is_held());
        assert_eq!(claim(&store).await, [(id, 2, sequence)]);
        assert_eq!(store.append(fact(id, 2, sequence, 10)).await, Ok(Appended::Done));
        assert_eq!(store.journal(id, 0, 10).await.unwrap().len() as u64, sequence + 1);
    }
}

#[tokio::test]
async fn a_failed_commit_in_memory_voids_all_claims() {
    let store = Sqlite::in_memory(Clock::system()).unwrap();
    let run = running();
    let id = run.id;
    store.create(run).await.unwrap();
    let (claim_before, losses) = (store.ownership(), store.losses());
    store.fail_next_commit(CommitFault::Before);
    assert!(matches!(store.append(fact(id, 1, 1, 10)).await, Err(StoreError::Unavailable(_))));
    assert_eq!(*losses.borrow(), 1);
    assert!(claim_before.is_held());
    assert_eq!(claim(&store).await, [(id, 2, 1)]);
}

#[test]
fn a_full_disk_voids_all_claims_until_there_is_room() {
    let folder = TempDir::new().unwrap();
    let process = child("faults::fills_its_disk", &folder.path().join("store.db"));
    let output = String::from_utf8(process.wait_with_output().unwrap().stdout).unwrap();
    assert!(output.contains("1 passed"), "{output}");
}

#[test]
#[ignore = "run by another test, as a process whose files may not grow"]
fn fills_its_disk() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let path = database_of_child();
    let limit = getrlimit(Resource::Fsize);
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let store = open(&path).unwrap();
        let run = running();
        let id = run.id;
        store.create(run).await.unwrap();
        let (claim_before, mut losses) = (store.ownership(), store.losses());
        setrlimit(Resource::Fsize, Rlimit { current: Some(2 << 20), maximum: limit.maximum }).unwrap();
        let mut acknowledged = 1;
        let error = loop {
            match store.append(fact(id, 1, acknowledged, 60_000)).await {
                Ok(_) => acknowledged += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
        assert!(acknowledged > 10 && !claim_before.is_held());
        setrlimit(Resource::Fsize, limit).unwrap();
        losses.changed().await.unwrap();
        assert_eq!(claim(&store).await, [(id, 2, acknowledged)]);
        assert_eq!(store.append(fact(id, 2, acknowledged, 60_000)).await, Ok(Appended::Done));
        store.close().await.unwrap();
    });
}

#[tokio::test]
async fn an_operation_that_cannot_be_stored_does_not_fail_its_neighbours() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder.path().join("store.db")).unwrap();
    let runs: Vec<_> = (0..9).map(|_| running()).collect();
    for run in &runs {
        store.create(run.clone()).await.unwrap();
    }
    let answers: Vec<_> = runs
        .iter()
        .enumerate()
        .map(|(number, run)| {
            let mut append = fact(run.id, 1, 1, 10);
            if number == 4 {
                // An entry without facts has no place of its own in the journal: the statement fails.
                append.facts = 0;
            }
            store.append(append)
        })
        .collect();
    for (number, answer) in answers.into_iter().enumerate() {
        let answer = answer.await;
        assert_eq!(answer.is_ok(), number != 4, "{number}: {answer:?}");
    }
    // That was no one's disk.
    assert!(store.ownership().is_held());
    assert_eq!(*store.losses().borrow(), 0);
    for (number, run) in runs.iter().enumerate() {
        let sequence = store.run(run.id).await.unwrap().unwrap().sequence;
        assert_eq!(sequence, if number == 4 { 1 } else { 2 });
    }
}

#[tokio::test]
async fn a_store_that_is_closed_while_it_is_down_says_so() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    let store = open(&path).unwrap();
    store.fail_next_commit(CommitFault::Before);
    let lost = store.create(running());
    let closed = store.close();
    assert!(matches!(lost.await, Err(StoreError::Unavailable(_))));
    assert!(matches!(closed.await, Err(StoreError::Unavailable(_))));
    assert_eq!(store.create(running()).await, Err(StoreError::Closed));
    drop(open(&path).unwrap());
}
