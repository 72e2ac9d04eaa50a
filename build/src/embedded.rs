//! Contracts that every other may import without having them: our options, and the annotation of request ids.

use protox::Error;
use protox::file::{File, FileResolver};

const FILES: [(&str, &str); 2] = [
    ("orchestrator/options/v1/options.proto", include_str!("../proto/orchestrator/options/v1/options.proto")),
    ("google/api/field_info.proto", include_str!("../proto/google/api/field_info.proto")),
];

/// Whether a file of this name is among them.
pub(crate) fn has(name: &str) -> bool {
    FILES.iter().any(|(known, _)| *known == name)
}

/// Finds them, behind the folders of the contracts.
#[derive(Debug)]
pub(crate) struct Embedded;

impl FileResolver for Embedded {
    fn open_file(&self, name: &str) -> Result<File, Error> {
        match FILES.iter().find(|(known, _)| *known == name) {
            Some((name, source)) => File::from_source(name, source),
            None => Err(Error::file_not_found(name)),
        }
    }
}
