//! Everything that is wrong with a configuration, reported together.

use std::fmt;

use crate::text::{cut, plain};

/// Longest message; what is wrong may be told of a value that is a whole file.
const LONGEST: usize = 600;

/// One thing to correct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Path of the key, for example `services.users.address`; empty if no key is to blame.
    pub path: String,
    /// What is wrong and what was expected.
    pub message: String,
    /// Where the value came from; none for a default.
    pub origin: Option<String>,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", plain(&cut(&self.path, LONGEST)))?;
        }
        f.write_str(&plain(&cut(&self.message, LONGEST)))?;
        match &self.origin {
            Some(origin) => write!(f, " (from {})", plain(origin)),
            None => Ok(()),
        }
    }
}

/// All mistakes of one configuration, in the order of their paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// Notes a mistake, unless one is known at this key or right above it: the first says enough.
    pub(super) fn note(&mut self, path: &str, message: impl Into<String>, origin: Option<String>) {
        if !self.covers(path) {
            self.0.push(Mistake { path: path.to_owned(), message: message.into(), origin });
            self.0.sort_by(|a, b| a.path.cmp(&b.path));
        }
    }

    /// Whether the value at this path is not the one that was written.
    fn covers(&self, path: &str) -> bool {
        self.0.iter().any(|mistake| {
            !mistake.path.is_empty()
                && path.strip_prefix(&mistake.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }

    pub fn iter(&self) -> impl Iterator<Item = &Mistake> {
        self.0.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("the configuration has 1 mistake")?,
            count => write!(f, "the configuration has {count} mistakes")?,
        }
        self.0.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

impl std::error::Error for Mistakes {}
