//! Rules of texts and bytes, as tests of a value.

use std::sync::Arc;

use prost_reflect::{DynamicMessage, Kind, Value};
use regex::{Regex, bytes};

use crate::check::Test;
use crate::place::Place;
use crate::{formats, value};

/// The tests of a value. Those of a wrapper are those of what it wraps.
pub(crate) fn tests(rules: &DynamicMessage, kind: &Kind, place: &mut Place<'_>) -> Vec<Test> {
    if let Some(inner) = value::wrapped(kind) {
        let of_inner = tests(rules, &inner, place).into_iter().map(|test| -> Test {
            Box::new(move |value, now| match value.as_message().and_then(|outer| outer.get_field_by_name("value")) {
                Some(inner) => test(&inner, now),
                None => Ok(()),
            })
        });
        return of_inner.collect();
    }
    match kind {
        Kind::String => texts(rules, place),
        Kind::Bytes => of_bytes(rules, place),
        _ => value::tests(rules, kind, place),
    }
}

fn text(holds: impl Fn(&str) -> bool + Send + Sync + 'static, expected: String) -> Test {
    Box::new(move |value, _| match value.as_str() {
        Some(text) if !holds(text) => Err(format!("expected {expected}")),
        _ => Ok(()),
    })
}

fn length(text: &str) -> u64 {
    u64::try_from(text.chars().count()).unwrap_or(u64::MAX)
}

fn size(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// A length that is counted, and tells how many it has.
fn counted(count: fn(&Value) -> Option<u64>, least: u64, most: u64, what: &str) -> Test {
    let expected = match (least, most) {
        (least, u64::MAX) => format!("at least {least} {what}"),
        (0, most) => format!("at most {most} {what}"),
        (least, _) => format!("{least} {what}"),
    };
    Box::new(move |value, _| match count(value) {
        Some(count) if !(least..=most).contains(&count) => Err(format!("has {count}; expected {expected}")),
        _ => Ok(()),
    })
}

fn texts(rules: &DynamicMessage, place: &mut Place<'_>) -> Vec<Test> {
    let characters: fn(&Value) -> Option<u64> = |value| value.as_str().map(length);
    let in_bytes: fn(&Value) -> Option<u64> = |value| value.as_str().map(|text| size(text.as_bytes()));
    let is_strict = rules.get_field_by_name("strict").and_then(|value| value.as_bool());
    let is_strict = !rules.has_field_by_name("strict") || is_strict == Some(true);
    let mut tests: Vec<Test> = Vec::new();
    for (field, value) in rules.fields() {
        let given = value.as_str().unwrap_or_default().to_owned();
        let number = value.as_u64().unwrap_or_default();
        let test = match field.name() {
            "len" => counted(characters, number, number, "characters"),
            "min_len" => counted(characters, number, u64::MAX, "characters"),
            "max_len" => counted(characters, 0, number, "characters"),
            "len_bytes" => counted(in_bytes, number, number, "bytes"),
            "min_bytes" => counted(in_bytes, number, u64::MAX, "bytes"),
            "max_bytes" => counted(in_bytes, 0, number, "bytes"),
            "const" => {
                let expected = format!("{given:?}");
                text(move |text| text == given, expected)
            }
            "prefix" => {
                let expected = format!("a text that begins with {given:?}");
                text(move |text| text.starts_with(&given), expected)
            }
            "suffix" => {
                let expected = format!("a text that ends with {given:?}");
                text(move |text| text.ends_with(&given), expected)
            }
            "contains" => {
                let expected = format!("a text that contains {given:?}");
                text(move |text| text.contains(&given), expected)
            }
            "not_contains" => {
                let expected = format!("a text that does not contain {given:?}");
                text(move |text| !text.contains(&given), expected)
            }
            "in" => {
                let known = list(value);
                let expected = format!("one of {}", value::joined(&known));
                text(move |text| known.iter().any(|known| known == text), expected)
            }
            "not_in" => {
                let known = list(value);
                let expected = format!("none of {}", value::joined(&known));
                text(move |text| !known.iter().any(|known| known == text), expected)
            }
            "pattern" => match Regex::new(&given) {
                Ok(pattern) => text(move |text| pattern.is_match(text), format!("a text that matches {given}")),
                Err(error) => {
                    place.unchecked(format!("the pattern {given:?} cannot be read: {error}"));
                    continue;
                }
            },
            "well_known_regex" => match formats::header(value.as_enum_number().unwrap_or_default(), is_strict) {
                Some((holds, name)) => text(holds, name.to_owned()),
                None => continue,
            },
            "strict" | "example" => continue,
            name => match formats::named(name) {
                Some((holds, name)) if value.as_bool() == Some(true) => text(holds, name.to_owned()),
                Some(_) => continue,
                None => {
                    place.unchecked(format!("the rule `{name}` is not known; expected a standard rule"));
                    continue;
                }
            },
        };
        tests.push(test);
    }
    tests
}

fn list(value: &Value) -> Vec<String> {
    value.as_list().unwrap_or_default().iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

fn raw(holds: impl Fn(&[u8]) -> bool + Send + Sync + 'static, expected: String) -> Test {
    Box::new(move |value, _| match value.as_bytes() {
        Some(bytes) if !holds(bytes) => Err(format!("expected {expected}")),
        _ => Ok(()),
    })
}

fn of_bytes(rules: &DynamicMessage, place: &mut Place<'_>) -> Vec<Test> {
    let count: fn(&Value) -> Option<u64> = |value| value.as_bytes().map(|bytes| size(bytes));
    let mut tests: Vec<Test> = Vec::new();
    for (field, value) in rules.fields() {
        let given: Arc<[u8]> = value.as_bytes().map(|bytes| Arc::from(&bytes[..])).unwrap_or_default();
        let shown = given.escape_ascii().to_string();
        let number = value.as_u64().unwrap_or_default();
        let known: Vec<Vec<u8>> =
            value.as_list().unwrap_or_default().iter().filter_map(|item| Some(item.as_bytes()?.to_vec())).collect();
        let all = value::joined(known.iter().map(|bytes| bytes.escape_ascii()));
        let sized = |sizes: &'static [usize]| move |bytes: &[u8]| sizes.contains(&bytes.len());
        let test = match (field.name(), value.as_bool()) {
            ("len", _) => counted(count, number, number, "bytes"),
            ("min_len", _) => counted(count, number, u64::MAX, "bytes"),
            ("max_len", _) => counted(count, 0, number, "bytes"),
            ("const", _) => raw(move |bytes| *bytes == *given, format!("\"{shown}\"")),
            ("prefix", _) => raw(move |bytes| bytes.starts_with(&given), format!("bytes that begin with \"{shown}\"")),
            ("suffix", _) => raw(move |bytes| bytes.ends_with(&given), format!("bytes that end with \"{shown}\"")),
            ("contains", _) => raw(
                move |bytes| given.is_empty() || bytes.windows(given.len()).any(|window| *window == *given),
                format!("bytes that contain \"{shown}\""),
            ),
            ("in", _) => raw(move |bytes| known.iter().any(|known| known == bytes), format!("one of {all}")),
            ("not_in", _) => raw(move |bytes| !known.iter().any(|known| known == bytes), format!("none of {all}")),
            ("pattern", _) => {
                let pattern = value.as_str().unwrap_or_default().to_owned();
                match bytes::Regex::new(&pattern) {
                    Ok(read) => raw(move |bytes| read.is_match(bytes), format!("bytes that match {pattern}")),
                    Err(error) => {
                        place.unchecked(format!("the pattern {pattern:?} cannot be read: {error}"));
                        continue;
                    }
                }
            }
            ("ip", Some(true)) => raw(sized(&[4, 16]), "an IP address of 4 or 16 bytes".to_owned()),
            ("ipv4", Some(true)) => raw(sized(&[4]), "an IPv4 address of 4 bytes".to_owned()),
            ("ipv6", Some(true)) => raw(sized(&[16]), "an IPv6 address of 16 bytes".to_owned()),
            ("uuid", Some(true)) => raw(sized(&[16]), "a UUID of 16 bytes".to_owned()),
            ("example" | "ip" | "ipv4" | "ipv6" | "uuid", _) => continue,
            (name, _) => {
                place.unchecked(format!("the rule `{name}` is not known; expected a standard rule"));
                continue;
            }
        };
        tests.push(test);
    }
    tests
}
