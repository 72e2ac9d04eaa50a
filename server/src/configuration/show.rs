//! Writes the effective configuration as TOML, each value with its origin, secrets masked.

use std::fmt::Write;

use config::{Config, Value, ValueKind};

use super::load::find;
use super::secrets::{MASK, may_be_secret};
use super::{Configuration, Loaded};

/// The configuration as a file that would have the same effect, apart from masked secrets.
pub fn show(loaded: &Loaded) -> String {
    let mut text = String::new();
    let effective = Config::try_from::<Configuration>(&loaded.configuration);
    if let (Ok(mut effective), Ok(all)) = (effective, serde_json::to_value(&loaded.configuration)) {
        add_empty_lists(&mut effective.cache, &all);
        table(&mut text, &effective.cache, &mut Vec::new(), &loaded.merged);
        table(&mut text, &loaded.own.0, &mut vec![String::from("own")], &loaded.merged);
    }
    text
}

/// Adds the lists that have nothing in them, which the library leaves out.
fn add_empty_lists(value: &mut Value, all: &serde_json::Value) {
    let (ValueKind::Table(entries), serde_json::Value::Object(all)) = (&mut value.kind, all) else { return };
    for (key, all) in all {
        match (entries.get_mut(key), all) {
            (Some(value), all) => add_empty_lists(value, all),
            (None, serde_json::Value::Array(items)) if items.is_empty() => {
                entries.insert(key.clone(), Value::new(None, ValueKind::Array(Vec::new())));
            }
            (None, _) => {}
        }
    }
}

fn table(text: &mut String, value: &Value, path: &mut Vec<String>, merged: &Value) {
    let ValueKind::Table(entries) = &value.kind else { return };
    let mut entries: Vec<_> = entries.iter().filter(|(_, value)| value.kind != ValueKind::Nil).collect();
    entries.sort_by(|a, b| a.0.cmp(b.0));
    let (tables, leaves): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|(_, value)| matches!(value.kind, ValueKind::Table(_)));

    if !leaves.is_empty() {
        if !path.is_empty() {
            let gap = if text.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{gap}[{}]", path.join("."));
        }
        for (key, value) in leaves {
            let origin = find(merged, path.iter().map(String::as_str).chain([key.as_str()])).and_then(Value::origin);
            let _ = writeln!(text, "{key} = {}  # {}", leaf(key, value), origin.unwrap_or("default"));
        }
    }
    for (key, value) in tables {
        path.push(key.clone());
        table(text, value, path, merged);
        path.pop();
    }
}

fn leaf(key: &str, value: &Value) -> String {
    let secret = may_be_secret(key);
    match &value.kind {
        ValueKind::String(text) if secret && !text.is_empty() => quoted(MASK),
        ValueKind::String(text) => quoted(text),
        ValueKind::Array(items) => {
            format!("[{}]", items.iter().map(|item| leaf("", item)).collect::<Vec<_>>().join(", "))
        }
        ValueKind::Table(entries) => {
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            let entries: Vec<_> = entries.iter().map(|(key, value)| format!("{key} = {}", leaf(key, value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        other => other.to_string(),
    }
}

/// A basic string of TOML, whose escapes are those of JSON; JSON leaves DEL alone, TOML does not.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_under_a_secret_name_is_masked() {
        let value = Value::new(None, "hunter2");
        assert_eq!(leaf("client_secret", &value), quoted(MASK));
        assert_eq!(leaf("password", &value), quoted(MASK));
        for shown in ["listen", "token_file"] {
            assert_eq!(leaf(shown, &value), "\"hunter2\"");
        }
        assert_eq!(leaf("allow_insecure_token", &Value::new(None, true)), "true");
        assert_eq!(leaf("token", &Value::new(None, "")), "\"\"");
    }

    #[test]
    fn a_list_of_tables_is_written_as_toml_reads_it() {
        let grant = [("who", Value::new(None, "token:ci")), ("workflows", Value::new(None, vec!["billing."]))];
        let grant: config::Map<String, Value> = grant.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let grants = Value::new(None, vec![Value::new(None, grant)]);
        let written = leaf("grants", &grants);
        assert_eq!(written, "[{ who = \"token:ci\", workflows = [\"billing.\"] }]");
        let read = config::Format::parse(&config::FileFormat::Toml, None, &format!("grants = {written}")).unwrap();
        assert_eq!(leaf("grants", &read["grants"]), written);
    }
}
