//! What a workflow must not call is found by clippy: a module that does all of it is refused line by line.

use std::path::Path;
use std::process::Command;

/// A workflow as it must not be. Names of our dependencies are left to the lints of the workspace.
const BAD: &str = "
    #![deny(clippy::disallowed_methods, clippy::disallowed_types)]
    pub fn clocks() {
        let (a, b) = (std::time::SystemTime::now(), std::time::Instant::now());
        drop((a.elapsed(), b.elapsed()));
    }
    pub fn spawns() {
        drop(std::thread::spawn(|| std::thread::sleep(std::time::Duration::ZERO)));
        std::thread::scope(|_| ());
        drop(std::thread::Builder::new().spawn(|| ()));
        drop(std::future::poll_fn(|_| std::task::Poll::Ready(())));
    }
    pub fn surroundings() -> std::io::Result<()> {
        drop((std::env::var(\"A\"), std::env::var_os(\"A\"), std::process::id()));
        drop((std::fs::read(\"a\")?, std::fs::read_to_string(\"a\")?, std::fs::File::open(\"a\")?));
        if std::process::id() == 1 { std::process::exit(1) } else { std::process::abort() }
    }
    pub fn order(a: std::collections::HashMap<u8, u8>, b: std::collections::HashSet<u8>) { drop((a, b)); }
";

/// Paths and reasons of the entries of `clippy.toml` that are of the standard library.
#[expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]
fn banned(root: &Path) -> Vec<(String, String)> {
    let rules = std::fs::read_to_string(root.join("clippy.toml")).unwrap();
    let entries = rules.lines().filter_map(|line| line.trim().strip_prefix("{ path = \"std::")).map(|entry| {
        let (path, rest) = entry.split_once('"').unwrap();
        let reason = rest.split_once("reason = \"").unwrap().1.trim_end_matches("\" },");
        (format!("std::{path}"), reason.to_owned())
    });
    entries.collect()
}

#[test]
fn what_a_replay_would_do_otherwise_is_refused_with_a_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let banned = banned(root);
    assert!(banned.len() > 15, "{banned:?}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.rs");
    std::fs::write(&file, BAD).unwrap();
    let driver = Path::new(env!("CARGO")).with_file_name("clippy-driver");
    let linted = Command::new(&driver)
        .env("CLIPPY_CONF_DIR", root)
        .args(["--edition", "2024", "--crate-type", "lib", "--emit", "metadata", "--out-dir"])
        .args([folder.path(), &file])
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}; `rustup component add clippy`", driver.display()));
    assert!(!linted.status.success());
    let said = String::from_utf8(linted.stderr).unwrap();
    for (path, reason) in banned {
        assert!(said.contains(&format!("`{path}`")), "{path} is not refused:\n{said}");
        assert!(said.contains(&reason), "{path} is refused without its reason:\n{said}");
    }
}

#[test]
fn the_workflows_deny_what_is_banned() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let module = std::fs::read_to_string(root.join("src/workflows.rs")).unwrap();
    let lints = ["disallowed_methods", "disallowed_types", "disallowed_macros"].map(|lint| format!("clippy::{lint}"));
    assert!(module.contains(&format!("#![deny({})]", lints.join(", "))));
}
