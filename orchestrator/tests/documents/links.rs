//! Links in documents lead to files and headings that exist.

use std::path::Path;

use crate::files::{documents, root, text};

/// The text without its code blocks.
fn prose(document: &str) -> String {
    let mut inside = false;
    let text = text(document);
    let lines = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The anchors of a document, as GitHub makes them of headings.
fn anchors(document: &str) -> Vec<String> {
    let prose = prose(document);
    let headings = prose.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    headings
        .map(|heading| {
            let kept = heading.chars().filter(|char| char.is_alphanumeric() || matches!(char, ' ' | '-' | '_'));
            kept.collect::<String>().to_lowercase().replace(' ', "-")
        })
        .collect()
}

/// The targets of the links of a document that stay in the repository.
fn targets(document: &str) -> Vec<String> {
    let prose = prose(document);
    let found = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(target, _)| target.to_owned()));
    found.filter(|target| !target.contains("://")).collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_exist() {
    let mut broken = Vec::new();
    let mut checked = 0;
    for document in documents() {
        for target in targets(&document) {
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let folder = Path::new(&document).parent().unwrap();
            let path = if file.is_empty() { document.clone() } else { normal(&folder.join(file)) };
            checked += 1;
            let is_there = root().join(&path).exists();
            if !is_there || (!anchor.is_empty() && !anchors(&path).iter().any(|known| known == anchor)) {
                broken.push(format!("{document}: {target}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(checked > 50, "only {checked} links were found");
}

fn normal(path: &Path) -> String {
    let mut parts = Vec::new();
    for part in path.components().map(|part| part.as_os_str().to_str().unwrap()) {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

#[test]
fn every_page_is_in_an_index() {
    let index = text("docs/README.md") + &text("docs/decisions/README.md");
    for page in documents().iter().filter_map(|page| page.strip_prefix("docs/")) {
        let name = page.strip_prefix("decisions/").filter(|name| *name != "README.md").unwrap_or(page);
        assert!(page == "README.md" || index.contains(&format!("({name})")), "docs/{page} is in no index");
    }
}
