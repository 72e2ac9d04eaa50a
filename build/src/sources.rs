//! Finds the contracts: every `.proto` below a folder.

use std::io;
use std::path::Path;

/// All `.proto` files below `root` as others import them, in a stable order, and tells Cargo to run again when one comes, goes or changes.
pub(crate) fn find(root: &Path) -> io::Result<Vec<String>> {
    println!("cargo::rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "proto") {
                let name = path.strip_prefix(root).unwrap_or(&path);
                files.push(
                    name.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/"),
                );
            }
        }
    }
    files.sort();
    Ok(files)
}
