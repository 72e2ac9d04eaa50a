//! The tables of files in ARCHITECTURE.md name files that exist, and every file of the folders that they are about. Its
//! diagram of states has only moves that a run makes.

use std::collections::BTreeSet;

use engine::state::State;

use crate::files::{root, text};

/// The tables: the folder of each heading, and what its rows name.
fn tables() -> Vec<(String, BTreeSet<String>)> {
    let page = text("ARCHITECTURE.md");
    let files = page.split("\n## Files\n").nth(1).unwrap().split("\n## ").next().unwrap().to_owned();
    let sections = files.split("\n### `").skip(1).map(|section| {
        let (folder, rest) = section.split_once('`').unwrap();
        let cells = rest.lines().filter(|line| line.starts_with("| `")).map(|line| line.split('|').nth(1).unwrap());
        let names = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>());
        (folder.to_owned(), names.collect())
    });
    sections.collect()
}

#[test]
fn every_file_in_the_map_exists() {
    for (folder, names) in tables() {
        for name in names {
            assert!(root().join(&folder).join(&name).exists(), "ARCHITECTURE.md: there is no {folder}/{name}");
        }
    }
}

#[test]
fn every_file_has_a_row_in_the_map() {
    let tables = tables();
    assert!(tables.len() >= 4, "{tables:?}");
    for (folder, names) in tables {
        for entry in std::fs::read_dir(root().join(&folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let known = names.contains(&name) || names.contains(&format!("{name}/")) || name == "lib.rs";
            assert!(known, "ARCHITECTURE.md does not say what {folder}/{name} is for");
        }
    }
}

#[test]
fn every_arrow_between_states_is_a_legal_move_and_says_its_cause() {
    let page = text("ARCHITECTURE.md");
    let diagram = page.split("stateDiagram-v2").nth(1).unwrap().split("```").next().unwrap().to_owned();
    let state = |name: &str| State::ALL.into_iter().find(|state| state.name() == name.trim());
    let arrows: Vec<_> = diagram.lines().filter_map(|line| line.split_once("-->")).collect();
    assert!(arrows.len() > 20, "{diagram}");
    for (from, rest) in arrows {
        let (to, cause) = rest.split_once(':').unwrap_or_else(|| panic!("{from} --> {rest} says no cause"));
        assert!(!cause.trim().is_empty(), "{from} --> {rest} says no cause");
        // The beginning and the end of a run are no states.
        let (Some(from), Some(to)) = (state(from), state(to)) else { continue };
        assert!(from.may_become(to), "{from} --> {to} is not in the table of moves");
    }
}
