//! Documents and contracts keep to plain words: those that the guide for contributors forbids are not in them.

use crate::files::{below, documents, text};

/// What a reader whose second language is English stumbles over.
const FORBIDDEN: &[&str] =
    &["at once", "is none", "anew", "nobody", "whoever", "by and by", "let go of", "came of", "comes of", "goes on"];

#[test]
fn documents_and_contracts_keep_to_plain_words() {
    let folders = ["proto", "build/proto/orchestrator", "engine/proto", "server/proto", "demo/proto", "bench/proto"];
    let contracts = folders.into_iter().flat_map(|folder| below(folder, ".proto"));
    let mut found = Vec::new();
    for document in documents().into_iter().chain(contracts) {
        for (number, line) in text(&document).lines().enumerate() {
            let line = line.to_lowercase();
            for word in FORBIDDEN {
                let whole = line.match_indices(word).any(|(at, _)| {
                    let is_letter = |char: Option<char>| char.is_some_and(char::is_alphabetic);
                    !is_letter(line[..at].chars().next_back()) && !is_letter(line[at + word.len()..].chars().next())
                });
                if whole {
                    found.push(format!("{document}:{}: {word}", number + 1));
                }
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}
