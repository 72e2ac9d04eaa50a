//! One owner at a time, and what is left when it dies.

use super::*;

#[tokio::test]
async fn a_second_opening_of_the_same_file_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    let store = open(&path).unwrap();
    refused(&path, "another process has it open and holds");
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(open(&link).unwrap_err().to_string().contains("store.db.lock"));
    // The owner has noticed nothing.
    assert_eq!(store.create(running()).await, Ok(Created::New));
    assert!(store.ownership().is_held());
    store.close().await.unwrap();
    drop(open(&link).unwrap());
}

#[tokio::test]
async fn a_second_process_on_the_same_file_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    let mut owner = child("owners::appends_until_it_is_killed", &path);
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("appended ")));
    let error = open(&path).unwrap_err().to_string();
    assert!(error.contains("another process has it open") && error.contains("store.db.lock"), "{error}");
    owner.kill().unwrap();
    owner.wait().unwrap();
    drop(open(&path).unwrap());
}

#[test]
#[ignore = "run by other tests, as a process that they kill"]
fn appends_until_it_is_killed() {
    let path = database_of_child();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let store = open(&path).unwrap();
        let run = running();
        let id = run.id;
        store.create(run).await.unwrap();
        for sequence in 1.. {
            store.append(fact(id, 1, sequence, 1_000)).await.unwrap();
            println!("appended {id} {}", sequence + 1);
        }
    });
}

#[tokio::test]
async fn a_killed_process_loses_nothing_that_it_acknowledged() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    for acknowledged in [1, 40, 1_000] {
        let mut owner = child("owners::appends_until_it_is_killed", &path);
        let lines = BufReader::new(owner.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut lines = lines.filter(|line| line.starts_with("appended ")).skip(acknowledged);
        let mut last = lines.next().unwrap();
        owner.kill().unwrap();
        owner.wait().unwrap();
        // A line that the kill cut short says nothing.
        last = lines.filter(|line| line.split(' ').count() == 3).last().unwrap_or(last);
        let mut words = last.split(' ').skip(1);
        let id: Uuid = words.next().unwrap().parse().unwrap();
        let sequence: u64 = words.next().unwrap().parse().unwrap();

        let store = open(&path).unwrap();
        let row = store.run(id).await.unwrap().unwrap();
        assert!(row.sequence == sequence || row.sequence == sequence + 1, "{} of {sequence}", row.sequence);
        let journal = store.journal(id, 0, u32::MAX).await.unwrap();
        assert!(journal.iter().map(|entry| entry.sequence).eq(1..=row.sequence));
        assert!(claim(&store).await.contains(&(id, 2, row.sequence)));
        let end = Append { status: status(State::Succeeded), ..fact(id, 2, row.sequence, 10) };
        assert_eq!(store.append(end).await, Ok(Appended::Done));
    }
}

#[tokio::test]
async fn a_store_that_was_taken_over_is_written_no_more() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    let store = open(&path).unwrap();
    let run = running();
    let id = run.id;
    store.create(run).await.unwrap();
    // Past the lock, as a copy of the file put in its place would be.
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute("UPDATE store SET owner = x'00112233445566778899aabbccddeeff'", []).unwrap();
    for _ in 0..2 {
        let error = store.append(fact(id, 1, 1, 10)).await.unwrap_err();
        assert!(matches!(error, StoreError::Unusable(_)), "{error}");
        assert!(!store.ownership().is_held());
    }
    assert_eq!(store.journal(id, 0, 10).await.unwrap().len(), 1);
    assert!(matches!(store.close().await, Err(StoreError::Unusable(_))));
}

#[tokio::test]
async fn the_same_file_under_another_name_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    let alias = folder.path().join("alias.db");
    let store = open(&path).unwrap();
    std::fs::hard_link(&path, &alias).unwrap();
    refused(&alias, "maybe by another name");
    assert_eq!(store.create(running()).await, Ok(Created::New));
    drop(store);

    let mut owner = child("owners::appends_until_it_is_killed", &path);
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("appended ")));
    let error = open(&alias).unwrap_err().to_string();
    assert!(error.contains("maybe by another name"), "{error}");
    assert!(lines.any(|line| line.unwrap().starts_with("appended ")), "the owner continues");
    owner.kill().unwrap();
    owner.wait().unwrap();
}
