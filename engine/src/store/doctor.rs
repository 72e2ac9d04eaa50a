//! What slows or endangers a store, and what to do about it: findings of a look at it from outside.

use std::fmt;

/// How urgent a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; nothing has to be done.
    Note,
    /// It slows the store, or will endanger it.
    Warning,
    /// It endangers what is stored, or stops the orchestrator soon.
    Danger,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "NOTE",
            Self::Warning => "WARNING",
            Self::Danger => "DANGER",
        })
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How urgent it is.
    pub severity: Severity,
    /// A constant that names the kind of finding, for programs; for example `LONG_LOG`.
    pub kind: &'static str,
    /// What is so, in one sentence with its figures.
    pub says: String,
    /// What a person does about it.
    pub remedy: String,
}

/// A figure of the store, whether it is a finding or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// What it is, for example `write-ahead log`.
    pub name: &'static str,
    /// The figure with its unit, for people.
    pub value: String,
}

/// The result of a look at a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examination {
    /// What the store is like.
    pub figures: Vec<Figure>,
    /// The most urgent first.
    pub findings: Vec<Finding>,
}

impl Examination {
    /// The most urgent finding.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }
}

/// A size in bytes, for people.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut size = bytes;
    let mut unit = 0;
    while size >= 10_240 && unit + 1 < UNITS.len() {
        size /= 1_024;
        unit += 1;
    }
    format!("{size} {}", UNITS[unit])
}
