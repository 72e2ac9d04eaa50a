//! The files of the repository.

use std::path::{Path, PathBuf};

/// Folders that are not part of the sources.
const SKIPPED: &[&str] = &["target", "node_modules", ".git"];

/// Where the repository begins.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

pub(crate) fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The paths of all files below a folder that end so, from the root of the repository.
pub(crate) fn below(folder: &str, end: &str) -> Vec<String> {
    let mut found = Vec::new();
    find(&root().join(folder), end, &mut found);
    let mut paths: Vec<String> =
        found.iter().map(|path| path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned()).collect();
    paths.sort();
    paths
}

fn find(folder: &Path, end: &str, into: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            if !SKIPPED.contains(&name) {
                find(&path, end, into);
            }
        } else if name.ends_with(end) {
            into.push(path);
        }
    }
}

/// Everything that people read: the pages at the root and those of `docs/`.
pub(crate) fn documents() -> Vec<String> {
    let pages = std::fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut all: Vec<String> = pages.filter(|name| name.ends_with(".md")).collect();
    all.extend(below("docs", ".md"));
    all.sort();
    assert!(all.len() > 20, "{all:?}");
    all
}
