//! Answers of the admin API for programs: canonical protobuf JSON.

use prost::{Message, Name};
use serde_json::Value;

use super::exit::CommandError;
use crate::descriptors;

/// The message, indented.
pub(super) fn pretty<M: Message + Name>(message: &M) -> Result<String, CommandError> {
    serde_json::to_string_pretty(&value(message)?).map_err(|error| CommandError::failed(error.to_string()))
}

/// The message on one line.
pub(super) fn line<M: Message + Name>(message: &M) -> Result<String, CommandError> {
    value(message).map(|value| value.to_string())
}

fn value<M: Message + Name>(message: &M) -> Result<Value, CommandError> {
    descriptors::message_to_json(message)
        .ok_or_else(|| CommandError::failed(format!("the answer has no JSON form as {}", M::full_name())))
}
