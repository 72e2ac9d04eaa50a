//! Rules of numbers, times, enums, lists and the like, as tests of a value.

use std::collections::HashSet;
use std::fmt::Display;
use std::time::SystemTime;

use prost_reflect::{DynamicMessage, EnumDescriptor, Kind, Value};

use crate::check::Test;
use crate::place::Place;

/// Nanoseconds of a second.
const SECOND: i128 = 1_000_000_000;

/// The rules that fit values of this kind, as `FieldRules` names them. A wrapper has those of what it wraps.
pub(crate) fn fitting(kind: &Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Double => "double",
        Kind::Float => "float",
        Kind::Int32 => "int32",
        Kind::Int64 => "int64",
        Kind::Uint32 => "uint32",
        Kind::Uint64 => "uint64",
        Kind::Sint32 => "sint32",
        Kind::Sint64 => "sint64",
        Kind::Fixed32 => "fixed32",
        Kind::Fixed64 => "fixed64",
        Kind::Sfixed32 => "sfixed32",
        Kind::Sfixed64 => "sfixed64",
        Kind::Bool => "bool",
        Kind::String => "string",
        Kind::Bytes => "bytes",
        Kind::Enum(_) => "enum",
        Kind::Message(message) => match message.full_name() {
            "google.protobuf.Any" => "any",
            "google.protobuf.Duration" => "duration",
            "google.protobuf.FieldMask" => "field_mask",
            "google.protobuf.Timestamp" => "timestamp",
            _ => fitting(&wrapped(kind)?)?,
        },
    })
}

/// The kind of what a wrapper, such as `google.protobuf.StringValue`, wraps.
pub(crate) fn wrapped(kind: &Kind) -> Option<Kind> {
    let message = kind.as_message()?;
    let name = message.full_name().strip_prefix("google.protobuf.")?.strip_suffix("Value")?;
    let known = ["Bool", "Bytes", "Double", "Float", "Int32", "Int64", "String", "UInt32", "UInt64"];
    known.contains(&name).then(|| message.get_field_by_name("value").map(|field| field.kind()))?
}

/// The tests of a value that is neither text nor bytes.
pub(crate) fn tests(rules: &DynamicMessage, kind: &Kind, place: &mut Place<'_>) -> Vec<Test> {
    match kind {
        Kind::Double | Kind::Float => numbers(rules, decimal, |number| number.to_string(), place),
        Kind::Enum(of) => of_enum(rules, of, place),
        Kind::Message(message) => match message.full_name() {
            "google.protobuf.Any" => of_any(rules, place),
            "google.protobuf.FieldMask" => of_mask(rules, place),
            // A time is compared as its nanoseconds.
            "google.protobuf.Duration" => numbers(rules, nanos, |nanos| format!("{}s", seconds(nanos)), place),
            _ => numbers(rules, nanos, |nanos| format!("{}s after 1970", seconds(nanos)), place),
        },
        Kind::Bool => equal(rules, place),
        _ => numbers(rules, whole, |number| number.to_string(), place),
    }
}

fn whole(value: &Value) -> Option<i128> {
    Some(match value {
        Value::I32(value) | Value::EnumNumber(value) => (*value).into(),
        Value::I64(value) => (*value).into(),
        Value::U32(value) => (*value).into(),
        Value::U64(value) => (*value).into(),
        _ => return None,
    })
}

fn decimal(value: &Value) -> Option<f64> {
    match value {
        Value::F32(value) => Some((*value).into()),
        Value::F64(value) => Some(*value),
        _ => None,
    }
}

fn nanos(value: &Value) -> Option<i128> {
    let message = value.as_message()?;
    let seconds = message.get_field_by_name("seconds")?.as_i64()?;
    let nanos = message.get_field_by_name("nanos")?.as_i32()?;
    Some(i128::from(seconds) * SECOND + i128::from(nanos))
}

fn seconds(nanos: i128) -> String {
    let (whole, rest) = (nanos / SECOND, (nanos % SECOND).abs());
    if rest == 0 { whole.to_string() } else { format!("{whole}.{rest:09}") }
}

fn since_1970(now: SystemTime) -> i128 {
    let nanos = |span: std::time::Duration| i128::try_from(span.as_nanos()).unwrap_or(i128::MAX);
    match now.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => nanos(after),
        Err(before) => -nanos(before.duration()),
    }
}

/// Tests a value, if it can be read as what the rule is about.
fn test<T>(read: fn(&Value) -> Option<T>, holds: impl Fn(T) -> bool + Send + Sync + 'static, expected: String) -> Test
where
    T: 'static,
{
    Box::new(move |value, _| match read(value).is_none_or(&holds) {
        true => Ok(()),
        false => Err(format!("expected {expected}")),
    })
}

/// The items of a list that a rule states.
fn listed<T>(value: &Value, read: fn(&Value) -> Option<T>) -> Vec<T> {
    value.as_list().unwrap_or_default().iter().filter_map(read).collect()
}

pub(crate) fn joined(items: impl IntoIterator<Item = impl Display>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

/// A bound, if there is one, and whether it is allowed itself.
type Bound<T> = Option<(T, bool)>;

/// What can be compared and counted.
fn numbers<T: Copy + PartialOrd + Send + Sync + 'static>(
    rules: &DynamicMessage,
    read: fn(&Value) -> Option<T>,
    show: fn(T) -> String,
    place: &mut Place<'_>,
) -> Vec<Test> {
    let mut tests: Vec<Test> = Vec::new();
    let (mut low, mut high): (Bound<T>, Bound<T>) = (None, None);
    for (field, value) in rules.fields() {
        let given = read(value);
        match (field.name(), given) {
            ("const", Some(only)) => tests.push(test(read, move |value| value == only, show(only))),
            ("lt", Some(bound)) => high = Some((bound, false)),
            ("lte", Some(bound)) => high = Some((bound, true)),
            ("gt", Some(bound)) => low = Some((bound, false)),
            ("gte", Some(bound)) => low = Some((bound, true)),
            ("in", _) => {
                let items = listed(value, read);
                let expected = format!("one of {}", joined(items.iter().map(|item| show(*item))));
                tests.push(test(read, move |value| items.contains(&value), expected));
            }
            ("not_in", _) => {
                let items = listed(value, read);
                let expected = format!("none of {}", joined(items.iter().map(|item| show(*item))));
                tests.push(test(read, move |value| !items.contains(&value), expected));
            }
            ("finite", _) if value.as_bool() == Some(true) => {
                tests.push(test(decimal, f64::is_finite, "a finite number".to_owned()));
            }
            ("lt_now", _) if value.as_bool() == Some(true) => {
                tests.push(against_now(|value, now| value < now, "a time in the past".to_owned()));
            }
            ("gt_now", _) if value.as_bool() == Some(true) => {
                tests.push(against_now(|value, now| value > now, "a time in the future".to_owned()));
            }
            ("within", _) => match nanos(value) {
                Some(span) => tests.push(against_now(
                    move |value, now| (value - now).abs() <= span,
                    format!("a time within {}s of now", seconds(span)),
                )),
                None => place.unchecked("the rule `within` has no span"),
            },
            ("example" | "finite" | "lt_now" | "gt_now", _) => {}
            (name, _) => place.unchecked(format!("the rule `{name}` is not known; expected a standard rule")),
        }
    }
    tests.extend(range(low, high, read, show));
    tests
}

/// A value between two bounds; outside of them, if the upper bound is the smaller one.
fn range<T: Copy + PartialOrd + Send + Sync + 'static>(
    low: Bound<T>,
    high: Bound<T>,
    read: fn(&Value) -> Option<T>,
    show: fn(T) -> String,
) -> Option<Test> {
    let above = move |value: T| low.is_none_or(|(bound, itself)| value > bound || (itself && value == bound));
    let below = move |value: T| high.is_none_or(|(bound, itself)| value < bound || (itself && value == bound));
    let say_low =
        low.map(|(bound, itself)| format!("{} {}", if itself { "at least" } else { "more than" }, show(bound)));
    let say_high =
        high.map(|(bound, itself)| format!("{} {}", if itself { "at most" } else { "less than" }, show(bound)));
    Some(match (low, high) {
        (None, None) => return None,
        (Some((from, _)), Some((to, _))) if to < from => {
            let expected = format!("{} or {}", say_low?, say_high?);
            test(read, move |value| above(value) || below(value), expected)
        }
        _ => {
            let expected = [say_low, say_high].into_iter().flatten().collect::<Vec<_>>().join(" and ");
            test(read, move |value| above(value) && below(value), expected)
        }
    })
}

fn against_now(holds: impl Fn(i128, i128) -> bool + Send + Sync + 'static, expected: String) -> Test {
    Box::new(move |value, now| match nanos(value) {
        Some(value) if !holds(value, since_1970(now)) => Err(format!("expected {expected}")),
        _ => Ok(()),
    })
}

fn equal(rules: &DynamicMessage, place: &mut Place<'_>) -> Vec<Test> {
    let mut tests: Vec<Test> = Vec::new();
    for (field, value) in rules.fields() {
        match (field.name(), value.as_bool()) {
            ("const", Some(only)) => tests.push(test(Value::as_bool, move |value| value == only, only.to_string())),
            ("example", _) => {}
            (name, _) => place.unchecked(format!("the rule `{name}` is not known; expected a standard rule")),
        }
    }
    tests
}

fn of_enum(rules: &DynamicMessage, of: &EnumDescriptor, place: &mut Place<'_>) -> Vec<Test> {
    let mut tests: Vec<Test> = Vec::new();
    let mut rest = rules.clone();
    if rest.take_field_by_name("defined_only").and_then(|value| value.as_bool()) == Some(true) {
        let (known, name) = (of.clone(), of.full_name().to_owned());
        let holds = move |number: i128| i32::try_from(number).is_ok_and(|number| known.get_value(number).is_some());
        tests.push(test(whole, holds, format!("a value of {name}")));
    }
    tests.extend(numbers(&rest, whole, |number| number.to_string(), place));
    tests
}

fn text_of(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn of_any(rules: &DynamicMessage, place: &mut Place<'_>) -> Vec<Test> {
    let type_url = |value: &Value| text_of(&*value.as_message()?.get_field_by_name("type_url")?);
    let mut tests: Vec<Test> = Vec::new();
    for (field, value) in rules.fields() {
        let urls = listed(value, text_of);
        let all = joined(&urls);
        match field.name() {
            "in" => tests.push(test(type_url, move |url| urls.contains(&url), format!("one of {all}"))),
            "not_in" => tests.push(test(type_url, move |url| !urls.contains(&url), format!("none of {all}"))),
            name => place.unchecked(format!("the rule `{name}` is not known; expected a standard rule")),
        }
    }
    tests
}

fn of_mask(rules: &DynamicMessage, place: &mut Place<'_>) -> Vec<Test> {
    let paths_of = |value: &Value| Some(listed(&*value.as_message()?.get_field_by_name("paths")?, text_of));
    let covers = |known: &[String], path: &str| {
        known
            .iter()
            .any(|of| path.strip_prefix(of.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
    };
    let mut tests: Vec<Test> = Vec::new();
    for (field, value) in rules.fields() {
        let known = listed(value, text_of);
        let all = joined(&known);
        match field.name() {
            "const" => {
                let only = paths_of(value).unwrap_or_default();
                let expected = format!("the paths {}", joined(&only));
                tests.push(test(paths_of, move |paths| paths == only, expected));
            }
            "in" => tests.push(test(
                paths_of,
                move |paths| paths.iter().all(|path| covers(&known, path)),
                format!("only paths in {all}"),
            )),
            "not_in" => tests.push(test(
                paths_of,
                move |paths| !paths.iter().any(|path| covers(&known, path)),
                format!("no path in {all}"),
            )),
            "example" => {}
            name => place.unchecked(format!("the rule `{name}` is not known; expected a standard rule")),
        }
    }
    tests
}

/// Rules of a list or a map as a whole.
pub(crate) fn sizes(rules: &DynamicMessage, items: &Kind, place: &mut Place<'_>) -> Vec<Test> {
    let mut tests: Vec<Test> = Vec::new();
    for (field, value) in rules.fields() {
        match (field.name(), value.as_u64()) {
            ("min_items" | "min_pairs", Some(least)) => {
                tests.push(test(length, move |length| length >= least, format!("at least {least} items")));
            }
            ("max_items" | "max_pairs", Some(most)) => {
                tests.push(test(length, move |length| length <= most, format!("at most {most} items")));
            }
            ("unique", _) if value.as_bool() != Some(true) => {}
            ("unique", _) if items.as_message().is_none() => tests.push(Box::new(|value, _| {
                let mut seen = HashSet::new();
                match value.as_list().is_none_or(|items| items.iter().all(|item| is_new(item, &mut seen))) {
                    true => Ok(()),
                    false => Err("an item is there twice; expected each only once".to_owned()),
                }
            })),
            ("unique", _) => place.unchecked("the rule `unique` does not fit messages; expected scalars or enums"),
            ("items" | "keys" | "values", _) => {}
            (name, _) => place.unchecked(format!("the rule `{name}` is not known; expected a standard rule")),
        }
    }
    tests
}

fn length(value: &Value) -> Option<u64> {
    match value {
        Value::List(items) => u64::try_from(items.len()).ok(),
        Value::Map(entries) => u64::try_from(entries.len()).ok(),
        _ => None,
    }
}

/// Whether no item before it equals this one. What is not a number equals nothing.
fn is_new(item: &Value, seen: &mut HashSet<Vec<u8>>) -> bool {
    let key = match item {
        Value::String(text) => text.as_bytes().to_vec(),
        Value::Bytes(bytes) => bytes.to_vec(),
        Value::Bool(value) => vec![u8::from(*value)],
        _ => match (whole(item), decimal(item)) {
            (Some(number), _) => number.to_le_bytes().to_vec(),
            (None, Some(number)) if !number.is_nan() => (number + 0.0).to_le_bytes().to_vec(),
            _ => return true,
        },
    };
    seen.insert(key)
}
