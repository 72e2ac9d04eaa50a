//! How deep a message is, with the messages that are packed in it.

use prost_reflect::{DynamicMessage, MessageDescriptor, ReflectMessage, Value};

use super::{ANY, message, type_name};

/// The most messages that stand in each other, packed ones counted.
pub(crate) const MAX_DEPTH: u32 = 64;

/// What is wrong with these bytes as a message of this type; nothing where they are one that is not too deep.
pub(crate) fn fits(full_name: &str, value: &[u8]) -> Result<(), String> {
    let decoded = message(full_name).and_then(|descriptor| DynamicMessage::decode(descriptor, value).ok());
    match decoded {
        None => Err(format!("the bytes are not a {full_name}")),
        Some(decoded) if is_deeper(&decoded, MAX_DEPTH) => {
            Err(format!("more than {MAX_DEPTH} messages in each other; expected fewer"))
        }
        Some(_) => Ok(()),
    }
}

/// Whether more than `most` messages stand in each other here.
pub(super) fn is_deeper(message: &DynamicMessage, most: u32) -> bool {
    let Some(left) = most.checked_sub(1) else { return true };
    match unpacked(message) {
        Some(inner) => is_deeper(&inner, left),
        None => message.fields().any(|(_, value)| holds_deeper(value, left)),
    }
}

fn holds_deeper(value: &Value, most: u32) -> bool {
    match value {
        Value::Message(message) => is_deeper(message, most),
        Value::List(items) => items.iter().any(|item| holds_deeper(item, most)),
        Value::Map(entries) => entries.values().any(|value| holds_deeper(value, most)),
        _ => false,
    }
}

/// The full name of what is packed in this message, and its bytes; none where the message is no `Any`.
pub(super) fn packed(any: &DynamicMessage) -> Option<(String, bytes::Bytes)> {
    if any.descriptor().full_name() != ANY {
        return None;
    }
    let url = any.get_field_by_name("type_url").and_then(|url| url.as_str().map(str::to_owned)).unwrap_or_default();
    let value = any.get_field_by_name("value").and_then(|value| value.as_bytes().cloned()).unwrap_or_default();
    Some((type_name(&url).to_owned(), value))
}

/// The message that is packed in this one, where its type is among the contracts and it decodes. An empty one is nothing
/// to look into.
fn unpacked(any: &DynamicMessage) -> Option<DynamicMessage> {
    let (name, value) = packed(any).filter(|(_, value)| !value.is_empty())?;
    decoded(message(&name)?, &value)
}

pub(super) fn decoded(descriptor: MessageDescriptor, value: &[u8]) -> Option<DynamicMessage> {
    DynamicMessage::decode(descriptor, value).ok()
}

#[cfg(test)]
pub(super) mod tests {
    use prost::Message;
    use prost_types::Any;

    use super::*;

    /// So many packed messages in each other, around a status.
    pub(in super::super) fn nested(count: usize) -> Any {
        let status = crate::proto::google::rpc::Status { code: 5, ..Default::default() };
        let mut value = status.encode_to_vec();
        let mut name = "google.rpc.Status";
        for _ in 0..count {
            value = Any { type_url: format!("type.googleapis.com/{name}"), value }.encode_to_vec();
            name = ANY;
        }
        Any { type_url: format!("type.googleapis.com/{name}"), value }
    }

    #[test]
    fn packed_messages_count_as_deep_as_they_stand() {
        let fits = |count| {
            let any = nested(count);
            super::fits(type_name(&any.type_url), &any.value)
        };
        assert_eq!(fits(0), Ok(()));
        assert_eq!(fits(MAX_DEPTH as usize - 1), Ok(()));
        assert!(fits(MAX_DEPTH as usize).is_err());
        assert!(fits(8_000).is_err());
    }

    #[test]
    fn lists_and_maps_of_messages_are_looked_into() {
        let detail =
            |any: Any| crate::proto::google::rpc::Status { details: vec![any], ..Default::default() }.encode_to_vec();
        assert_eq!(super::fits("google.rpc.Status", &detail(nested(10))), Ok(()));
        assert!(super::fits("google.rpc.Status", &detail(nested(8_000))).is_err());
    }
}
