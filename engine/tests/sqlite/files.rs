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

/// A copy of the files of a store, as they are.
fn copied(path: &Path) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    for suffix in ["", "-wal"] {
        let from = PathBuf::from(format!("{}{suffix}", path.display()));
        if from.exists() {
            std::fs::copy(&from, folder.path().join(format!("store.db{suffix}"))).unwrap();
        }
    }
    let copy = folder.path().join("store.db");
    (folder, copy)
}

#[tokio::test]
async fn a_copy_of_a_store_is_refused_and_left_as_it_was_until_it_is_adopted() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    let store = open(&path).unwrap();
    let run = running();
    store.create(run.clone()).await.unwrap();
    let (_living, living) = copied(&path);
    drop(store);
    let (_kept, copy) = copied(&path);
    for copy in [&living, &copy] {
        refused(copy, "--adopt");
    }
    let mut adopting = SqliteOptions::default();
    adopting.adopt = true;
    let adopted = Sqlite::open(&copy, adopting, Clock::system()).unwrap();
    let row = adopted.run(run.id).await.unwrap().unwrap();
    assert!(
        row.copied_at
            .is_some_and(|at| run.created_at.since(at) < Duration::from_secs(10) && at <= Clock::system().now()),
        "{row:?}"
    );
    drop(adopted);
    drop(open(&copy).unwrap());
    // The store itself continues, also by another name.
    let renamed = folder.path().join("renamed.db");
    std::fs::rename(&path, &renamed).unwrap();
    let store = open(&renamed).unwrap();
    assert_eq!(store.run(run.id).await.unwrap().unwrap().copied_at, None);
}

#[tokio::test]
async fn a_backup_that_is_put_in_the_place_of_its_store_is_refused_until_it_is_adopted() {
    let folder = TempDir::new().unwrap();
    let (path, backup) = (folder.path().join("store.db"), folder.path().join("backup.db"));
    drop(open(&path).unwrap());
    engine::store::sqlite::backup(&path, &backup).unwrap();
    // Into the same file: neither its number nor the time of its making changes.
    std::fs::write(&path, std::fs::read(&backup).unwrap()).unwrap();
    refused(&path, "--adopt");
}

#[tokio::test]
async fn a_database_that_is_missing_or_empty_beside_its_log_or_trail_is_refused_and_nothing_is_touched() {
    for left in ["-wal", ".trail"] {
        for empty in [false, true] {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("store.db");
            let left = folder.path().join(format!("store.db{left}"));
            std::fs::write(&left, "what a store had").unwrap();
            if empty {
                std::fs::write(&path, "").unwrap();
            }
            let error = open(&path).unwrap_err().to_string();
            assert!(error.contains("missing or empty") && error.contains(left.to_str().unwrap()), "{error}");
            assert_eq!(std::fs::read(&left).unwrap(), b"what a store had");
            assert_eq!(path.exists(), empty);
            std::fs::remove_file(&left).unwrap();
            drop(open(&path).unwrap());
        }
    }
}

#[tokio::test]
async fn a_file_that_goes_while_it_is_served_ends_all_acknowledgements() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 6] = [
        ("moved", |path| std::fs::rename(path, path.with_extension("moved")).unwrap()),
        ("removed", |path| std::fs::remove_file(path).unwrap()),
        ("replaced", |path| {
            std::fs::copy(path, path.with_extension("copy")).unwrap();
            std::fs::rename(path.with_extension("copy"), path).unwrap();
        }),
        ("log removed", |path| std::fs::remove_file(path.with_extension("db-wal")).unwrap()),
        ("log cut", |path| std::fs::write(path.with_extension("db-wal"), "").unwrap()),
        ("folder moved", |path| {
            let folder = path.parent().unwrap();
            std::fs::rename(folder, folder.with_extension("moved")).unwrap();
        }),
    ];
    for (what, harm) in harms {
        let above = TempDir::new().unwrap();
        let folder = above.path().join("store");
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("store.db");
        let store = open(&path).unwrap();
        for _ in 0..3 {
            assert_eq!(store.create(running()).await, Ok(Created::New));
        }
        harm(&path);
        for _ in 0..3 {
            let answer = store.create(running()).await;
            assert!(matches!(answer, Err(StoreError::Unusable(_))), "{what}: {answer:?}");
            assert!(!store.ownership().is_held(), "{what}");
        }
    }
}

#[tokio::test]
async fn a_damaged_page_that_a_read_finds_ends_all_acknowledgements() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    let store = open(&path).unwrap();
    let run = running();
    store.create(run.clone()).await.unwrap();
    for sequence in 1..40 {
        store.append(fact(run.id, 1, sequence, 20_000)).await.unwrap();
    }
    drop(store);
    let store = open(&path).unwrap();
    // The pages behind the schema, under the feet of the owner.
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    let length = file.metadata().unwrap().len();
    let rubbish = vec![0xAB; usize::try_from(length).unwrap() - 100_000];
    std::os::unix::fs::FileExt::write_all_at(&file, &rubbish, 100_000).unwrap();
    // Closing it would drop the locks of the owner, which is this process.
    std::mem::forget(file);
    assert!(store.journal(run.id, 0, 100).await.is_err());
    assert!(!store.ownership().is_held());
    for _ in 0..2 {
        let error = store.create(running()).await.unwrap_err().to_string();
        assert!(error.contains("damaged"), "{error}");
    }
}
