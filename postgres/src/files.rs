//! Files that are read for each connection: what is in them may change.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The largest file that is read; bundles of roots have a few hundred kB.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// A file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct UnusableFile {
    /// The setting that names it, for example `tls.ca_file`.
    pub key: &'static str,
    /// What is wrong and what was expected. Nothing of its content.
    pub message: String,
}

impl UnusableFile {
    pub(crate) fn of(key: &'static str, path: &Path, reason: impl std::fmt::Display) -> Self {
        Self { key, message: format!("{}: {reason}", path.display()) }
    }
}

pub(crate) fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, UnusableFile> {
    let told = |error: std::io::Error| UnusableFile::of(key, path, error);
    // Opening a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(told)?.is_file() {
        return Err(UnusableFile::of(key, path, "is no regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(told)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(told)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(UnusableFile::of(key, path, format!("has more than {MAX_BYTES} bytes")));
    }
    Ok(bytes)
}
