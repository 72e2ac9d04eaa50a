//! Files that are not ours, damaged, or made by a newer release; and who may read ours.

use super::*;

#[tokio::test]
async fn files_that_are_not_ours_are_refused_and_left_as_they_were() {
    let folder = TempDir::new().unwrap();
    let notes = folder.path().join("notes.txt");
    std::fs::write(&notes, "not a database, and longer than the header of one would be: ".repeat(9)).unwrap();
    refused(&notes, "not a SQLite database");
    let short = folder.path().join("short.txt");
    std::fs::write(&short, "SQLite format 3\0").unwrap();
    refused(&short, "not a SQLite database");

    let folder = TempDir::new().unwrap();
    let foreign = folder.path().join("foreign.db");
    let connection = rusqlite::Connection::open(&foreign).unwrap();
    connection.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE theirs (thing TEXT)").unwrap();
    drop(connection);
    refused(&foreign, "another program");
    assert!(matches!(open(folder.path()), Err(StoreError::Unusable(_))));
    let missing = folder.path().join("missing/store.db");
    assert!(open(&missing).unwrap_err().to_string().contains("missing/store.db: its folder"));
}

#[tokio::test]
async fn a_schema_of_a_newer_release_is_refused_and_left_as_it_was() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    open(&path).unwrap().close().await.unwrap();
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 999).unwrap();
    // Left in the log, as a process that was killed leaves it: the header alone does not show it.
    let copy = TempDir::new().unwrap();
    for (file, bytes) in contents(folder.path()) {
        std::fs::write(copy.path().join(file.file_name().unwrap()), bytes).unwrap();
    }
    drop(connection);
    refused(&path, "version 999");

    let killed = copy.path().join("store.db");
    let before = std::fs::read(&killed).unwrap();
    let log = std::fs::read(copy.path().join("store.db-wal")).unwrap();
    assert!(!log.is_empty());
    assert!(open(&killed).unwrap_err().to_string().contains("version 999"));
    assert!(std::fs::read(&killed).unwrap() == before);
    assert!(std::fs::read(copy.path().join("store.db-wal")).unwrap() == log);
}

#[tokio::test]
async fn a_damaged_database_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    let store = open(&path).unwrap();
    store.create(running()).await.unwrap();
    drop(store);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100..8_192].fill(0xAB);
    std::fs::write(&path, &bytes).unwrap();
    refused(&path, "malformed");
}

#[tokio::test]
async fn a_store_is_not_readable_by_others() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new().unwrap();
    let store = open(&folder.path().join("store.db")).unwrap();
    store.create(running()).await.unwrap();
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o077, 0, "{}", file.path().display());
    }
}
