//! Examples of messages, for people who have to write one.

use prost_reflect::{DynamicMessage, Kind, MapKey, MessageDescriptor, SerializeOptions, Value};

use super::{ANY, message};

/// How deep the example of a message goes into the messages of its fields.
const EXAMPLE_DEPTH: usize = 4;
/// How many fields it has, all messages together.
const EXAMPLE_FIELDS: usize = 500;

/// An example of the message as JSON, with a value in every field. It does not go into a message within itself, and ends
/// after a number of fields, so that it is short for every contract.
pub(crate) fn example_json(full_name: &str) -> Option<String> {
    json_of(message(full_name)?)
}

fn json_of(descriptor: MessageDescriptor) -> Option<String> {
    let mut example = Example { around: Vec::new(), fields: 0 };
    let example = example.of(descriptor);
    let mut text = Vec::new();
    let mut serializer = serde_json::Serializer::pretty(&mut text);
    example.serialize_with_options(&mut serializer, &SerializeOptions::new().skip_default_fields(false)).ok()?;
    String::from_utf8(text).ok()
}

struct Example {
    /// Full names of the messages around the one that is made.
    around: Vec<String>,
    /// How many fields there are so far.
    fields: usize,
}

impl Example {
    fn of(&mut self, descriptor: MessageDescriptor) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        // The value types of google.protobuf have a JSON form of their own, and their defaults are an example of it.
        if descriptor.package_name() == "google.protobuf" {
            return message;
        }
        self.around.push(descriptor.full_name().to_owned());
        for field in descriptor.fields() {
            let is_later_choice = field
                .containing_oneof()
                .is_some_and(|oneof| oneof.fields().next().is_some_and(|first| first.number() != field.number()));
            if is_later_choice || self.fields >= EXAMPLE_FIELDS {
                continue;
            }
            let of = field.kind();
            let value = match &of {
                Kind::Message(entry) if field.is_map() => {
                    let key = MapKey::default_value(&entry.map_entry_key_field().kind());
                    let value = self.value(&entry.map_entry_value_field().kind());
                    value.map(|value| Value::Map(std::iter::once((key, value)).collect()))
                }
                of if field.is_list() => self.value(of).map(|value| Value::List(vec![value])),
                of => self.value(of),
            };
            if let Some(value) = value {
                self.fields += 1;
                message.set_field(&field, value);
            }
        }
        self.around.pop();
        message
    }

    fn value(&mut self, kind: &Kind) -> Option<Value> {
        match kind {
            // An empty Any has no JSON form.
            Kind::Message(message) if message.full_name() == ANY => None,
            Kind::Message(message) => {
                let is_deep = self.around.len() > EXAMPLE_DEPTH;
                let is_around = self.around.iter().any(|name| name == message.full_name());
                (!is_deep && !is_around).then(|| Value::Message(self.of(message.clone())))
            }
            scalar => Some(Value::default_value(scalar)),
        }
    }
}

#[cfg(test)]
mod tests {
    use prost_reflect::DescriptorPool;

    use super::*;

    fn example(full_name: &str) -> serde_json::Value {
        let pool = DescriptorPool::decode(test_contracts::CONTRACTS.descriptors).unwrap();
        let text = json_of(pool.get_message_by_name(full_name).unwrap()).unwrap();
        assert!(text.len() < 64 * 1024, "{} bytes", text.len());
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn the_example_of_a_message_that_has_itself_41_times_is_short() {
        let tree = example("acme.trees.v1.Node");
        assert_eq!(tree["name"], "");
        assert!(tree.get("child2").is_none_or(serde_json::Value::is_null), "{tree}");
        assert!(tree["leaf"].is_object(), "{tree}");
    }

    #[test]
    fn an_example_has_every_field_that_is_not_within_itself() {
        let shelf = example("fixture.v1.Shelf");
        assert_eq!(shelf, serde_json::json!({ "shelfId": "", "books": { "": 0 } }));
        let outer = example("fixture.merged.Outer");
        assert_eq!(outer["inner"]["leaf"]["name"], "");
    }

    #[test]
    fn an_example_of_a_wide_contract_ends_after_a_number_of_fields() {
        let mut example = Example { around: Vec::new(), fields: EXAMPLE_FIELDS };
        let pool = DescriptorPool::decode(test_contracts::CONTRACTS.descriptors).unwrap();
        let message = example.of(pool.get_message_by_name("fixture.v1.Shelf").unwrap());
        assert_eq!(message.fields().count(), 0);
    }
}
