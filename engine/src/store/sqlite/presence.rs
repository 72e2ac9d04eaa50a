//! Looks whether the files of a store that is open are still those that its path leads to (semantics.md D1).

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::lock::{FileId, id_of};
use super::paths::beside;
use super::shared::lock;

/// The files of an open store, as they were when it was opened.
#[derive(Debug)]
pub(super) struct Presence {
    database: (PathBuf, FileId),
    log: PathBuf,
    index: PathBuf,
    opened: Mutex<Opened>,
}

/// What SQLite has made beside the database.
#[derive(Clone, Copy, Debug, Default)]
struct Opened {
    log: Option<FileId>,
    index: Option<FileId>,
    /// How long the log was at least.
    length: u64,
}

impl Presence {
    pub(super) fn new(path: &Path, id: FileId) -> Self {
        let (log, index) = (beside(path, "-wal"), beside(path, "-shm"));
        Self { database: (path.to_owned(), id), log, index, opened: Mutex::default() }
    }

    /// The database is being closed, and its log with it.
    pub(super) fn closing(&self) {
        *lock(&self.opened) = Opened::default();
    }

    /// The database was opened and written to: its log and the index of it are there.
    pub(super) fn opened(&self) {
        let found = |path: &Path| id_of(path).ok().flatten();
        *lock(&self.opened) = Opened { log: found(&self.log), index: found(&self.index), length: 0 };
    }

    /// The log was cut by its owner.
    pub(super) fn cut(&self) {
        lock(&self.opened).length = 0;
    }

    /// Says what became of a file that is not in its place any more. Looks at names alone: no file is opened.
    pub(super) fn trouble(&self) -> Option<String> {
        let (path, id) = &self.database;
        if let Some(trouble) = moved(path, *id) {
            return Some(trouble);
        }
        let mut opened = lock(&self.opened);
        if let Some(trouble) = opened.index.and_then(|id| moved(&self.index, id)) {
            return Some(trouble);
        }
        let log = opened.log?;
        match std::fs::metadata(&self.log) {
            Ok(found) if (found.dev(), found.ino()) == log => {
                if found.len() < opened.length {
                    return Some(format!("{} was cut short while it was in use", self.log.display()));
                }
                opened.length = found.len();
                None
            }
            _ => Some(gone(&self.log)),
        }
    }
}

fn moved(path: &Path, id: FileId) -> Option<String> {
    let here = id_of(path).ok().flatten();
    (here != Some(id)).then(|| gone(path))
}

fn gone(path: &Path) -> String {
    format!("{} was moved, removed or replaced while it was in use", path.display())
}
