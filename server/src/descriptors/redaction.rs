//! What people may see of a stored message.

use bytes::Bytes;
use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, ReflectMessage, Value};
use prost_types::Any;

use super::depth::{MAX_DEPTH, decoded, packed};
use super::message;

/// Prefix of the type URL of every `Any` that we make.
const TYPE_URL_HOST: &str = "type.googleapis.com/";

/// Packs a stored message for people: fields marked `debug_redact` are cleared, also in messages inside it.
///
/// A message of a type that is not among the contracts keeps only its name, since it is not known what is in it; so does
/// what stands deeper than [`MAX_DEPTH`].
pub(crate) fn redacted(type_name: &str, value: &[u8]) -> Any {
    Any { type_url: format!("{TYPE_URL_HOST}{type_name}"), value: redacted_bytes(type_name, value, MAX_DEPTH) }
}

fn redacted_bytes(type_name: &str, value: &[u8], left: u32) -> Vec<u8> {
    let decoded = message(type_name).filter(|_| left > 0).and_then(|descriptor| decoded(descriptor, value));
    decoded.map_or_else(Vec::new, |mut message| {
        redact(&mut message, left);
        message.encode_to_vec()
    })
}

fn redact(message: &mut DynamicMessage, left: u32) {
    let Some(left) = left.checked_sub(1) else {
        *message = DynamicMessage::new(message.descriptor());
        return;
    };
    message.take_unknown_fields().for_each(drop);
    message.take_extensions().for_each(drop);
    if let Some((name, value)) = packed(message) {
        message.set_field_by_name("value", Value::Bytes(Bytes::from(redacted_bytes(&name, &value, left))));
        return;
    }
    let marked: Vec<_> = message.fields().map(|(field, _)| field).filter(is_marked).collect();
    for field in marked {
        message.clear_field(&field);
    }
    message.fields_mut().for_each(|(_, value)| redact_value(value, left));
}

fn redact_value(value: &mut Value, left: u32) {
    match value {
        Value::Message(message) => redact(message, left),
        Value::List(items) => items.iter_mut().for_each(|item| redact_value(item, left)),
        Value::Map(entries) => entries.values_mut().for_each(|value| redact_value(value, left)),
        _ => {}
    }
}

fn is_marked(field: &FieldDescriptor) -> bool {
    let options = field.options();
    options.get_field_by_name("debug_redact").and_then(|value| value.as_bool()).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::super::depth::tests::nested;
    use super::super::{fits, message_to_json, type_name};
    use super::*;

    #[test]
    fn what_stands_too_deep_is_left_out_and_the_rest_stays_readable() {
        for count in [1, 62, 63, 64, 65, 8_000] {
            let any = nested(count);
            let shown = redacted(type_name(&any.type_url), &any.value);
            assert_eq!(fits(type_name(&shown.type_url), &shown.value), Ok(()), "{count}");
            let around = crate::proto::google::rpc::Status { details: vec![shown], ..Default::default() };
            assert!(message_to_json(&around).is_some(), "{count}");
        }
    }
}
