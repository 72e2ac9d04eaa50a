//! The code blocks of documents.

use crate::files::{documents, text};

/// A block between fences.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// The document and the line of its opening fence.
    pub(crate) place: String,
    pub(crate) language: String,
    /// Without the indentation of the fence.
    pub(crate) lines: Vec<String>,
}

impl Block {
    pub(crate) fn text(&self) -> String {
        self.lines.join("\n") + "\n"
    }
}

pub(crate) fn blocks(document: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<(usize, Block)> = None;
    for (number, line) in text(document).lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(language)) => {
                let place = format!("{document}:{}", number + 1);
                assert!(!language.is_empty(), "{place}: the block does not say its language");
                open = Some((indent, Block { place, language: language.to_owned(), lines: Vec::new() }));
            }
            (Some(_), Some("")) => found.extend(open.take().map(|(_, block)| block)),
            (Some((indent, block)), None) => {
                assert!(line.is_empty() || line[..(*indent).min(line.len())].trim().is_empty(), "{}", block.place);
                block.lines.push(line.get(*indent..).unwrap_or_default().to_owned());
            }
            (None, None) => {}
            (Some((_, block)), Some(_)) => panic!("{}: a fence in a block", block.place),
        }
    }
    assert!(open.is_none(), "{document}: a block is not closed");
    found
}

/// All blocks of one language.
pub(crate) fn of(language: &str) -> Vec<Block> {
    let all = documents().into_iter().flat_map(|document| blocks(&document));
    all.filter(|block| block.language == language).collect()
}

/// The languages whose blocks a test here reads; `text` is what programs print, `mermaid` a picture.
const KNOWN: &[&str] = &["rust", "proto", "toml", "yaml", "json", "sh", "text", "mermaid"];

#[test]
fn every_block_has_a_language_that_is_checked() {
    for document in documents() {
        for block in blocks(&document) {
            assert!(KNOWN.contains(&block.language.as_str()), "{}: {}", block.place, block.language);
        }
    }
}
