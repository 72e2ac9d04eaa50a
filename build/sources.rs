//! Finds the contracts: every `.proto` below a folder.

use std::io;
use std::path::{Path, PathBuf};

/// All `.proto` files below `root`, in a stable order, and tells Cargo to run again when one comes, goes or changes.
pub(crate) fn find(root: &Path) -> io::Result<Vec<PathBuf>> {
    println!("cargo::rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "proto") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}
