//! A copy of a store that may be in use by another process: SQLite's online backup.

use std::fs::File;
use std::path::Path;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::place::{private, unusable, visit};
use crate::store::StoreError;

/// Copies the store into a new file, as it was at one moment, and returns the size of the copy. The store may be open in
/// another process, which goes on meanwhile; only its log grows until the copy is done.
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
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut target = Connection::open_with_flags(copy, flags).map_err(failed)?;
    // All pages in one step: between two, each commit of the owner would begin the copy anew.
    let step = Backup::new(source, &mut target).and_then(|backup| backup.step(-1)).map_err(failed)?;
    if step != StepResult::Done {
        return Err(unusable(copy, &"another process keeps the store locked"));
    }
    // The copy is one file, with no log beside it.
    target.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(())).map_err(failed)?;
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
        drop(store(&copy));
        drop(owner);
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
}
