//! Finds and reads the contracts: every `.proto` below a folder, and what they import.

use std::path::{Path, PathBuf};

use protox::Error;
use protox::file::{File, FileResolver, GoogleFileResolver};

use crate::editions;

/// Contracts that every other may import without having them: our options, the annotation of request ids, and the rules of
/// protovalidate.
const EMBEDDED: [(&str, &str); 3] = [
    ("orchestrator/options/v1/options.proto", include_str!("../proto/orchestrator/options/v1/options.proto")),
    ("google/api/field_info.proto", include_str!("../proto/google/api/field_info.proto")),
    ("buf/validate/validate.proto", include_str!("../proto/buf/validate/validate.proto")),
];

/// The names of all `.proto` files below `root`, as others import them, in a stable order. Tells Cargo to run again when
/// one comes, goes or changes.
pub(crate) fn find(root: &Path) -> Result<Vec<String>, crate::Error> {
    println!("cargo::rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "proto") {
                let name = path.strip_prefix(root).unwrap_or(&path);
                let parts: Vec<_> = name.components().map(|part| part.as_os_str().to_string_lossy()).collect();
                files.push(parts.join("/"));
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Reads contracts by the name that others import them by: from the folder, else from what comes with the generator.
pub(crate) struct Sources {
    root: PathBuf,
    google: GoogleFileResolver,
}

impl Sources {
    pub(crate) fn of(root: &Path) -> Self {
        Self { root: root.to_owned(), google: GoogleFileResolver::new() }
    }

    /// Whether the file comes with the generator and not from the folder.
    pub(crate) fn is_embedded(&self, name: &str) -> bool {
        EMBEDDED.iter().any(|(known, _)| *known == name) && !self.root.join(name).exists()
    }
}

impl FileResolver for Sources {
    fn open_file(&self, name: &str) -> Result<File, Error> {
        let path = self.root.join(name);
        if path.exists() {
            let source =
                std::fs::read_to_string(&path).map_err(|error| Error::new(format!("{}: {error}", path.display())))?;
            return match editions::parse(name, &source).map_err(Error::new)? {
                Some(file) => Ok(File::from_file_descriptor_proto(file)),
                None => File::open(name, &path),
            };
        }
        match EMBEDDED.iter().find(|(known, _)| *known == name) {
            Some((name, source)) => File::from_source(name, source),
            None => self.google.open_file(name),
        }
    }
}
