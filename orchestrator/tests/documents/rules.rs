//! Rules below the level of crates: which files may name what. Read from the sources, comments left out.

use crate::files::{below, text};

struct Rule {
    /// What is said of it if somebody else names it.
    what: &'static str,
    /// The folder that the rule is about.
    within: &'static str,
    /// The names.
    names: &'static [&'static str],
    /// The files or folders that may have them, by how their path begins.
    only: &'static [&'static str],
}

/// As ARCHITECTURE.md has them.
const RULES: &[Rule] = &[
    Rule { what: "the SQL driver", within: "engine/src", names: &["rusqlite"], only: &["engine/src/store/sqlite"] },
    Rule {
        what: "memory maps and `unsafe`",
        within: "engine/src",
        names: &["memmap2", "unsafe_code", "unsafe "],
        only: &["engine/src/breadcrumbs", "engine/src/store/"],
    },
    Rule { what: "random numbers", within: "engine/src", names: &["rand::"], only: &["engine/src/random.rs"] },
    Rule {
        what: "the making of a status of gRPC",
        within: "server/src/admin",
        names: &[
            "Status::new(",
            "Status::with_",
            "Status::internal(",
            "Status::invalid_argument(",
            "Status::not_found(",
        ],
        only: &["server/src/admin/status.rs"],
    },
    Rule {
        what: "the library that reads configuration",
        within: "server/src",
        names: &["use config::"],
        only: &["server/src/configuration", "server/src/own.rs"],
    },
    Rule {
        what: "HTTP/2 and TLS",
        within: "transport/src",
        names: &["h2::", "rustls::", "tokio_rustls::"],
        only: &["transport/src/channel"],
    },
    Rule { what: "SQL", within: "server/src", names: &["rusqlite", "tokio_postgres"], only: &[] },
    Rule { what: "SQL", within: "orchestrator/src", names: &["rusqlite", "tokio_postgres"], only: &[] },
    Rule { what: "configuration and gRPC", within: "postgres/src", names: &["use config::", "tonic"], only: &[] },
    Rule { what: "gRPC", within: "engine/src", names: &["tonic", "h2::"], only: &[] },
    Rule {
        what: "workflows, runs and stores",
        within: "transport/src",
        names: &["engine::workflow", "engine::store", "engine::engine"],
        only: &[],
    },
];

/// A line that is code, without what stands behind `//`.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// Whether the line names it, not only something that ends so.
fn names(line: &str, name: &str) -> bool {
    let line = code(line);
    line.match_indices(name).any(|(at, _)| {
        !line[..at].chars().next_back().is_some_and(|before| before.is_alphanumeric() || matches!(before, '_' | '"'))
    })
}

fn violations(rule: &Rule) -> Vec<String> {
    let mut found = Vec::new();
    for file in below(rule.within, ".rs") {
        if rule.only.iter().any(|allowed| file.starts_with(allowed)) {
            continue;
        }
        let text = text(&file);
        // Tests in a file may name what they test with.
        let own = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for (number, line) in own.lines().enumerate() {
            if let Some(name) = rule.names.iter().find(|name| names(line, name)) {
                found.push(format!("{file}:{}: {name} ({})", number + 1, rule.what));
            }
        }
    }
    found
}

#[test]
fn only_the_files_that_may_name_what_a_rule_is_about() {
    let found: Vec<String> = RULES.iter().flat_map(violations).collect();
    assert!(found.is_empty(), "ARCHITECTURE.md, crates and folders: {found:#?}");
}

#[test]
fn a_rule_that_is_about_nothing_is_found() {
    for rule in RULES.iter().filter(|rule| !rule.only.is_empty()) {
        let allowed =
            below(rule.within, ".rs").into_iter().filter(|file| rule.only.iter().any(|only| file.starts_with(only)));
        let used = allowed
            .into_iter()
            .any(|file| text(&file).lines().any(|line| rule.names.iter().any(|name| names(line, name))));
        assert!(used, "nobody names {} any more: remove the rule or correct it", rule.what);
    }
}

#[test]
fn the_engine_has_no_other_crate_of_the_workspace_below_it() {
    let manifest = text("engine/Cargo.toml");
    let own = ["transport", "server", "clients", "orchestrator", "demo", "bench", "test-contracts"];
    for name in own {
        assert!(!manifest.lines().any(|line| line.starts_with(&format!("{name}."))), "engine depends on {name}");
    }
    let transport = text("transport/Cargo.toml");
    let dependencies = transport.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    for name in ["server", "clients", "orchestrator", "demo", "bench"] {
        assert!(!dependencies.lines().any(|line| line.starts_with(&format!("{name}."))), "transport depends on {name}");
    }
}
