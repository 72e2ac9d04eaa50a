//! The locks that keep a second owner out: one on a file beside the database, which says whose it is, and one on the database
//! file itself, whatever name leads to it (semantics.md D1).
//!
//! The descriptor that holds the second lock is opened before SQLite opens the file and closed after SQLite has closed it:
//! closing any descriptor of the file drops the POSIX locks that SQLite has on it. The lock itself is one of `flock`, which
//! SQLite's locks do not know.

use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};

use super::paths::{beside, private, unusable};
use super::shared::lock;
use crate::store::StoreError;

/// What tells one file of this machine from another.
pub(super) type FileId = (u64, u64);

/// Files that this process has locked. Looked at before such a file is opened under another name.
static HELD: LazyLock<Mutex<HashSet<FileId>>> = LazyLock::new(Mutex::default);

/// A database file that this process has to itself.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    id: FileId,
    _beside: File,
}

impl Lock {
    /// Locks the file, made if it is missing, or says who has it.
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        let beside = lock_beside(path)?;
        refuse_remnants(path)?;
        let failed = |error: io::Error| unusable(path, &error);
        if id_of(path).map_err(failed)?.is_some_and(|id| lock(&HELD).contains(&id)) {
            return Err(taken(path));
        }
        let file = private().truncate(false).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(taken(path)),
            Err(TryLockError::Error(error)) => return Err(unusable(path, &format!("it cannot be locked: {error}"))),
        }
        let found = file.metadata().map_err(failed)?;
        let id = (found.dev(), found.ino());
        lock(&HELD).insert(id);
        Ok(Self { file, id, _beside: beside })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) const fn id(&self) -> FileId {
        self.id
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        lock(&HELD).remove(&self.id);
    }
}

/// Which file has this name; none where there is no such file.
pub(super) fn id_of(path: &Path) -> io::Result<Option<FileId>> {
    match std::fs::metadata(path) {
        Ok(found) => Ok(Some((found.dev(), found.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn taken(path: &Path) -> StoreError {
    unusable(path, &"another process has the same file open, maybe by another name; stop that one first")
}

fn lock_beside(path: &Path) -> Result<File, StoreError> {
    let name = beside(path, ".lock");
    let file = private()
        .truncate(false)
        .open(&name)
        .map_err(|error| unusable(path, &format!("its lock file {}: {error}", name.display())))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(unusable(
            path,
            &format!("another process has it open and holds {}; stop that one first", name.display()),
        )),
        Err(TryLockError::Error(error)) => Err(unusable(path, &format!("its lock file {}: {error}", name.display()))),
    }
}

/// A database that is missing or empty, beside what only a store that was used has, was moved, removed or emptied: a new one
/// in its place would forget its runs, and SQLite would drop the log.
fn refuse_remnants(path: &Path) -> Result<(), StoreError> {
    let length = match std::fs::metadata(path) {
        Ok(found) => found.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(unusable(path, &error)),
    };
    if length > 0 {
        return Ok(());
    }
    let left: Vec<PathBuf> =
        ["-wal", ".trail"].iter().map(|suffix| beside(path, suffix)).filter(|left| left.exists()).collect();
    let Some(left) = left.first() else { return Ok(()) };
    let left = left.display();
    Err(unusable(
        path,
        &format!(
            "it is missing or empty, but {left} of it is there; put the database back beside it, or, for a new and empty \
             store, move {left} away"
        ),
    ))
}
