//! The contracts at run time: turns stored bytes into what people may see, and JSON into bytes.
//!
//! What comes in is bounded in depth, packed messages counted, and what goes out is cut at the same depth: so whatever was
//! stored, a look at it neither fails nor takes more than a bounded stack.

use prost_reflect::{MessageDescriptor, MethodDescriptor, ServiceDescriptor};
use prost_types::FileDescriptorSet;

use crate::installed;

mod depth;
mod examples;
mod json;
mod redaction;

pub(crate) use depth::fits;
pub(crate) use examples::example_json;
pub(crate) use json::{from_json, message_to_json, to_json};
pub(crate) use redaction::redacted;

/// The name of the message that packs others.
const ANY: &str = "google.protobuf.Any";

/// The message with this full name.
pub(crate) fn message(full_name: &str) -> Option<MessageDescriptor> {
    installed::pool()?.get_message_by_name(full_name)
}

/// The file with this name, as others import it.
pub(crate) fn file(name: &str) -> Option<prost_reflect::FileDescriptor> {
    installed::pool()?.get_file_by_name(name)
}

/// The service with this full name.
pub(crate) fn service(full_name: &str) -> Option<ServiceDescriptor> {
    installed::pool()?.get_service_by_name(full_name)
}

/// Whether the contract of the method says that it changes nothing.
pub(crate) fn has_no_side_effects(method: &MethodDescriptor) -> bool {
    let level = method.options().get_field_by_name("idempotency_level").and_then(|level| level.as_enum_number());
    level == Some(prost_types::method_options::IdempotencyLevel::NoSideEffects as i32)
}

/// Why bytes or JSON are not the message they should be: the path of the field, empty for the message, and a reason.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    pub(crate) path: String,
    pub(crate) reason: String,
}

/// The full name in a type URL.
pub(crate) fn type_name(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or(url)
}

/// The files that describe these messages, each after the files that it imports.
pub(crate) fn files_of(full_names: &[&str]) -> FileDescriptorSet {
    let mut set = FileDescriptorSet::default();
    for message in full_names.iter().filter_map(|name| message(name)) {
        collect(&message.parent_file(), &mut set);
    }
    set
}

fn collect(file: &prost_reflect::FileDescriptor, set: &mut FileDescriptorSet) {
    if set.file.iter().any(|known| known.name() == file.name()) {
        return;
    }
    file.dependencies().for_each(|dependency| collect(&dependency, set));
    set.file.push(file.file_descriptor_proto().clone());
}
