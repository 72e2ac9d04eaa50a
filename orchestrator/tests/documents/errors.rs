//! The page of errors has every reason and every exit code.

use std::collections::BTreeSet;

use crate::files::{below, text};

const PAGE: &str = "docs/errors.md";

/// What the page explains: everything in capital letters in a cell of its own, and every number.
fn explained(section: &str) -> BTreeSet<String> {
    let page = text(PAGE);
    let section = page.split("\n## ").find(|part| part.starts_with(section)).unwrap_or_else(|| panic!("{section}"));
    let cells = section.lines().filter(|line| line.starts_with("| ")).flat_map(|line| line.split('|'));
    cells
        .flat_map(|cell| cell.split(','))
        .map(|cell| cell.trim().trim_matches('`').to_owned())
        .filter(|cell| cell.chars().all(|char| char.is_ascii_uppercase() || char.is_ascii_digit() || char == '_'))
        .filter(|cell| !cell.is_empty())
        .collect()
}

fn is_reason(text: &str) -> bool {
    text.len() > 3 && text.chars().all(|char| char.is_ascii_uppercase() || char == '_')
}

/// Reasons of runs: texts of the engine that begin with a word in capital letters and a colon.
fn reasons_of_runs() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in
        below("engine/src", ".rs").iter().filter(|file| !file.contains("/testing") && !file.contains("/conformance"))
    {
        for literal in text(file).split('"').skip(1) {
            if let Some((reason, _)) = literal.split_once(": ")
                && is_reason(reason)
            {
                found.insert(reason.to_owned());
            }
        }
    }
    found
}

/// Reasons of the admin API: what `info` is called with.
fn reasons_of_the_api() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in below("server/src", ".rs") {
        for call in text(&file).split("info(").skip(1) {
            if let Some(rest) = call.trim_start().strip_prefix('"')
                && let Some((reason, _)) = rest.split_once('"')
                && is_reason(reason)
            {
                found.insert(reason.to_owned());
            }
        }
    }
    found
}

#[test]
fn every_reason_of_a_run_is_explained() {
    let explained = explained("Reasons of runs");
    let reasons = reasons_of_runs();
    assert!(reasons.len() > 10, "{reasons:?}");
    let missing: Vec<_> = reasons.difference(&explained).collect();
    assert!(missing.is_empty(), "{PAGE} does not explain {missing:?}");
}

#[test]
fn every_reason_of_the_admin_api_is_explained_and_none_that_it_does_not_have() {
    let explained = explained("Reasons of the admin API");
    let reasons = reasons_of_the_api();
    assert!(reasons.len() > 15, "{reasons:?}");
    let missing: Vec<_> = reasons.difference(&explained).collect();
    assert!(missing.is_empty(), "{PAGE} does not explain {missing:?}");
    let codes = ["INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "INTERNAL"];
    let codes: BTreeSet<String> = codes
        .into_iter()
        .chain(["UNAVAILABLE", "ALREADY_EXISTS", "UNAUTHENTICATED", "PERMISSION_DENIED"])
        .map(str::to_owned)
        .collect();
    let extra: Vec<_> = explained.difference(&reasons).filter(|reason| !codes.contains(*reason)).collect();
    assert!(extra.is_empty(), "{PAGE} explains {extra:?}, which the admin API does not have");
}

#[test]
fn every_exit_code_of_the_help_is_explained() {
    let help = server::command_line::definition().render_long_help().to_string();
    let codes = help.split("Exit codes:").nth(1).unwrap();
    let listed = codes.lines().filter(|line| line.starts_with("  ")).flat_map(|line| {
        let numbers = line.trim().split_once("  ").map_or("", |(numbers, _)| numbers);
        numbers.split(", ").map(str::to_owned).collect::<Vec<_>>()
    });
    let listed: BTreeSet<String> = listed.collect();
    assert!(listed.contains("0") && listed.contains("143"), "{listed:?}");
    let explained = explained("Exit codes");
    assert_eq!(listed, explained.into_iter().filter(|code| code.parse::<u8>().is_ok()).collect());
}
