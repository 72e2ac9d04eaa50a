//! Rules are cited by their codes: every code that a file of the repository cites is a rule, and code or tests cite every
//! rule that this version keeps.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::files::{root, text};

const RULES: &str = "docs/semantics.md";

/// What a code begins with.
const ROOMS: &str = "FEUSODCTP";

/// The rules by their codes, each with its text.
fn rules() -> BTreeMap<String, String> {
    let mut rules = BTreeMap::new();
    let text = text(RULES);
    for rule in text.split("\n- **").skip(1) {
        let (code, rest) = rule.split_once("** ").unwrap_or_else(|| panic!("expected a code and a rule, found {rule}"));
        let end = rest.find("\n\n").unwrap_or(rest.len());
        assert!(rules.insert(code.to_owned(), rest[..end].to_owned()).is_none(), "{code} is there twice");
    }
    rules
}

/// Files below a directory, without those that are built or installed there.
fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        let kind = entry.file_type().unwrap();
        let installed = name == "target" || name == "node_modules" || name.to_string_lossy().starts_with('.');
        if kind.is_dir() && !installed {
            files(&path, found);
        } else if kind.is_file() {
            found.push(path);
        }
    }
}

/// What begins a comment in files of this kind: everything in a document is one.
fn comment(path: &Path) -> Option<&'static str> {
    match path.extension()?.to_str()? {
        "rs" | "proto" => Some("//"),
        "sql" => Some("--"),
        "toml" | "yaml" | "yml" | "py" | "sh" => Some("#"),
        "md" => Some(""),
        _ => None,
    }
}

/// The codes that a text cites.
fn codes(text: &str) -> Vec<&str> {
    // Escaped bytes such as %C3 are no codes.
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '%');
    let code = |word: &&str| {
        let number = word.strip_prefix(|letter| ROOMS.contains(letter)).unwrap_or("none");
        (1..=2).contains(&number.len()) && number.bytes().all(|digit| digit.is_ascii_digit())
    };
    words.filter(code).collect()
}

/// Every citation of the repository: where it is, and the code.
fn citations() -> Vec<(String, String)> {
    let (mut found, mut citations) = (Vec::new(), Vec::new());
    files(&root(), &mut found);
    for path in found {
        let Some(comment) = comment(&path) else { continue };
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        for (number, line) in (1..).zip(text.lines()) {
            let Some(begin) = line.find(comment) else { continue };
            let place = format!("{}:{number}", path.strip_prefix(root()).unwrap_or(&path).display());
            citations.extend(codes(&line[begin..]).into_iter().map(|code| (place.clone(), code.to_owned())));
        }
    }
    citations
}

#[test]
fn every_code_that_is_cited_is_a_rule() {
    let (rules, citations) = (rules(), citations());
    assert!(citations.len() > 40, "found {} citations", citations.len());
    let unknown: Vec<_> = citations.iter().filter(|(_, code)| !rules.contains_key(code)).collect();
    assert!(unknown.is_empty(), "cited, and no rule of {RULES}: {unknown:#?}");
}

#[test]
fn every_rule_that_this_version_keeps_is_cited_by_code_or_tests() {
    let citations = citations();
    let cited = |code: &str| citations.iter().any(|(place, cited)| cited == code && !place.contains(".md:"));
    let kept = rules().into_iter().filter(|(_, text)| !text.contains("*Not in this version"));
    let uncited: Vec<_> = kept.map(|(code, _)| code).filter(|code| !cited(code)).collect();
    assert!(uncited.is_empty(), "rules of {RULES} that neither code nor tests cite: {uncited:?}");
}

#[test]
fn a_citation_is_a_code_of_its_own() {
    assert_eq!(codes("keeps its key (semantics.md E7, U1 to U3)."), ["E7", "U1", "U3"]);
    assert_eq!(codes("run=user[zo%C3%AB];F64;T1x, (E)"), ["F64"]);
    assert_eq!(codes("AggregatedMetrics::F640 and X7"), [""; 0]);
}
