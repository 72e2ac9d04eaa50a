//! Canonical protobuf JSON: read from callers, written for people and for programs.

use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor, ReflectMessage, SerializeOptions, Value};
use prost_types::Any;

use super::depth::{MAX_DEPTH, decoded, fits, packed};
use super::{ANY, Misfit, message, type_name};

mod duplicates;

/// Reads canonical protobuf JSON as a message of this type, encoded.
pub(crate) fn from_json(descriptor: MessageDescriptor, json: &str) -> Result<Vec<u8>, Misfit> {
    let name = descriptor.full_name().to_owned();
    duplicates::refuse(&descriptor, json)?;
    let mut reader = serde_json::Deserializer::from_str(json);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut reader, &mut track);
    let parsed = DynamicMessage::deserialize(descriptor, tracked);
    let message = parsed.map_err(|error| misfit(&track.path(), &error.to_string()))?;
    let whole = |reason: String| Misfit { path: String::new(), reason };
    reader.end().map_err(|error| whole(error.to_string()))?;
    let bytes = message.encode_to_vec();
    fits(&name, &bytes).map_err(whole)?;
    Ok(bytes)
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
        path = below(&path, name);
    }
    Misfit { path, reason: reason.to_owned() }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A packed message as JSON for people; none where it cannot be read: its type is not among the contracts, it does not
/// decode, it stands too deep, or it has a value that JSON has no form for.
pub(crate) fn to_json(any: &Any) -> Option<serde_json::Value> {
    let mut message = decoded(message(type_name(&any.type_url))?, any.value.as_slice())?;
    make_message_readable(&mut message, MAX_DEPTH).then(|| value_of(&message))?
}

/// A message of ours as JSON for programs, with every payload in it readable.
pub(crate) fn message_to_json<M: Message + prost::Name>(message: &M) -> Option<serde_json::Value> {
    let descriptor = self::message(&M::full_name())?;
    let mut dynamic = DynamicMessage::new(descriptor);
    dynamic.transcode_from(message).ok()?;
    leave_out_unreadable(&mut dynamic, MAX_DEPTH + 8);
    value_of(&dynamic)
}

fn value_of(message: &DynamicMessage) -> Option<serde_json::Value> {
    message.serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new()).ok()
}

/// Takes out packed messages that have no JSON form, wherever they stand.
fn leave_out_unreadable(message: &mut DynamicMessage, left: u32) {
    let unreadable: Vec<_> =
        message.fields_mut().filter_map(|(field, value)| (!make_readable(value, left)).then_some(field)).collect();
    for field in unreadable {
        message.clear_field(&field);
    }
}

/// Whether the value can be read, once what cannot was taken out of it.
fn make_readable(value: &mut Value, left: u32) -> bool {
    match value {
        Value::Message(message) => make_message_readable(message, left),
        Value::List(items) => {
            items.retain_mut(|item| make_readable(item, left));
            true
        }
        Value::Map(entries) => {
            entries.retain(|_, value| make_readable(value, left));
            true
        }
        _ => true,
    }
}

fn make_message_readable(message: &mut DynamicMessage, left: u32) -> bool {
    let Some(left) = left.checked_sub(1) else { return false };
    let Some((name, value)) = packed(message) else {
        leave_out_unreadable(message, left);
        // Times and the like may be out of the range of their form.
        return !is_well_known(message) || value_of(message).is_some();
    };
    let Some(mut inner) = self::message(&name).and_then(|descriptor| decoded(descriptor, &value)) else {
        return false;
    };
    if !make_message_readable(&mut inner, left) {
        return false;
    }
    message.set_field_by_name("value", Value::Bytes(inner.encode_to_vec().into()));
    true
}

fn is_well_known(message: &DynamicMessage) -> bool {
    let descriptor = message.descriptor();
    descriptor.package_name() == "google.protobuf" && descriptor.full_name() != ANY
}

#[cfg(test)]
mod tests {
    use crate::proto::google::rpc::Status;

    use super::super::depth::tests::nested;
    use super::*;

    fn status(details: Vec<Any>) -> Status {
        Status { code: 3, message: String::from("no"), details }
    }

    #[test]
    fn a_message_is_readable_whatever_is_packed_in_it() {
        let known = |name: &str, value: Vec<u8>| Any { type_url: format!("type.googleapis.com/{name}"), value };
        let far = prost_types::Timestamp { seconds: i64::MAX, nanos: -7 }.encode_to_vec();
        let unknown = known("acme.Unknown", vec![1, 2, 3]);
        let around = known("google.rpc.Status", status(vec![unknown.clone(), nested(1)]).encode_to_vec());
        let details = vec![
            unknown,
            known("google.protobuf.Timestamp", far),
            known("google.rpc.Status", vec![0xff]),
            nested(8_000),
            around,
            Any::default(),
        ];
        let json = message_to_json(&status(details)).unwrap();
        assert_eq!(json["code"], 3);
        let shown = json["details"].as_array().unwrap();
        assert_eq!(shown.len(), 1, "{json}");
        assert_eq!(shown[0]["details"].as_array().unwrap().len(), 1, "{json}");
    }

    #[test]
    fn json_that_is_too_deep_is_refused_wherever_its_depth_comes_from() {
        let read = |json: &str| from_json(message("google.rpc.Status").unwrap(), json);
        let anys = |count: usize| {
            let outer = "{\"@type\": \"type.googleapis.com/google.protobuf.Any\", \"value\": ".repeat(count);
            let inner = "{\"@type\": \"type.googleapis.com/google.rpc.Status\", \"code\": 5}";
            format!("{{\"details\": [{outer}{inner}{}]}}", "}".repeat(count))
        };
        let fields = |count: usize| format!("{}1{}", "{\"details\": [".repeat(count), "]}".repeat(count));
        assert!(read(&anys(10)).is_ok(), "{:?}", read(&anys(10)));
        for json in [anys(70), anys(120), anys(8_000), fields(60), fields(100_000), "[".repeat(100_000)] {
            assert!(read(&json).is_err());
        }
    }
}
