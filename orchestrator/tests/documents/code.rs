//! Rust and contracts in documents are excerpts of files that are compiled.

use crate::blocks::{Block, of};
use crate::files::{below, text};

/// The lines that count, without their indentation.
fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
}

/// Blocks that are in none of the files as they are, line by line.
fn made_up(blocks: &[Block], files: &[String]) -> Vec<String> {
    let texts: Vec<String> = files.iter().map(|file| text(file)).collect();
    let files: Vec<Vec<&str>> = texts.iter().map(|text| lines(text)).collect();
    let is_there = |block: &Block| {
        let text = block.text();
        let wanted = lines(&text);
        !wanted.is_empty() && files.iter().any(|file| file.windows(wanted.len()).any(|part| part == wanted))
    };
    blocks.iter().filter(|block| !is_there(block)).map(|block| block.place.clone()).collect()
}

#[test]
fn rust_in_documents_is_part_of_a_file_that_is_compiled() {
    let mut compiled = below("orchestrator", ".rs");
    for folder in ["engine", "transport", "server", "examples"] {
        if crate::files::root().join(folder).exists() {
            compiled.extend(below(folder, ".rs"));
        }
    }
    let blocks = of("rust");
    assert!(blocks.len() >= 8, "only {} blocks were found", blocks.len());
    let made_up = made_up(&blocks, &compiled);
    assert!(
        made_up.is_empty(),
        "these blocks are in no file that is compiled; put them into orchestrator/tests/documents/examples/: {made_up:#?}"
    );
}

#[test]
fn contracts_in_documents_are_part_of_contracts_that_are_compiled() {
    let compiled = ["proto", "build/proto", "tests/contracts/proto"].iter().flat_map(|folder| below(folder, ".proto"));
    let made_up = made_up(&of("proto"), &compiled.collect::<Vec<_>>());
    assert!(
        made_up.is_empty(),
        "these blocks are in no contract that is compiled; put them into tests/contracts/proto/acme/: {made_up:#?}"
    );
}

#[test]
fn a_block_that_no_file_has_is_found() {
    let block = Block {
        place: String::from("nowhere:1"),
        language: String::from("rust"),
        lines: vec![["ctx.call(", "Nothing { .. })"].concat()],
    };
    assert_eq!(made_up(&[block], &below("orchestrator", ".rs")), ["nowhere:1"]);
}
