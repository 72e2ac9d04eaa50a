//! A value that is read from files, and read again when what is in them changes.
//!
//! Contents are compared, not times: a mounted Secret changes by a symbolic link that leads elsewhere.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};

use super::IdentityMistake;

/// The largest file that is read; bundles of CA roots have a few hundred kB.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// A file, and the key that names it.
pub struct Source {
    /// What it is called in the configuration.
    pub key: &'static str,
    /// Where it is.
    pub path: PathBuf,
}

/// The contents of all sources, in their order.
pub struct Contents<'a> {
    sources: &'a [Source],
    bytes: &'a [Vec<u8>],
}

impl Contents<'_> {
    /// The file with this key, where there is one.
    pub fn get(&self, key: &'static str) -> Option<Content<'_>> {
        let mut all = self.sources.iter().zip(self.bytes);
        all.find(|(source, _)| source.key == key).map(|(source, bytes)| Content { source, bytes })
    }
}

/// What is in one file.
pub struct Content<'a> {
    source: &'a Source,
    /// All of it.
    pub bytes: &'a [u8],
}

impl Content<'_> {
    /// The content is of no use.
    pub fn mistake(&self, reason: impl std::fmt::Display) -> IdentityMistake {
        mistake(self.source, reason)
    }
}

fn mistake(source: &Source, reason: impl std::fmt::Display) -> IdentityMistake {
    IdentityMistake::new(source.key, format!("{}: {reason}", source.path.display()))
}

/// The result of a look at the files.
#[derive(Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// Nothing new.
    Same,
    /// The value is a new one.
    Changed,
    /// The files are of no use, for a reason that was not told yet; the value is as before.
    Failed(String),
}

type Parse<T> = Box<dyn Fn(&Contents<'_>) -> Result<T, IdentityMistake> + Send + Sync>;

/// The value of some files, as it is in force.
pub struct Reloaded<T> {
    sources: Vec<Source>,
    parse: Parse<T>,
    value: RwLock<Arc<T>>,
    /// What the value was made of. Held while the files are read, so that of two reads the later one counts.
    bytes: Mutex<Vec<Vec<u8>>>,
    error: Mutex<Option<String>>,
}

impl<T> Reloaded<T> {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// They cannot be read, or are of no use.
    pub fn open(
        sources: Vec<Source>,
        parse: impl Fn(&Contents<'_>) -> Result<T, IdentityMistake> + Send + Sync + 'static,
    ) -> Result<Self, IdentityMistake> {
        let bytes = read(&sources)?;
        let value = parse(&Contents { sources: &sources, bytes: &bytes })?;
        let value = RwLock::new(Arc::new(value));
        Ok(Self { sources, parse: Box::new(parse), value, bytes: Mutex::new(bytes), error: Mutex::new(None) })
    }

    /// What is in force.
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.value.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Why the files are not in force as they are.
    pub fn error(&self) -> Option<String> {
        self.lock_error().clone()
    }

    /// Whether it is read from files at all.
    pub fn has_files(&self) -> bool {
        !self.sources.is_empty()
    }

    /// Reads the files again. Blocks.
    pub fn refresh(&self) -> Refreshed {
        let mut held = match self.bytes.try_lock() {
            Ok(held) => held,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Someone else is at it.
            Err(TryLockError::WouldBlock) => return Refreshed::Same,
        };
        let parsed = read(&self.sources).and_then(|bytes| {
            if *held == bytes {
                return Ok(None);
            }
            let value = (self.parse)(&Contents { sources: &self.sources, bytes: &bytes })?;
            Ok(Some((value, bytes)))
        });
        let mut error = self.lock_error();
        match parsed {
            Ok(None) => {
                *error = None;
                Refreshed::Same
            }
            Ok(Some((value, bytes))) => {
                *error = None;
                *held = bytes;
                *self.value.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
                Refreshed::Changed
            }
            Err(mistake) => {
                let told = mistake.to_string();
                if error.as_ref() == Some(&told) {
                    return Refreshed::Same;
                }
                *error = Some(told.clone());
                Refreshed::Failed(told)
            }
        }
    }

    fn lock_error(&self) -> MutexGuard<'_, Option<String>> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(sources: &[Source]) -> Result<Vec<Vec<u8>>, IdentityMistake> {
    sources.iter().map(|source| read_file(&source.path).map_err(|reason| mistake(source, reason))).collect()
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let told = |error: std::io::Error| error.to_string();
    // Opening a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(told)?.is_file() {
        return Err(String::from("is no regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(told)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(told)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("has more than {MAX_FILE_BYTES} bytes"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A number in a file.
    fn number(path: &Path) -> Result<Reloaded<u32>, IdentityMistake> {
        Reloaded::open(vec![Source { key: "number", path: path.to_owned() }], |contents| {
            let Some(content) = contents.get("number") else { return Ok(0) };
            let text = std::str::from_utf8(content.bytes).map_err(|error| content.mistake(error))?;
            text.parse().map_err(|_| content.mistake(format!("{text:?} is no number")))
        })
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("one"), "1").unwrap();
        std::fs::write(at("two"), "2").unwrap();
        symlink(at("one"), at("data")).unwrap();
        let number = number(&at("data")).unwrap();
        assert_eq!((*number.current(), number.refresh()), (1, Refreshed::Same));

        symlink(at("two"), at("next")).unwrap();
        std::fs::rename(at("next"), at("data")).unwrap();
        assert_eq!((number.refresh(), *number.current()), (Refreshed::Changed, 2));
    }

    #[test]
    fn what_is_of_no_use_is_told_once_and_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        std::fs::write(&path, "1").unwrap();
        let number = number(&path).unwrap();
        let told = format!("number: {}: \"x\" is no number", path.display());

        std::fs::write(&path, "x").unwrap();
        assert_eq!(number.refresh(), Refreshed::Failed(told.clone()));
        assert_eq!((number.refresh(), *number.current(), number.error()), (Refreshed::Same, 1, Some(told)));
        std::fs::remove_file(&path).unwrap();
        let Refreshed::Failed(told) = number.refresh() else { panic!("a missing file was not told") };
        assert!(told.contains("No such file"), "{told}");

        std::fs::write(&path, "2").unwrap();
        assert_eq!((number.refresh(), *number.current(), number.error()), (Refreshed::Changed, 2, None));
    }

    #[test]
    fn only_files_of_a_bounded_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |path: &Path| number(path).err().unwrap().message;
        assert!(refused(folder.path()).ends_with("is no regular file"));
        let path = folder.path().join("big");
        File::create(&path).unwrap().set_len(MAX_FILE_BYTES + 1).unwrap();
        assert!(refused(&path).ends_with("has more than 4194304 bytes"));
    }
}
