//! Spells the source of an edition in the grammar of `proto2`, on the same lines.

use super::scan::{Token, tokens};

/// The statement of the edition.
#[derive(Debug)]
pub(super) struct Edition {
    pub(super) value: String,
    /// Counted from 1.
    pub(super) line: usize,
}

/// What stands around a statement.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    File,
    /// A message or an extension, whose fields have labels in `proto2`.
    Message,
    /// A oneof, whose fields have none.
    Oneof,
    /// Enums, services, methods, and values of options.
    Other,
}

/// The edition that the source states.
pub(super) fn edition(source: &str) -> Option<Edition> {
    let tokens = tokens(source);
    let [word, equals, value, ..] = tokens.as_slice() else { return None };
    let stated = word.text == "edition" && equals.text == "=" && value.is_string();
    stated.then(|| Edition {
        value: value.text.trim_matches(['"', '\'']).to_owned(),
        line: source[..word.at].matches('\n').count() + 1,
    })
}

/// The same contract in words that the parser of `proto2` knows.
pub(super) fn as_proto2(source: &str, edition: &Edition) -> String {
    let tokens = tokens(source);
    let mut written = Writer { source, at: 0, text: String::with_capacity(source.len()) };
    let mut scopes = vec![Scope::File];
    let mut begin = 0;
    while begin < tokens.len() {
        let scope = scopes.last().copied().unwrap_or(Scope::File);
        let end = end_of_statement(&tokens, begin);
        let statement = &tokens[begin..end];
        rewrite(statement, scope, edition, &mut written);
        match statement.last().map(|last| last.text) {
            Some("{") => scopes.push(inside(statement, scope)),
            Some("}") if scopes.len() > 1 => drop(scopes.pop()),
            _ => {}
        }
        begin = end;
    }
    written.finish()
}

/// A statement ends with a semicolon, or opens or closes a block. Braces within the value of an option belong to it.
fn end_of_statement(tokens: &[Token<'_>], begin: usize) -> usize {
    let is_option = tokens[begin].text == "option";
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(begin) {
        match token.text {
            "[" => depth += 1,
            "]" => depth = depth.saturating_sub(1),
            "{" if is_option || depth > 0 => depth += 1,
            "}" if depth > 0 => depth -= 1,
            ";" | "{" | "}" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// The words of the statement without those of its visibility.
fn words<'a, 'b>(statement: &'b [Token<'a>]) -> &'b [Token<'a>] {
    match statement {
        [visibility, rest @ ..] if is_visibility(visibility, rest) => rest,
        whole => whole,
    }
}

/// `export` and `local` are names like any other unless a type follows them.
fn is_visibility(word: &Token<'_>, rest: &[Token<'_>]) -> bool {
    matches!(word.text, "export" | "local")
        && matches!(rest, [kind, name, ..] if matches!(kind.text, "message" | "enum") && name.is_name())
}

fn inside(statement: &[Token<'_>], scope: Scope) -> Scope {
    let statement = words(statement);
    match (scope, statement.first().map(|word| word.text)) {
        (Scope::File | Scope::Message, Some("message" | "extend")) => Scope::Message,
        (Scope::Message, Some("oneof")) => Scope::Oneof,
        _ => Scope::Other,
    }
}

fn rewrite(statement: &[Token<'_>], scope: Scope, edition: &Edition, written: &mut Writer<'_>) {
    let rest = words(statement);
    if rest.len() < statement.len() {
        written.replace(&statement[0], "");
    }
    let Some(first) = rest.first() else { return };
    match (scope, first.text) {
        (Scope::File, "edition") if rest.get(2).is_some_and(|value| value.text.contains(&edition.value)) => {
            written.replace(first, "syntax");
            written.replace(&rest[2], "\"proto2\"");
        }
        // What is imported for its options only is imported.
        (Scope::File, "import") => {
            if let Some(option) = rest.get(1).filter(|word| word.text == "option") {
                written.replace(option, "");
            }
        }
        (_, "reserved") if rest.get(1).is_some_and(|name| name.is_name() || name.text == ",") => {
            for name in rest[1..].iter().filter(|name| name.is_name()) {
                written.replace(name, &format!("\"{}\"", name.text));
            }
        }
        (Scope::Message, _) if is_field_without_label(rest) => written.insert(first.at, "optional "),
        _ => {}
    }
}

fn is_field_without_label(statement: &[Token<'_>]) -> bool {
    let Some(first) = statement.first() else { return false };
    let is_other = match first.text {
        "map" => statement.get(1).is_some_and(|next| next.text == "<"),
        "option" | "extensions" | "reserved" | "message" | "enum" | "oneof" | "extend" | "optional" | "required"
        | "repeated" | "group" => true,
        word => !first.is_name() && word != ".",
    };
    !is_other
}

/// Copies the source, with changes in the order of their places.
struct Writer<'a> {
    source: &'a str,
    at: usize,
    text: String,
}

impl Writer<'_> {
    fn insert(&mut self, at: usize, text: &str) {
        self.text.push_str(&self.source[self.at..at]);
        self.text.push_str(text);
        self.at = at;
    }

    fn replace(&mut self, token: &Token<'_>, text: &str) {
        self.insert(token.at, text);
        self.at = token.end();
    }

    fn finish(mut self) -> String {
        self.text.push_str(&self.source[self.at..]);
        self.text
    }
}
