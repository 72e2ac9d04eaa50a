//! A copy of a store that may be in use by another process: what is in it at one moment, and nothing that was deleted.

use std::fs::File;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::adoption;
use super::files::visit;
use super::paths::{private, unusable};
use crate::store::StoreError;

/// Copies the store into a new file, as it was at one moment, and returns the size of the copy. The store may be open in
/// another process, which continues meanwhile; only its log grows until the copy is done.
///
/// # Errors
///
/// [`StoreError::Unusable`] where one of the two files cannot be used, where the store is not ours or damaged, and where
/// the copy is there already. Nothing is written to the store, and a copy that did not succeed is removed.
pub fn backup(store: &Path, copy: &Path) -> Result<u64, StoreError> {
    let source = visit(store)?;
    private().create_new(true).open(copy).map_err(|error| unusable(copy, &error))?;
    let written = write(&source, copy);
    if written.is_err() {
        let _ = std::fs::remove_file(copy);
    }
    written
}

fn write(source: &Connection, copy: &Path) -> Result<u64, StoreError> {
    let failed = |error: rusqlite::Error| unusable(copy, &error);
    // Row by row and not page by page: pages that are free may still have what an earlier release deleted.
    let path = copy.to_str().ok_or_else(|| unusable(copy, &"its name is not UTF-8"))?;
    source.execute("VACUUM INTO ?1", [path]).map_err(failed)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let target = Connection::open_with_flags(copy, flags).map_err(failed)?;
    adoption::mark_copy(&target).map_err(failed)?;
    let found: String = target.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
    if found != "ok" {
        return Err(unusable(copy, &format!("the store is damaged, and so is its copy: {found}")));
    }
    drop(target);

    let durable = File::open(copy).and_then(|file| file.sync_all().and_then(|()| file.metadata()));
    let length = durable.map_err(|error| unusable(copy, &error))?.len();
    let folder = copy.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| unusable(folder, &error))?;
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::{Sqlite, SqliteOptions};
    use crate::time::Clock;

    fn store(path: &Path) -> Sqlite {
        Sqlite::open(path, SqliteOptions::default(), Clock::system()).unwrap()
    }

    #[test]
    fn a_store_in_use_is_copied_into_one_file_that_opens() {
        let folder = tempfile::tempdir().unwrap();
        let (path, copy) = (folder.path().join("store.db"), folder.path().join("copy.db"));
        let owner = store(&path);
        let length = backup(&path, &copy).unwrap();
        assert_eq!(std::fs::metadata(&copy).unwrap().len(), length);
        for suffix in ["-wal", "-shm", "-journal", ".lock"] {
            assert!(!folder.path().join(format!("copy.db{suffix}")).exists(), "{suffix}");
        }
        drop(owner);
        let refused = Sqlite::open(&copy, SqliteOptions::default(), Clock::system()).unwrap_err().to_string();
        assert!(refused.contains("--adopt"), "{refused}");
        drop(Sqlite::open(&copy, SqliteOptions { adopt: true, ..SqliteOptions::default() }, Clock::system()).unwrap());
        drop(store(&copy));
    }

    #[test]
    fn a_file_that_is_there_is_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let (path, copy) = (folder.path().join("store.db"), folder.path().join("copy.db"));
        drop(store(&path));
        std::fs::write(&copy, "precious").unwrap();
        assert!(matches!(backup(&path, &copy), Err(StoreError::Unusable(_))));
        assert_eq!(std::fs::read(&copy).unwrap(), b"precious");
    }

    #[test]
    fn what_is_no_store_is_refused_and_leaves_no_copy() {
        let folder = tempfile::tempdir().unwrap();
        let (path, copy) = (folder.path().join("store.db"), folder.path().join("copy.db"));
        assert!(matches!(backup(&path, &copy), Err(StoreError::Unusable(_))));
        assert!(!path.exists());
        std::fs::write(&path, "not a database, whatever else it may be").unwrap();
        assert!(matches!(backup(&path, &copy), Err(StoreError::Unusable(_))));
        assert!(!copy.exists());
    }

    /// How often a text stands in the files of a store.
    fn found(path: &Path, text: &str) -> usize {
        let beside = |suffix: &str| {
            let mut path = path.as_os_str().to_owned();
            path.push(suffix);
            std::fs::read(path).unwrap_or_default()
        };
        let files = ["", "-wal", "-shm", "-journal"].map(beside);
        files.iter().map(|file| file.windows(text.len()).filter(|part| *part == text.as_bytes()).count()).sum()
    }

    #[test]
    fn nothing_that_was_deleted_is_left_after_a_clean_stop_or_in_a_copy() {
        let folder = tempfile::tempdir().unwrap();
        let (path, copy) = (folder.path().join("store.db"), folder.path().join("copy.db"));
        drop(store(&path));
        let personal = "ada@example.org";
        // Long enough for pages of its own.
        let entry = format!("{personal} ").repeat(2_000);
        let write = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
            let files = super::super::files::StoreFiles::take(&path).unwrap();
            files.writer(true).unwrap().execute(sql, values).unwrap();
        };
        for number in 0..50_i64 {
            let insert = "INSERT INTO journal (run, sequence, epoch, entry) VALUES (?1, ?2, 1, ?3)";
            let entry = if number % 2 == 0 { entry.as_bytes() } else { personal.as_bytes() };
            write(insert, &[&[7_u8; 16].as_slice(), &number, &entry]);
        }
        assert!(found(&path, personal) > 0);
        write("DELETE FROM journal", &[]);
        assert_eq!(found(&path, personal), 0);
        backup(&path, &copy).unwrap();
        assert_eq!(found(&copy, personal), 0);
    }

    #[test]
    fn what_an_earlier_release_left_in_free_pages_is_not_copied() {
        let folder = tempfile::tempdir().unwrap();
        let (path, copy) = (folder.path().join("store.db"), folder.path().join("copy.db"));
        drop(store(&path));
        let personal = "ada@example.org";
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch("PRAGMA secure_delete = OFF").unwrap_or_default();
        let entry = format!("{personal} ").repeat(2_000);
        connection.execute("INSERT INTO journal VALUES (x'07', 1, 1, ?1)", [entry.as_bytes()]).unwrap();
        connection.execute("DELETE FROM journal", []).unwrap();
        drop(connection);
        assert!(found(&path, personal) > 0);
        backup(&path, &copy).unwrap();
        assert_eq!(found(&copy, personal), 0);
    }
}
