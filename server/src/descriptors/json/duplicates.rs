//! Refuses JSON that says something twice: which of the two is meant is not known, and readers differ in which they take.

use std::collections::HashSet;
use std::fmt;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::below;
use crate::descriptors::Misfit;

/// Finds a key that is there twice in one object, or a field under both of its names. Text that is not JSON is for the
/// reader after this to refuse.
pub(super) fn refuse(descriptor: &MessageDescriptor, json: &str) -> Result<(), Misfit> {
    let mut found = None;
    let mut reader = serde_json::Deserializer::from_str(json);
    let shape = Shape::of(descriptor.clone());
    let read = Unique { shape, path: String::new(), found: &mut found }.deserialize(&mut reader);
    match (read, found) {
        (Err(_), Some(misfit)) => Err(misfit),
        _ => Ok(()),
    }
}

/// What a JSON value stands for, as far as its keys are concerned.
#[derive(Clone)]
enum Shape {
    Message(MessageDescriptor),
    /// An object whose keys are no fields.
    Map(Box<Shape>),
    Other,
}

impl Shape {
    fn of(descriptor: MessageDescriptor) -> Self {
        // The value types of google.protobuf have a JSON form of their own.
        if descriptor.package_name() == "google.protobuf" { Self::Other } else { Self::Message(descriptor) }
    }

    fn of_field(field: &FieldDescriptor) -> Self {
        match field.kind() {
            Kind::Message(entry) if field.is_map() => match entry.map_entry_value_field().kind() {
                Kind::Message(value) => Self::Map(Box::new(Self::of(value))),
                _ => Self::Other,
            },
            Kind::Message(message) => Self::of(message),
            _ => Self::Other,
        }
    }

    /// What the key is told apart by, and what stands below it.
    fn member(&self, key: &str) -> (String, Self) {
        match self {
            Self::Message(descriptor) => {
                let field = descriptor.get_field_by_json_name(key).or_else(|| descriptor.get_field_by_name(key));
                field.map_or((key.to_owned(), Self::Other), |field| (field.name().to_owned(), Self::of_field(&field)))
            }
            Self::Map(value) => (key.to_owned(), (**value).clone()),
            Self::Other => (key.to_owned(), Self::Other),
        }
    }
}

struct Unique<'f> {
    shape: Shape,
    path: String,
    found: &'f mut Option<Misfit>,
}

impl<'de> DeserializeSeed<'de> for Unique<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            let path = below(&self.path, &key);
            let (name, shape) = self.shape.member(&key);
            if !seen.insert(name) {
                *self.found = Some(Misfit { path, reason: String::from("it is there twice; expected it once") });
                return Err(A::Error::custom("twice"));
            }
            map.next_value_seed(Unique { shape, path, found: &mut *self.found })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut at = 0;
        loop {
            let path = format!("{}[{at}]", self.path);
            let item = Unique { shape: self.shape.clone(), path, found: &mut *self.found };
            if items.next_element_seed(item)?.is_none() {
                return Ok(());
            }
            at += 1;
        }
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptors::message;

    fn refused(name: &str, json: &str) -> Option<String> {
        refuse(&message(name).unwrap(), json).err().map(|misfit| misfit.path)
    }

    #[test]
    fn a_key_or_a_field_that_is_there_twice_is_refused_by_its_path() {
        let user = "acme.users.v1.GetUserResponse";
        assert_eq!(refused(user, r#"{"user": {"userId": "a", "name": "b"}}"#), None);
        assert_eq!(refused(user, r#"{"user": {"name": "a", "name": "b"}}"#), Some(String::from("user.name")));
        assert_eq!(refused(user, r#"{"user": {"userId": "a", "user_id": "b"}}"#), Some(String::from("user.user_id")));
        assert_eq!(refused(user, r#"{"user": {"na\u006de": "a", "name": "b"}}"#), Some(String::from("user.name")));
        let status = "google.rpc.Status";
        let json = r#"{"details": [{}, {"@type": "x", "a": {"b": 1, "b": 2}}]}"#;
        assert_eq!(refused(status, json), Some(String::from("details[1].a.b")));
        assert_eq!(refused(status, "{\"code\": "), None);
        assert_eq!(refused(status, &"[".repeat(100_000)), None);
    }
}
