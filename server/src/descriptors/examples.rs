//! Examples of messages, for people who have to write one.

use prost_reflect::{DynamicMessage, Kind, MapKey, MessageDescriptor, SerializeOptions, Value};

use super::{ANY, message};

/// How deep the example of a message goes into the messages of its fields.
const EXAMPLE_DEPTH: u32 = 4;

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
        Kind::Message(message) if message.full_name() == ANY => None,
        Kind::Message(message) => Some(Value::Message(example(message.clone(), depth - 1))),
        scalar => Some(Value::default_value(scalar)),
    }
}
