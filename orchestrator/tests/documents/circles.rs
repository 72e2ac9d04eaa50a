//! The modules of a folder name each other in one direction only: no circle. What two of them share is a module of its own
//! below both. This holds directly below `src` of every crate, and in every folder inside.

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

/// The path of a module below `src`; the root has none.
type Module = Vec<String>;

fn path(folder: &str, file: &str) -> Option<Module> {
    let path = file.strip_prefix(folder)?.strip_prefix('/')?.strip_suffix(".rs")?;
    (!matches!(path, "lib" | "main")).then(|| path.split('/').map(str::to_owned).collect())
}

/// All paths of a piece of code, those of imports with their groups written out.
fn paths(code: &str) -> Vec<Vec<String>> {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(next) = code[at..].find("::") {
        let colons = at + next;
        let begin = code[..colons].rfind(|c: char| !word(c)).map_or(0, |before| before + 1);
        let mut end = colons;
        spell(&code[begin..], &mut Vec::new(), &mut found, &mut end);
        at = (begin + end).max(colons + 2);
    }
    found
}

/// Reads one path, or the tree of paths that an import names, from the start of the text. Says where it ends.
fn spell(text: &str, before: &mut Vec<String>, found: &mut Vec<Vec<String>>, end: &mut usize) {
    let length = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    before.push(text[..length].to_owned());
    let rest = &text[length..];
    if let Some(group) = rest.strip_prefix("::{") {
        *end = length + 3;
        for member in members(group) {
            let member_begins = member.as_ptr() as usize - text.as_ptr() as usize;
            *end = (member_begins + member.len()).max(*end);
            let trimmed = member.trim_start();
            if !trimmed.is_empty() {
                spell(trimmed, &mut before.clone(), found, &mut 0);
            }
        }
        return;
    }
    match rest.strip_prefix("::") {
        Some(next) if next.starts_with(|c: char| c.is_alphanumeric() || c == '_') => {
            let mut inner = 0;
            spell(next, before, found, &mut inner);
            *end = length + 2 + inner;
        }
        _ => {
            found.push(before.clone());
            *end = length;
        }
    }
}

/// What a module imports from modules below it, and so hands on under its own name.
fn handed_on(at: &Module, code: &str, modules: &BTreeSet<Module>) -> BTreeMap<String, Module> {
    let imports = code.split(';').filter_map(|statement| statement.split_once("use ")).map(|(_, tree)| tree);
    let mut names = BTreeMap::new();
    for path in imports.flat_map(|tree| paths(tree.trim())) {
        let Some((name, way)) = path.split_last() else { continue };
        let way = if way.first().is_some_and(|first| first == "self") { &way[1..] } else { way };
        let below: Module = at.iter().chain(way).cloned().collect();
        if !way.is_empty() && modules.contains(&below) {
            names.insert(name.clone(), below);
        }
    }
    names
}

/// For each module of a crate, the other modules that it names, at any depth.
fn deep_graph(crate_name: &str) -> BTreeMap<Module, BTreeMap<Module, String>> {
    let folder = format!("{crate_name}/src");
    let files =
        below(&folder, ".rs").into_iter().filter(|file| !file.contains("/tests/") && !file.ends_with("/tests.rs"));
    let sources: BTreeMap<Module, (String, String)> = files
        .filter_map(|file| path(&folder, &file).map(|module| (module, (file.clone(), code(&text(&file))))))
        .collect();
    let modules: BTreeSet<Module> = sources.keys().cloned().collect();
    let handed: BTreeMap<&Module, BTreeMap<String, Module>> =
        sources.iter().map(|(module, (_, code))| (module, handed_on(module, code, &modules))).collect();
    let mut graph: BTreeMap<Module, BTreeMap<Module, String>> = BTreeMap::new();
    for (from, (file, code)) in &sources {
        for path in paths(code) {
            let ups = path.iter().take_while(|word| *word == "super").count();
            let (base, way): (Module, &[String]) = match path.first().map(String::as_str) {
                Some("crate") => (Module::new(), &path[1..]),
                Some("self") => (from.clone(), &path[1..]),
                Some("super") => (from[..from.len().saturating_sub(ups)].to_vec(), &path[ups..]),
                _ => (from.clone(), &path[..]),
            };
            let mut to = base;
            for name in way {
                let mut next = to.clone();
                next.push(name.clone());
                if modules.contains(&next) {
                    to = next;
                    continue;
                }
                // A name that the module has from one below it.
                if let Some(owner) = handed.get(&to).and_then(|names| names.get(name)) {
                    to.clone_from(owner);
                }
                break;
            }
            if to != *from && !to.is_empty() {
                graph.entry(from.clone()).or_default().entry(to).or_insert_with(|| file.clone());
            }
        }
    }
    graph
}

/// How the modules of one folder name each other.
fn graph_inside(whole: &BTreeMap<Module, BTreeMap<Module, String>>, folder: &Module) -> Graph {
    let member = |module: &Module| module.strip_prefix(&folder[..]).and_then(|rest| rest.first()).cloned();
    let mut graph = Graph::new();
    for (from, names) in whole {
        for (to, file) in names {
            if let (Some(from), Some(to)) = (member(from), member(to))
                && from != to
            {
                graph.entry(from).or_default().entry(to).or_insert_with(|| file.clone());
            }
        }
    }
    graph
}

#[test]
fn the_files_of_every_folder_name_each_other_in_one_direction() {
    let mut found = Vec::new();
    for name in CRATES {
        let whole = deep_graph(name);
        let ends = whole.values().flat_map(BTreeMap::keys);
        let folders: BTreeSet<Module> = whole
            .keys()
            .chain(ends)
            .filter(|module| module.len() > 1)
            .map(|module| module[..module.len() - 1].to_vec())
            .collect();
        for folder in folders {
            let path = format!("{name}/src/{}", folder.join("/"));
            let graph = graph_inside(&whole, &folder);
            let circle = graph.keys().filter_map(|module| circle(&graph, module)).min_by_key(Vec::len);
            found.extend(circle.map(|circle| format!("{path}: {}", circle.join(", "))));
        }
    }
    assert_eq!(found, Vec::<String>::new(), "circles: put what the files share into a file below them");
}

#[test]
fn paths_are_read_with_their_groups_written_out() {
    let read = |code: &str| paths(code).into_iter().map(|path| path.join("::")).collect::<Vec<_>>();
    assert_eq!(read("use super::{a::{B, c::D}, e};"), ["super::a::B", "super::a::c::D", "super::e"]);
    assert_eq!(read("let x = one::two(three::Four::five());"), ["one::two", "three::Four::five"]);
    let whole = deep_graph("engine");
    let sqlite = graph_inside(&whole, &vec!["store".to_owned(), "sqlite".to_owned()]);
    assert!(sqlite["files"].contains_key("lock") && sqlite["runs"].contains_key("writes"), "{sqlite:#?}");
}
