//! The modules directly below `src` of a crate name each other in one direction only: no circle. What two of them share
//! is a module of its own below both. A module is one file with its folder; inside of it, files may name each other.

use std::collections::{BTreeMap, BTreeSet};

use crate::files::{below, text};

/// The crates that this holds for.
const CRATES: &[&str] = &[
    "engine",
    "postgres",
    "rules",
    "build",
    "transport",
    "server",
    "clients",
    "orchestrator",
    "demo",
    "bench",
    "tests/app",
];

/// For each module, the modules that it names, each with a file that names it.
type Graph = BTreeMap<String, BTreeMap<String, String>>;

/// The module that a file belongs to. The root of a crate has no such module: it names all modules.
fn module(folder: &str, file: &str) -> Option<String> {
    let path = file.strip_prefix(folder)?.strip_prefix('/')?;
    let name = path.split('/').next()?.trim_end_matches(".rs");
    (!matches!(name, "lib" | "main")).then(|| name.to_owned())
}

/// The code of a file without comments and without its tests.
fn code(text: &str) -> String {
    let own = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    own.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The first names of the paths that begin with `crate::`.
fn named(code: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let begins = |at: usize| !code[..at].ends_with(|c: char| word(c) || matches!(c, '$' | ':' | '"'));
    let paths = code.match_indices("crate::").filter(|(at, _)| begins(*at)).map(|(at, path)| &code[at + path.len()..]);
    let first = |path: &str| path.trim_start().chars().take_while(|c| word(*c)).collect::<String>();
    paths
        .flat_map(|path| match path.strip_prefix('{') {
            Some(several) => members(several).into_iter().map(first).collect(),
            None => vec![first(path)],
        })
        .filter(|name| !name.is_empty())
        .collect()
}

/// What stands between the commas of a group of imports, up to the brace that ends it.
fn members(group: &str) -> Vec<&str> {
    let (mut depth, mut from, mut members) = (0, 0, Vec::new());
    for (at, char) in group.char_indices() {
        match char {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                members.push(&group[from..at]);
                from = at + 1;
                if char == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    members
}

fn graph(crate_name: &str) -> Graph {
    let folder = format!("{crate_name}/src");
    let files: Vec<String> = below(&folder, ".rs")
        .into_iter()
        .filter(|file| !file.contains("/tests/") && !file.ends_with("/tests.rs"))
        .collect();
    let modules: BTreeSet<String> = files.iter().filter_map(|file| module(&folder, file)).collect();
    let root = ["lib.rs", "main.rs"].map(|name| format!("{folder}/{name}"));
    // What the root itself has, such as generated messages.
    let own: String = files.iter().filter(|file| root.contains(file)).map(|file| text(file)).collect();
    let mut graph = Graph::new();
    for file in &files {
        let Some(from) = module(&folder, file) else { continue };
        for to in named(&code(&text(file))) {
            if modules.contains(&to) {
                if to != from {
                    graph.entry(from.clone()).or_default().entry(to).or_insert_with(|| file.clone());
                }
                continue;
            }
            // Otherwise the graph would miss what the name stands for.
            let is_own = ["mod {} {", "const {}:", "enum {} {", "struct {} {", "type {} ="]
                .iter()
                .any(|item| own.contains(&item.replacen("{}", &to, 1)));
            assert!(is_own, "{file}: name the module of `crate::{to}`, not what {crate_name} exports");
        }
    }
    graph
}

/// A way from the module back to itself, by the files that name the next one; the shortest.
fn circle(graph: &Graph, start: &str) -> Option<Vec<String>> {
    let mut ways = vec![(start, Vec::new())];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut next = Vec::new();
        for (at, way) in ways {
            for (to, file) in graph.get(at).into_iter().flatten() {
                let mut way: Vec<String> = way.clone();
                way.push(format!("{file} names {to}"));
                if to == start {
                    return Some(way);
                }
                if seen.insert(to.as_str()) {
                    next.push((to.as_str(), way));
                }
            }
        }
        ways = next;
    }
    None
}

#[test]
fn the_modules_of_a_crate_name_each_other_in_one_direction() {
    for name in CRATES {
        let graph = graph(name);
        let found = graph.keys().filter_map(|module| circle(&graph, module)).min_by_key(Vec::len);
        assert_eq!(found, None, "{name} has a circle: put what they share into a module below them");
    }
}

#[test]
fn a_circle_is_found_with_the_files_that_make_it() {
    let names = |pairs: &[(&str, &str)]| {
        let mut graph = Graph::new();
        for (from, to) in pairs {
            graph.entry((*from).to_owned()).or_default().insert((*to).to_owned(), format!("{from}.rs"));
        }
        graph
    };
    let line = names(&[("a", "b"), ("a", "c"), ("b", "c")]);
    assert_eq!(circle(&line, "a"), None);
    let ring = names(&[("a", "b"), ("b", "c"), ("c", "a")]);
    assert_eq!(circle(&ring, "b").unwrap(), ["b.rs names c", "c.rs names a", "a.rs names b"]);
    let code = code("use crate::store::Row; // crate::not\nfn f() -> $crate::neither { crate::time::now() }");
    assert_eq!(named(&code), BTreeSet::from(["store".to_owned(), "time".to_owned()]));
    let several = named("use crate::{store::{Row, Key}, time,\n    wall as other};\nuse std::{fmt, io};");
    assert_eq!(several, BTreeSet::from(["store", "time", "wall"].map(str::to_owned)));
    assert!(graph("engine")["driver"].contains_key("environment"), "the engine's graph is not read");
}
