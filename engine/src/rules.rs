//! The port to the rules that contracts state for the values of their messages.

use std::fmt;
use std::sync::Arc;

use prost::Message as _;

use crate::failure::{Code, Detail, Failure};
use crate::time::Timestamp;

/// Most violations that a failure keeps as details.
const MOST: usize = 20;

/// Checks messages against the rules of their contracts. A message without rules breaks none.
pub trait Rules: Send + Sync + 'static {
    /// The rules that this request of the method with this path breaks.
    fn check_request(&self, path: &str, request: &[u8], now: Timestamp) -> Vec<Violation>;

    /// The rules that this message, of a type with this full name, breaks.
    fn check_message(&self, type_name: &str, message: &[u8], now: Timestamp) -> Vec<Violation>;
}

/// A value that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The path of the field from the message, for example `guests[2].email`; empty for the message.
    pub field: String,
    /// What is wrong, and what was expected. Never the value, which may be secret.
    pub description: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            f.write_str(&self.description)
        } else {
            write!(f, "{}: {}", self.field, self.description)
        }
    }
}

/// All violations in one line.
pub(crate) fn listed(violations: &[Violation]) -> String {
    violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The failure of a step whose message breaks rules: INVALID_ARGUMENT, with a `google.rpc.BadRequest`.
pub(crate) fn broken(what: &str, violations: &[Violation]) -> Failure {
    let message = format!("{what} breaks the rules of its contract: {}", listed(violations));
    let of = |violation: &Violation| FieldViolation {
        field: violation.field.clone(),
        description: violation.description.clone(),
    };
    let details = BadRequest { field_violations: violations.iter().take(MOST).map(of).collect() };
    let detail = Detail { type_name: "google.rpc.BadRequest".to_owned(), value: details.encode_to_vec().into() };
    Failure::new(Code::InvalidArgument, message).with_details(vec![detail])
}

/// `google.rpc.BadRequest`, as far as it is written here.
#[derive(Clone, PartialEq, prost::Message)]
struct BadRequest {
    #[prost(message, repeated, tag = "1")]
    field_violations: Vec<FieldViolation>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct FieldViolation {
    #[prost(string, tag = "1")]
    field: String,
    #[prost(string, tag = "2")]
    description: String,
}

/// Contracts without rules.
struct NoRules;

impl Rules for NoRules {
    fn check_request(&self, _path: &str, _request: &[u8], _now: Timestamp) -> Vec<Violation> {
        Vec::new()
    }

    fn check_message(&self, _type_name: &str, _message: &[u8], _now: Timestamp) -> Vec<Violation> {
        Vec::new()
    }
}

/// The rules of contracts without any.
pub(crate) fn none() -> Arc<dyn Rules> {
    Arc::new(NoRules)
}
