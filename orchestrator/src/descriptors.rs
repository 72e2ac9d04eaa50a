//! The contracts at run time: turns stored bytes into what people may see, and JSON into bytes.

use std::sync::LazyLock;

use bytes::Bytes;
use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, Kind, MapKey, MessageDescriptor, ReflectMessage, SerializeOptions,
    ServiceDescriptor, Value,
};
use prost_types::{Any, FileDescriptorSet};

/// Prefix of the type URL of every `Any` that we make.
const TYPE_URL_HOST: &str = "type.googleapis.com/";

/// How deep the example of a message goes into the messages of its fields.
const EXAMPLE_DEPTH: u32 = 4;

/// Decoded on first use; a process that nobody asks does not pay for it.
static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(clients::DESCRIPTORS).unwrap_or_default());

/// The message with this full name.
pub(crate) fn message(full_name: &str) -> Option<MessageDescriptor> {
    POOL.get_message_by_name(full_name)
}

/// The file with this name, as others import it.
pub(crate) fn file(name: &str) -> Option<prost_reflect::FileDescriptor> {
    POOL.get_file_by_name(name)
}

/// The service with this full name.
pub(crate) fn service(full_name: &str) -> Option<ServiceDescriptor> {
    POOL.get_service_by_name(full_name)
}

/// Why bytes or JSON are not the message they should be: the path of the field, empty for the message, and a reason.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    pub(crate) path: String,
    pub(crate) reason: String,
}

/// Reads canonical protobuf JSON as a message of this type.
pub(crate) fn from_json(descriptor: MessageDescriptor, json: &str) -> Result<DynamicMessage, Misfit> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut reader, &mut track);
    let parsed = DynamicMessage::deserialize(descriptor, tracked);
    let message = parsed.map_err(|error| misfit(&track.path(), &error.to_string()))?;
    reader.end().map_err(|error| Misfit { path: String::new(), reason: error.to_string() })?;
    Ok(message)
}

/// The path stops at the message around a field that is not known; its name is in the reason.
fn misfit(path: &serde_path_to_error::Path, reason: &str) -> Misfit {
    let mut path = path.to_string();
    if path == "." {
        path.clear();
    }
    if let Some((_, rest)) = reason.split_once("unrecognized field name '")
        && let Some((name, _)) = rest.rsplit_once('\'')
        && !path.ends_with(name)
    {
        let dot = if path.is_empty() { "" } else { "." };
        path = format!("{path}{dot}{name}");
    }
    Misfit { path, reason: reason.to_owned() }
}

/// The full name in a type URL.
pub(crate) fn type_name(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or(url)
}

/// Whether these bytes are a message of this type.
pub(crate) fn decodes(full_name: &str, value: &[u8]) -> bool {
    message(full_name).is_some_and(|descriptor| DynamicMessage::decode(descriptor, value).is_ok())
}

/// Packs a stored message for people: fields marked `debug_redact` are cleared, also in messages inside it.
///
/// A message of a type that is not among the contracts keeps only its name, since nobody can say what is in it.
pub(crate) fn redacted(type_name: &str, value: &[u8]) -> Any {
    let decoded = message(type_name).and_then(|descriptor| DynamicMessage::decode(descriptor, value).ok());
    let value = decoded.map_or_else(Vec::new, |mut message| {
        redact(&mut message);
        message.encode_to_vec()
    });
    Any { type_url: format!("{TYPE_URL_HOST}{type_name}"), value }
}

fn redact(message: &mut DynamicMessage) {
    if message.descriptor().full_name() == "google.protobuf.Any" {
        redact_packed(message);
        return;
    }
    message.take_unknown_fields().for_each(drop);
    message.take_extensions().for_each(drop);
    let marked: Vec<_> = message.fields().map(|(field, _)| field).filter(is_marked).collect();
    for field in marked {
        message.clear_field(&field);
    }
    message.fields_mut().for_each(|(_, value)| redact_value(value));
}

fn redact_value(value: &mut Value) {
    match value {
        Value::Message(message) => redact(message),
        Value::List(items) => items.iter_mut().for_each(redact_value),
        Value::Map(entries) => entries.values_mut().for_each(redact_value),
        _ => {}
    }
}

fn redact_packed(any: &mut DynamicMessage) {
    let url = any.get_field_by_name("type_url").and_then(|url| url.as_str().map(str::to_owned)).unwrap_or_default();
    let inner = any.get_field_by_name("value").and_then(|value| value.as_bytes().cloned()).unwrap_or_default();
    let value = redacted(type_name(&url), &inner).value;
    any.set_field_by_name("value", Value::Bytes(Bytes::from(value)));
}

fn is_marked(field: &prost_reflect::FieldDescriptor) -> bool {
    let options = field.options();
    options.get_field_by_name("debug_redact").and_then(|value| value.as_bool()).unwrap_or(false)
}

/// A packed message as JSON for people; none where its type is not among the contracts or it does not decode.
pub(crate) fn to_json(any: &Any) -> Option<serde_json::Value> {
    let message = DynamicMessage::decode(message(type_name(&any.type_url))?, any.value.as_slice()).ok()?;
    message.serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new()).ok()
}

/// A message of ours as JSON for programs, with every payload in it readable.
pub(crate) fn message_to_json<M: Message + prost::Name>(message: &M) -> Option<serde_json::Value> {
    let descriptor = self::message(&M::full_name())?;
    let mut dynamic = DynamicMessage::new(descriptor);
    dynamic.transcode_from(message).ok()?;
    leave_out_unreadable(&mut dynamic);
    dynamic.serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new()).ok()
}

/// Takes out packed messages of types that are not among the contracts: they have no JSON form.
fn leave_out_unreadable(message: &mut DynamicMessage) {
    let is_readable = |value: &Value| match value {
        Value::Message(any) if any.descriptor().full_name() == "google.protobuf.Any" => {
            let url = any.get_field_by_name("type_url");
            url.as_deref().and_then(Value::as_str).is_some_and(|url| self::message(type_name(url)).is_some())
        }
        _ => true,
    };
    let unreadable: Vec<_> =
        message.fields().filter(|(_, value)| !is_readable(value)).map(|(field, _)| field).collect();
    for field in unreadable {
        message.clear_field(&field);
    }
    for (_, value) in message.fields_mut() {
        match value {
            Value::Message(inner) => leave_out_unreadable(inner),
            Value::List(items) => {
                items.retain(is_readable);
                items.iter_mut().filter_map(Value::as_message_mut).for_each(leave_out_unreadable);
            }
            Value::Map(entries) => {
                entries.retain(|_, value| is_readable(value));
                entries.values_mut().filter_map(Value::as_message_mut).for_each(leave_out_unreadable);
            }
            _ => {}
        }
    }
}

/// An example of the message as JSON, with every field present.
pub(crate) fn example_json(full_name: &str) -> Option<String> {
    let example = example(message(full_name)?, EXAMPLE_DEPTH);
    let mut text = Vec::new();
    let mut serializer = serde_json::Serializer::pretty(&mut text);
    example.serialize_with_options(&mut serializer, &SerializeOptions::new().skip_default_fields(false)).ok()?;
    String::from_utf8(text).ok()
}

fn example(descriptor: MessageDescriptor, depth: u32) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    // The value types of google.protobuf have a JSON form of their own, and their defaults are an example of it.
    if depth == 0 || descriptor.package_name() == "google.protobuf" {
        return message;
    }
    for field in descriptor.fields() {
        let is_later_choice = field
            .containing_oneof()
            .is_some_and(|oneof| oneof.fields().next().is_some_and(|first| first.number() != field.number()));
        let Some(value) = example_value(&field.kind(), depth).filter(|_| !is_later_choice) else { continue };
        let value = if field.is_map() {
            let Kind::Message(entry) = field.kind() else { continue };
            let (key, of) = (entry.map_entry_key_field().kind(), entry.map_entry_value_field().kind());
            let (Some(key), Some(value)) = (MapKey::default_value(&key).into(), example_value(&of, depth)) else {
                continue;
            };
            Value::Map(std::iter::once((key, value)).collect())
        } else if field.is_list() {
            Value::List(vec![value])
        } else {
            value
        };
        message.set_field(&field, value);
    }
    message
}

fn example_value(kind: &Kind, depth: u32) -> Option<Value> {
    match kind {
        // An empty Any has no JSON form.
        Kind::Message(message) if message.full_name() == "google.protobuf.Any" => None,
        Kind::Message(message) => Some(Value::Message(example(message.clone(), depth - 1))),
        scalar => Some(Value::default_value(scalar)),
    }
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
