//! Layers defaults, file, environment and flags, and reads them into one [`Configuration`], noting every mistake.

use std::ffi::OsString;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use config::{Config, ConfigError, FileFormat, Format, Source, Value, ValueKind};
use serde_path_to_error::Segment;

use super::checks::check;
use super::secrets::masked;
use super::{Configuration, Mistakes};
use crate::installed;
use crate::own::{Own, OwnMistake};
use crate::text::echo;

/// Prefix of environment variables that are configuration keys: `ORCHESTRATOR__ADMIN__LISTEN` is `admin.listen`.
const PREFIX: &str = "ORCHESTRATOR__";

/// What variables of the command line begin with; one of a key that begins so has lost an underscore.
const SHORT_PREFIX: &str = "ORCHESTRATOR_";

/// Bounds of a key: no key of ours comes near them, and what is read of a deeper one would take as much of the stack.
const LONGEST_PATH: usize = 500;
const DEEPEST_PATH: usize = 16;

/// The largest file.
const LARGEST_FILE: u64 = 1 << 20;

/// Where the layers above the defaults come from, lowest first.
#[derive(Clone, Default)]
pub struct Sources {
    /// A TOML file; it must exist.
    pub file: Option<PathBuf>,
    /// The environment; variables without our prefix are left alone.
    pub environment: Vec<(OsString, OsString)>,
    /// `section.key=value`, as given by flags.
    pub overrides: Vec<String>,
}

impl fmt::Debug for Sources {
    /// Without values: secrets may be among them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("file", &self.file).finish_non_exhaustive()
    }
}

/// A configuration without mistakes.
#[derive(Clone)]
pub struct Loaded {
    pub configuration: Configuration,
    /// Things that are allowed but probably not meant.
    pub warnings: Vec<String>,
    /// Settings of the team's own.
    pub own: Own,
    /// Where it was read, to be read again.
    pub(crate) sources: Sources,
    /// The layers on top of each other, each value with its origin.
    pub(super) merged: Value,
}

impl fmt::Debug for Loaded {
    /// Without the layers: secrets are in them as they were written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded").field("configuration", &self.configuration).finish_non_exhaustive()
    }
}

/// Loads the configuration, or tells all its mistakes.
pub fn load(sources: &Sources) -> Result<Loaded, Mistakes> {
    let mut mistakes = Mistakes::default();
    let merged = merge(sources, &mut mistakes).unwrap_or_else(|error| {
        mistakes.note("", error.to_string(), None);
        Value::new(None, ValueKind::Table(config::Map::new()))
    });
    let mut common = merged.clone();
    let own = take(&mut common, &[String::from("own")]).map(Own).unwrap_or_default();
    if let Some(Err(OwnMistake { path, reason })) = installed::app().map(|app| (app.own)(&own)) {
        let path = if path.is_empty() { String::from("own") } else { format!("own.{path}") };
        let message = masked(&path, first_sentence(&reason), find(&merged, path.split('.')));
        mistakes.note(&path, message, origin(&merged, &path));
    }
    let configuration = read(common, &mut mistakes);
    let mut warnings = check(&configuration, &mut |path: &str, message: String| {
        let message = masked(path, &message, find(&merged, path.split('.')));
        mistakes.note(path, message, origin(&merged, path));
    });
    warnings.extend(misspelt(&sources.environment, &merged));
    if mistakes.is_empty() {
        Ok(Loaded { configuration, warnings, own, sources: sources.clone(), merged })
    } else {
        Err(mistakes)
    }
}

fn merge(sources: &Sources, mistakes: &mut Mistakes) -> Result<Value, ConfigError> {
    let mut layers = Config::builder().add_source(Config::try_from(&Configuration::default())?);
    if let Some(app) = installed::app() {
        layers = layers.add_source(defaults(app.defaults, mistakes));
    }
    if let Some(path) = &sources.file {
        layers = layers.add_source(file(path, mistakes));
    }
    layers = layers.add_source(environment(&sources.environment, mistakes));
    layers = layers.add_source(flags(&sources.overrides, mistakes));
    Ok(layers.build()?.cache)
}

/// One layer: values by path.
#[derive(Clone, Debug)]
struct Layer(config::Map<String, Value>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<config::Map<String, Value>, ConfigError> {
        Ok(self.0.clone())
    }
}

/// What the program says if no other source does.
fn defaults(text: &str, mistakes: &mut Mistakes) -> Layer {
    let origin = String::from("the program");
    Layer(FileFormat::Toml.parse(Some(&origin), text).unwrap_or_else(|error| {
        mistakes.note("", place_of(&*error, text), Some(origin));
        config::Map::new()
    }))
}

fn file(path: &Path, mistakes: &mut Mistakes) -> Layer {
    let origin = path.display().to_string();
    let parsed = read_bounded(path)
        .map_err(|error| error.to_string())
        .and_then(|text| FileFormat::Toml.parse(Some(&origin), &text).map_err(|error| place_of(&*error, &text)));
    let mut values = parsed.unwrap_or_else(|error| {
        mistakes.note("", format!("{origin}: {}", error.trim_end()), None);
        config::Map::new()
    });
    // `config` reads a top-level key as a path expression, in which `x[9]` makes a list of ten.
    values.retain(|key, _| {
        let known = is_word(key);
        if !known {
            mistakes.note("", format!("unknown key {}", echo(key)), Some(origin.clone()));
        }
        known
    });
    Layer(values)
}

fn read_bounded(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(LARGEST_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST_FILE {
        return Err(std::io::Error::other(format!("more than {LARGEST_FILE} bytes; expected fewer")));
    }
    Ok(text)
}

/// Where a file stops to be TOML, and why. Not the line itself, which may have a secret in it.
fn place_of(error: &(dyn std::error::Error + 'static), text: &str) -> String {
    let Some(error) = error.downcast_ref::<toml::de::Error>() else { return String::from("it is not TOML") };
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("not TOML at line {line}, column {column}: {}", error.message())
}

/// Our variables. Values stay text: the type of the key decides what they mean.
fn environment(variables: &[(OsString, OsString)], mistakes: &mut Mistakes) -> Layer {
    let origin = String::from("the environment");
    let mut values = config::Map::new();
    for (name, value) in variables {
        let Some(key) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        let path = key.to_lowercase().replace("__", ".");
        match value.to_str() {
            _ if !is_path(&path) => {
                mistakes.note("", format!("{} names no key", echo(&format!("{PREFIX}{key}"))), Some(origin.clone()))
            }
            None => mistakes.note(&path, "the value is not UTF-8", Some(origin.clone())),
            Some(value) => {
                values.insert(path, Value::new(Some(&origin), value));
            }
        }
    }
    Layer(values)
}

/// Variables that look like keys and are none. Others can begin like ours, so they are no mistakes.
fn misspelt(variables: &[(OsString, OsString)], merged: &Value) -> Vec<String> {
    let names = variables.iter().filter_map(|(name, _)| name.to_str());
    let rests = names.filter_map(|name| Some((name, name.strip_prefix(SHORT_PREFIX)?)));
    rests
        .filter(|(name, _)| !name.starts_with(PREFIX))
        .filter_map(|(name, rest)| {
            let (section, key) = rest.split_once("__").or_else(|| rest.split_once('_'))?;
            let (section, lower) = (section.to_lowercase(), key.to_lowercase());
            let is_key = find(merged, [section.as_str(), lower.as_str()].into_iter()).is_some();
            let meant = is_key || rest.contains("__");
            let expected = format!("{PREFIX}{}__{key}", section.to_uppercase());
            meant.then(|| {
                format!("the environment has {}, which sets nothing; expected {}", echo(name), echo(&expected))
            })
        })
        .collect()
}

fn flags(given: &[String], mistakes: &mut Mistakes) -> Layer {
    let origin = String::from("a flag");
    let mut values = config::Map::new();
    for given in given {
        match given.split_once('=').filter(|(path, _)| is_path(path)) {
            Some((path, value)) => {
                values.insert(path.to_owned(), Value::new(Some(&origin), value));
            }
            // Without what stands behind the key: it may be a secret.
            None => {
                let key = given.split_once('=').map(|(key, _)| format!(" {}", echo(key))).unwrap_or_default();
                mistakes.note("", format!("--set{key} is not of the form section.key=value"), None);
            }
        }
    }
    Layer(values)
}

fn is_path(path: &str) -> bool {
    path.len() <= LONGEST_PATH && path.split('.').count() <= DEEPEST_PATH && path.split('.').all(is_word)
}

fn is_word(word: &str) -> bool {
    word.len() <= LONGEST_PATH
        && word.starts_with(|first: char| first.is_ascii_lowercase())
        && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Deserializes; what does not fit is noted, taken out, and the rest is tried again.
fn read(mut merged: Value, mistakes: &mut Mistakes) -> Configuration {
    loop {
        let error = match serde_path_to_error::deserialize::<_, Configuration>(merged.clone()) {
            Ok(configuration) => return configuration,
            Err(error) => error,
        };
        let mut path: Vec<String> = error.path().iter().map_while(key_of).collect();
        let message = error.inner().to_string();
        if let Some(unknown) = unknown_field(&merged, &path, &message) {
            path.push(unknown);
        }
        let removed = take(&mut merged, &path);
        let origin = removed.as_ref().and_then(Value::origin).map(String::from);
        let path = path.join(".");
        mistakes.note(&path, masked(&path, first_sentence(&message), removed.as_ref()), origin);
        if removed.is_none() {
            // Nothing to take out: what is left cannot be read further, and the mistakes so far are told.
            return Configuration::default();
        }
    }
}

fn key_of(segment: &Segment) -> Option<String> {
    match segment {
        Segment::Map { key } => Some(key.clone()),
        _ => None,
    }
}

/// The field that serde did not know; it reports the path of the table around it.
fn unknown_field(merged: &Value, path: &[String], message: &str) -> Option<String> {
    let ValueKind::Table(table) = &find(merged, path.iter().map(String::as_str))?.kind else { return None };
    let named = |key: &&String| message.contains(&format!("unknown field `{key}`"));
    table.keys().filter(named).max_by_key(|key| key.len()).cloned()
}

/// The message without the path that `config` appends: ours is more exact.
fn first_sentence(message: &str) -> &str {
    message.split(" for key `").next().unwrap_or(message)
}

pub(super) fn find<'a, 'k>(value: &'a Value, mut path: impl Iterator<Item = &'k str>) -> Option<&'a Value> {
    path.try_fold(value, |value, key| match &value.kind {
        ValueKind::Table(table) => table.get(key),
        _ => None,
    })
}

/// Where the value at the path came from, or the text that it is a part of.
fn origin(merged: &Value, mut path: &str) -> Option<String> {
    loop {
        if let Some(value) = find(merged, path.split('.')) {
            return value.origin().map(String::from);
        }
        (path, _) = path.split_at(path.rfind(['.', '['])?);
    }
}

fn take(value: &mut Value, path: &[String]) -> Option<Value> {
    let ValueKind::Table(table) = &mut value.kind else { return None };
    match path {
        [] => None,
        [key] => table.remove(key),
        [key, rest @ ..] => take(table.get_mut(key)?, rest),
    }
}
