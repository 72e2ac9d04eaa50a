//! Reads the rules of messages from the options of their descriptors.

use std::collections::HashMap;

use prost_reflect::{
    DescriptorPool, DynamicMessage, ExtensionDescriptor, FieldDescriptor, Kind, MessageDescriptor, Value,
};

use crate::check::{Checks, Choice, Ignore, MessageChecks};
use crate::place::Place;
use crate::{Unchecked, text, value};

/// The number of `IGNORE_IF_ZERO_VALUE`.
const IF_ZERO: i32 = 1;
/// The number of `IGNORE_ALWAYS`.
const ALWAYS: i32 = 3;

/// The checks of every message, and the rules that are not checked.
pub(crate) fn read(pool: &DescriptorPool) -> (HashMap<String, MessageChecks>, Vec<Unchecked>) {
    let extension = |name: &str| pool.get_extension_by_name(&format!("buf.validate.{name}"));
    let (Some(message), Some(oneof), Some(field)) = (extension("message"), extension("oneof"), extension("field"))
    else {
        return (HashMap::new(), Vec::new());
    };
    let mut reader = Reader { message, oneof, field, unchecked: Vec::new() };
    let own = |message: &MessageDescriptor| matches!(message.package_name(), "google.protobuf" | "buf.validate");
    let messages = pool.all_messages().filter(|message| !message.is_map_entry() && !own(message));
    let checks = messages.map(|message| (message.full_name().to_owned(), reader.read(&message))).collect();
    (checks, reader.unchecked)
}

struct Reader {
    message: ExtensionDescriptor,
    oneof: ExtensionDescriptor,
    field: ExtensionDescriptor,
    unchecked: Vec<Unchecked>,
}

/// What the rules are about.
enum Subject {
    One(Kind),
    List(Kind),
    Map(Kind, Kind),
}

impl Subject {
    fn of(field: &FieldDescriptor) -> Self {
        match field.kind() {
            Kind::Message(entry) if field.is_map() => {
                Self::Map(entry.map_entry_key_field().kind(), entry.map_entry_value_field().kind())
            }
            kind if field.is_list() => Self::List(kind),
            kind => Self::One(kind),
        }
    }

    /// The rules that fit, as `FieldRules` names them.
    fn fitting(&self) -> Option<&'static str> {
        match self {
            Self::One(kind) => value::fitting(kind),
            Self::List(_) => Some("repeated"),
            Self::Map(..) => Some("map"),
        }
    }

    /// The checks that the contents have by themselves: those of messages in them.
    fn contents(&self) -> Checks {
        let of = |kind: &Kind| Checks { message: message_name(kind), ..Checks::default() };
        match self {
            Self::One(kind) => of(kind),
            Self::List(kind) | Self::Map(_, kind) => Checks { items: Some(Box::new(of(kind))), ..Checks::default() },
        }
    }
}

fn message_name(kind: &Kind) -> Option<String> {
    kind.as_message().map(|message| message.full_name().to_owned())
}

impl Reader {
    fn read(&mut self, message: &MessageDescriptor) -> MessageChecks {
        let file = message.parent_file().name().to_owned();
        let mut checks = MessageChecks::default();
        let options = message.options();
        if let Some(rules) = extension_of(&options, &self.message) {
            let name = message.full_name().to_owned();
            let mut place = Place { file: file.clone(), name, unchecked: &mut self.unchecked };
            checks.choices = choices(message, &rules, &mut place);
        }
        for oneof in message.oneofs().filter(|oneof| !oneof.is_synthetic()) {
            let Some(rules) = extension_of(&oneof.options(), &self.oneof) else { continue };
            let name = oneof.full_name().to_owned();
            Place { file: file.clone(), name, unchecked: &mut self.unchecked }.only_known(&rules);
            if is_true(&rules, "required") {
                checks.oneofs.push(oneof);
            }
        }
        for field in message.fields() {
            let subject = Subject::of(&field);
            let name = field.full_name().to_owned();
            let mut of_field = subject.contents();
            let options = field.options();
            let is_redacted = is_true(&options, "debug_redact");
            if let Some(rules) = extension_of(&options, &self.field) {
                let mut place = Place { file: file.clone(), name, unchecked: &mut self.unchecked };
                of_field = checks_of(&rules, &subject, &mut place);
            }
            if of_field.ignore == Ignore::Always {
                continue;
            }
            // A field that stands beside others of which one may be set is left alone where it is zero.
            if of_field.ignore == Ignore::Unset && checks.choices.iter().any(|choice| choice.fields.contains(&field)) {
                of_field.ignore = Ignore::Zero;
            }
            of_field.is_redacted = is_redacted;
            checks.fields.push((field, of_field));
        }
        checks
    }
}

fn extension_of(options: &DynamicMessage, extension: &ExtensionDescriptor) -> Option<DynamicMessage> {
    if !options.has_extension(extension) {
        return None;
    }
    options.get_extension(extension).as_message().cloned()
}

fn is_true(message: &DynamicMessage, field: &str) -> bool {
    message.get_field_by_name(field).and_then(|value| value.as_bool()).unwrap_or(false)
}

fn choices(message: &MessageDescriptor, rules: &DynamicMessage, place: &mut Place<'_>) -> Vec<Choice> {
    place.only_known(rules);
    let mut choices = Vec::new();
    for (field, value) in rules.fields() {
        if field.name() != "oneof" {
            place.expression();
            continue;
        }
        for choice in value.as_list().unwrap_or_default().iter().filter_map(Value::as_message) {
            place.only_known(choice);
            let names = choice.get_field_by_name("fields");
            let names = names.as_ref().and_then(|names| names.as_list()).unwrap_or_default();
            let mut fields: Vec<FieldDescriptor> = Vec::new();
            for name in names.iter().filter_map(Value::as_str) {
                match message.get_field_by_name(name) {
                    Some(field) if !fields.contains(&field) => fields.push(field),
                    _ => place.unchecked(format!("oneof: {name} is no field, or is named twice")),
                }
            }
            choices.push(Choice { fields, is_required: is_true(choice, "required") });
        }
    }
    choices
}

/// The checks of what `FieldRules` say of a field, or of the items, keys or values in it.
fn checks_of(rules: &DynamicMessage, subject: &Subject, place: &mut Place<'_>) -> Checks {
    let mut checks = subject.contents();
    place.only_known(rules);
    for (field, value) in rules.fields() {
        match (field.name(), value) {
            ("required", value) => checks.is_required = value.as_bool().unwrap_or_default(),
            ("ignore", Value::EnumNumber(IF_ZERO)) => checks.ignore = Ignore::Zero,
            ("ignore", Value::EnumNumber(ALWAYS)) => return Checks { ignore: Ignore::Always, ..Checks::default() },
            ("ignore", _) => {}
            ("cel" | "cel_expression", _) => place.expression(),
            (name, Value::Message(typed)) if subject.fitting() == Some(name) => {
                place.only_known(typed);
                of_type(typed, subject, &mut checks, place);
            }
            (name, _) => {
                let expected = subject.fitting().map_or_else(|| "none".to_owned(), |fitting| format!("`{fitting}`"));
                place.unchecked(format!("rules of `{name}` do not fit the type of the field; expected {expected}"));
            }
        }
    }
    checks
}

fn of_type(rules: &DynamicMessage, subject: &Subject, checks: &mut Checks, place: &mut Place<'_>) {
    match subject {
        Subject::One(kind) => checks.tests = text::tests(rules, kind, place),
        Subject::List(kind) => {
            checks.tests = value::sizes(rules, kind, place);
            if let Some(items) = inner(rules, "items") {
                checks.items = Some(Box::new(checks_of(&items, &Subject::One(kind.clone()), place)));
            }
        }
        Subject::Map(key, of_values) => {
            checks.tests = value::sizes(rules, of_values, place);
            if let Some(keys) = inner(rules, "keys") {
                checks.keys = Some(Box::new(checks_of(&keys, &Subject::One(key.clone()), place)));
            }
            if let Some(values) = inner(rules, "values") {
                checks.items = Some(Box::new(checks_of(&values, &Subject::One(of_values.clone()), place)));
            }
        }
    }
}

fn inner(rules: &DynamicMessage, name: &str) -> Option<DynamicMessage> {
    rules.has_field_by_name(name).then(|| rules.get_field_by_name(name)?.as_message().cloned())?
}
