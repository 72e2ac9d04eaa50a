//! The rules that contracts state for the values of their messages (`buf.validate`), and messages checked against them.
//!
//! The standard rules are checked. Rules that are expressions, and rules that others define, are not: [`Rules::read`]
//! names each of them.

#![warn(missing_docs)]

use std::collections::HashMap;
use std::fmt;
use std::time::SystemTime;

use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};

mod check;
mod formats;
mod live;
mod place;
mod read;
mod text;
mod value;

use check::{Found, MessageChecks};

/// The rules of all messages of a descriptor pool.
#[derive(Default)]
pub struct Rules {
    /// Of each message that has rules, or contains one that has.
    messages: HashMap<String, Checked>,
}

struct Checked {
    descriptor: MessageDescriptor,
    checks: MessageChecks,
}

/// A value that breaks a rule. The value itself is not shown: it may be secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The path of the field from the message, for example `guests[2].email`.
    pub field: String,
    /// What is wrong, and what was expected.
    pub description: String,
}

/// A rule that is not checked here, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unchecked {
    /// The file of the contract.
    pub file: String,
    /// Full name of the message, field or oneof that states the rule.
    pub place: String,
    /// What is not checked, and what would be.
    pub reason: String,
}

impl fmt::Display for Unchecked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.file, self.place, self.reason)
    }
}

impl Rules {
    /// Reads the rules of all messages, and names those that are not checked.
    pub fn read(pool: &DescriptorPool) -> (Self, Vec<Unchecked>) {
        let (checks, unchecked) = read::read(pool);
        let messages = live::live(checks)
            .into_iter()
            .filter_map(|(name, checks)| {
                let descriptor = pool.get_message_by_name(&name)?;
                Some((name, Checked { descriptor, checks }))
            })
            .collect();
        (Self { messages }, unchecked)
    }

    /// Whether a message of this type can break a rule.
    pub fn has(&self, message: &str) -> bool {
        self.messages.contains_key(message)
    }

    /// Checks an encoded message of this type. Times are compared with `now`. Many violations are cut short.
    pub fn check(&self, message: &str, encoded: &[u8], now: SystemTime) -> Vec<Violation> {
        let Some(checked) = self.messages.get(message) else { return Vec::new() };
        let mut found = Found::new(now);
        match DynamicMessage::decode(checked.descriptor.clone(), encoded) {
            Ok(decoded) => self.message(&checked.checks, &decoded, "", &mut found),
            Err(error) => found.note("", format!("not a {message}: {error}")),
        }
        found.violations
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules").field("messages", &self.messages.len()).finish_non_exhaustive()
    }
}
