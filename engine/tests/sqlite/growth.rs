//! What grows, and what keeps it bounded.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_stays_bounded_under_load_with_readers() {
    const ENTRY: usize = 64 << 10;
    const APPENDS: u64 = 250;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    let store = Arc::new(open(&path).unwrap());
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                loop {
                    for run in store.list(ListRuns { limit: 100, ..ListRuns::default() }).await.unwrap() {
                        store.journal(run.id, 0, 100).await.unwrap();
                    }
                }
            })
        })
        .collect();
    let writers: Vec<_> = (0..16)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let run = running();
                let id = run.id;
                store.create(run).await.unwrap();
                for sequence in 1..APPENDS {
                    store.append(fact(id, 1, sequence, ENTRY)).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    for reader in readers {
        reader.abort();
    }
    // Its length is the most it ever was since it was cut; 250 MB went through it.
    let log = std::fs::metadata(folder.path().join("store.db-wal")).unwrap().len();
    assert!(log < 64 << 20, "{log} bytes");
    store.close().await.unwrap();
    assert!(!folder.path().join("store.db-wal").exists());
}

#[tokio::test]
async fn another_program_that_reads_does_not_stop_the_writer() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    let store = open(&path).unwrap();
    let run = running();
    let id = run.id;
    store.create(run).await.unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN").unwrap();
    let read = |name| other.query_row(name, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(read("SELECT count(*) FROM journal"), 1);
    // 80 MB: the log passes its limit, and cannot be cut.
    for sequence in 1..80 {
        assert_eq!(store.append(fact(id, 1, sequence, 1 << 20)).await, Ok(Appended::Done));
    }
    assert_eq!(read("SELECT count(*) FROM journal"), 1);
    let log = || std::fs::metadata(folder.path().join("store.db-wal")).unwrap().len();
    assert!(log() > 64 << 20);
    other.execute_batch("COMMIT").unwrap();
    for sequence in 80..120 {
        assert_eq!(store.append(fact(id, 1, sequence, 1 << 20)).await, Ok(Appended::Done));
    }
    assert!(log() <= 100 << 20, "{}", log());
    assert_eq!(*store.losses().borrow(), 0);
}

#[tokio::test(start_paused = true)]
async fn request_ids_are_forgotten_after_more_than_a_day() {
    let clock = Clock::following_tokio(Timestamp::from_micros(1_000_000));
    let store = Sqlite::in_memory(clock).unwrap();
    let key = RequestKey { id: Uuid::new_v4(), hash: [1; 32] };
    let asked = Requester { request: Some(key), ..Requester::default() };
    let change = AuditedChange { action: "StartRun", detail: String::new(), asked, schedule: None };
    let create = || store.create(NewRun { change: Some(change.clone()), ..running() });
    assert_eq!(create().await, Ok(Created::New));
    tokio::time::advance(Duration::from_secs(24 * 3_600)).await;
    assert!(matches!(create().await, Ok(Created::Existing(_))));
    tokio::time::advance(Duration::from_secs(2 * 3_600)).await;
    store.create(running()).await.unwrap();
    assert_eq!(create().await, Ok(Created::New));
}
