//! Walks over a message and applies the checks of its fields.

use std::time::SystemTime;

use prost_reflect::{DynamicMessage, FieldDescriptor, MapKey, OneofDescriptor, Value};

use crate::{Rules, Violation};

/// Most violations that are noted of one message.
const MOST: usize = 20;

/// A rule of one value: what is wrong with a value that breaks it.
pub(crate) type Test = Box<dyn Fn(&Value, SystemTime) -> Result<(), String> + Send + Sync>;

/// When a value is not checked at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Ignore {
    /// If its field tells apart whether it is set, and it is not.
    #[default]
    Unset,
    /// If it is the zero of its type.
    Zero,
    Always,
}

/// The rules of a field, or of the items, keys or values in it.
#[derive(Default)]
pub(crate) struct Checks {
    pub(crate) ignore: Ignore,
    pub(crate) is_required: bool,
    /// Whether the contract marks the field `debug_redact`: keys in it are not shown.
    pub(crate) is_redacted: bool,
    pub(crate) tests: Vec<Test>,
    /// Of the items of a list, or of the values of a map.
    pub(crate) items: Option<Box<Checks>>,
    /// Of the keys of a map.
    pub(crate) keys: Option<Box<Checks>>,
    /// The message that the value is, by its full name, if messages of this type can break rules.
    pub(crate) message: Option<String>,
}

/// The rules of a message.
#[derive(Default)]
pub(crate) struct MessageChecks {
    pub(crate) fields: Vec<(FieldDescriptor, Checks)>,
    /// One field of each must be set.
    pub(crate) oneofs: Vec<OneofDescriptor>,
    pub(crate) choices: Vec<Choice>,
}

/// Fields of which at most one may be set.
pub(crate) struct Choice {
    pub(crate) fields: Vec<FieldDescriptor>,
    pub(crate) is_required: bool,
}

/// What was found in one message.
pub(crate) struct Found {
    now: SystemTime,
    pub(crate) violations: Vec<Violation>,
}

impl Found {
    pub(crate) fn new(now: SystemTime) -> Self {
        Self { now, violations: Vec::new() }
    }

    pub(crate) fn note(&mut self, field: &str, description: impl Into<String>) {
        if !self.is_full() {
            self.violations.push(Violation { field: field.to_owned(), description: description.into() });
        }
    }

    fn is_full(&self) -> bool {
        self.violations.len() >= MOST
    }
}

impl Rules {
    pub(crate) fn message(&self, checks: &MessageChecks, message: &DynamicMessage, path: &str, found: &mut Found) {
        for (field, checks) in &checks.fields {
            if found.is_full() {
                return;
            }
            let path = below(path, field.name());
            if !message.has_field(field) {
                if checks.is_required {
                    found.note(&path, "not set; expected a value");
                    continue;
                }
                if field.supports_presence() {
                    continue;
                }
            }
            self.value(checks, &message.get_field(field), &path, found);
        }
        for oneof in &checks.oneofs {
            if !oneof.fields().any(|field| message.has_field(&field)) {
                found.note(&below(path, oneof.name()), format!("expected one of {}", names(oneof.fields())));
            }
        }
        for choice in &checks.choices {
            let set = choice.fields.iter().filter(|field| message.has_field(field)).count();
            if set > 1 || (set == 0 && choice.is_required) {
                let expected = if choice.is_required { "exactly" } else { "at most" };
                let names = names(choice.fields.iter().cloned());
                found.note(path, format!("{set} of {names} are set; expected {expected} one"));
            }
        }
    }

    fn value(&self, checks: &Checks, value: &Value, path: &str, found: &mut Found) {
        if checks.ignore == Ignore::Always || (checks.ignore == Ignore::Zero && is_zero(value)) {
            return;
        }
        for test in &checks.tests {
            if let Err(description) = test(value, found.now) {
                found.note(path, description);
            }
        }
        match value {
            Value::Message(message) => {
                if let Some(known) = checks.message.as_ref().and_then(|name| self.messages.get(name)) {
                    self.message(&known.checks, message, path, found);
                }
            }
            Value::List(items) => {
                let Some(of_items) = &checks.items else { return };
                for (index, item) in items.iter().enumerate() {
                    self.value(of_items, item, &format!("{path}[{index}]"), found);
                    if found.is_full() {
                        return;
                    }
                }
            }
            Value::Map(entries) if checks.keys.is_some() || checks.items.is_some() => {
                // In one order, so that the same message has the same violations.
                let mut entries: Vec<(&MapKey, &Value)> = entries.iter().collect();
                entries.sort_by_key(|(key, _)| *key);
                for (key, value) in entries {
                    let path =
                        if checks.is_redacted { format!("{path}[*]") } else { format!("{path}[{}]", shown(key)) };
                    if let Some(of_keys) = &checks.keys {
                        self.value(of_keys, &Value::from(key.clone()), &path, found);
                    }
                    if let Some(of_values) = &checks.items {
                        self.value(of_values, value, &path, found);
                    }
                    if found.is_full() {
                        return;
                    }
                }
            }
            _ => {}
        }
    }
}

/// The zero of its type. A message has none.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Bool(value) => !value,
        Value::I32(value) | Value::EnumNumber(value) => *value == 0,
        Value::I64(value) => *value == 0,
        Value::U32(value) => *value == 0,
        Value::U64(value) => *value == 0,
        Value::F32(value) => *value == 0.0,
        Value::F64(value) => *value == 0.0,
        Value::String(value) => value.is_empty(),
        Value::Bytes(value) => value.is_empty(),
        Value::Message(_) => false,
        Value::List(items) => items.is_empty(),
        Value::Map(entries) => entries.is_empty(),
    }
}

fn shown(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => format!("{key:?}"),
    }
}

fn names(fields: impl Iterator<Item = FieldDescriptor>) -> String {
    fields.map(|field| field.name().to_owned()).collect::<Vec<_>>().join(", ")
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
