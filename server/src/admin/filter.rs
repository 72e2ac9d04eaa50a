//! The `filter` of lists (AIP-160): read from its text, checked against the fields that a list has, and handed to the store as
//! a condition.
//!
//! Comparisons, `AND`, `OR`, `NOT` or `-`, and parentheses. As AIP-160 has it, `OR` binds more tightly than `AND`. A text that
//! ends with `*` is a prefix, and `field:*` asks whether there is a value.

use engine::store::{Comparison, Filter, Value};
use uuid::Uuid;

use crate::text::echo;

/// The longest text, in bytes.
const LONGEST: usize = 2_000;
/// How deep parentheses and negations may stand in each other.
const DEEPEST: usize = 8;
/// The most comparisons.
const MOST: usize = 50;

/// A field of a list, and what its values are.
#[derive(Clone, Debug)]
pub(super) enum Field<F> {
    Text(F),
    Id(F),
    Time(F),
    Flag(F),
    Number(F),
    /// One of some words, each with its number.
    Word(F, Vec<(&'static str, i64)>),
}

/// The fields that a list has, by the name in a filter.
pub(super) trait Fields<F> {
    /// The field with this path.
    fn field(&self, path: &[String]) -> Option<Field<F>>;

    /// All names, for who names another.
    fn names(&self) -> &'static str;
}

/// Reads a filter. What is wrong with it is told with its place.
pub(super) fn read<F: Clone>(text: &str, fields: &dyn Fields<F>) -> Result<Filter<F>, String> {
    if text.len() > LONGEST {
        return Err(format!("{} bytes; expected at most {LONGEST}", text.len()));
    }
    if text.contains('\0') {
        return Err(String::from("expected no NUL"));
    }
    let mut reader = Reader { text, at: 0, depth: 0, comparisons: 0, fields };
    reader.space();
    if reader.rest().is_empty() {
        return Ok(Filter::default());
    }
    let filter = reader.expression()?;
    reader.space();
    if reader.rest().is_empty() { Ok(filter) } else { Err(reader.wrong("expected AND, OR or the end")) }
}

struct Reader<'a, F> {
    text: &'a str,
    at: usize,
    depth: usize,
    comparisons: usize,
    fields: &'a dyn Fields<F>,
}

/// A value as it was written.
struct Argument {
    text: String,
    /// Whether a `*` that is not escaped stands at its end.
    begins: bool,
}

impl<F: Clone> Reader<'_, F> {
    /// Terms that all have to be met.
    fn expression(&mut self) -> Result<Filter<F>, String> {
        let mut all = Filter::default().and(self.factor()?);
        while self.word("AND") {
            all = all.and(self.factor()?);
        }
        Ok(all)
    }

    /// Terms of which one has to be met.
    fn factor(&mut self) -> Result<Filter<F>, String> {
        let first = self.term()?;
        if !self.peeks("OR") {
            return Ok(first);
        }
        let mut any = vec![first];
        while self.word("OR") {
            any.push(self.term()?);
        }
        Ok(Filter::Any(any))
    }

    fn term(&mut self) -> Result<Filter<F>, String> {
        self.space();
        let not = self.word("NOT") || self.takes("-");
        if not {
            return self.deeper(|reader| Ok(Filter::Not(Box::new(reader.simple()?))));
        }
        self.simple()
    }

    fn simple(&mut self) -> Result<Filter<F>, String> {
        self.space();
        if !self.takes("(") {
            return self.comparison();
        }
        let inner = self.deeper(Self::expression)?;
        self.space();
        if self.takes(")") { Ok(inner) } else { Err(self.wrong("expected AND, OR or )")) }
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, String>) -> Result<T, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!("deeper than {DEEPEST} levels"));
        }
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn comparison(&mut self) -> Result<Filter<F>, String> {
        self.comparisons += 1;
        if self.comparisons > MOST {
            return Err(format!("more than {MOST} comparisons"));
        }
        let began = self.at;
        let mut path = vec![self.segment()?];
        while self.takes(".") {
            path.push(self.segment()?);
        }
        let Some(field) = self.fields.field(&path) else {
            self.at = began;
            let (name, names) = (echo(&path.join(".")), self.fields.names());
            return Err(self.wrong(&format!("{name} is no field; expected {names}")));
        };
        self.space();
        let operators = ["!=", "<=", ">=", "=", "<", ">", ":"];
        let Some(operator) = operators.into_iter().find(|operator| self.takes(operator)) else {
            return Err(self.wrong("expected =, !=, <, <=, >, >= or :"));
        };
        self.space();
        let began = self.at;
        let argument = self.argument()?;
        condition(field, operator, &argument).map_err(|expected| {
            self.at = began;
            self.wrong(&expected)
        })
    }

    /// One part of the name of a field.
    fn segment(&mut self) -> Result<String, String> {
        self.space();
        if self.rest().starts_with(['"', '\'']) {
            return self.quoted().map(|argument| argument.text);
        }
        let ends = |char: char| char.is_whitespace() || "()=<>!:.,\"'*".contains(char);
        let rest = self.rest();
        let length = rest.find(ends).unwrap_or(rest.len());
        if length == 0 {
            return Err(self.wrong("expected the name of a field"));
        }
        let segment = rest[..length].to_owned();
        self.at += length;
        Ok(segment)
    }

    fn argument(&mut self) -> Result<Argument, String> {
        if self.rest().starts_with(['"', '\'']) {
            return self.quoted();
        }
        let ends = |char: char| char.is_whitespace() || "()=<>!,\"'".contains(char);
        let rest = self.rest();
        let length = rest.find(ends).unwrap_or(rest.len());
        let text = &rest[..length];
        if text.is_empty() {
            return Err(self.wrong("expected a value"));
        }
        let begins = text.ends_with('*');
        let text = text.strip_suffix('*').unwrap_or(text);
        if text.contains('*') {
            return Err(self.wrong("a * may stand at the end only"));
        }
        let argument = Argument { text: text.to_owned(), begins };
        self.at += length;
        Ok(argument)
    }

    fn quoted(&mut self) -> Result<Argument, String> {
        let mut chars = self.rest().char_indices();
        let Some((_, quote)) = chars.next() else { return Err(self.wrong("expected a text")) };
        let (mut text, mut begins) = (String::new(), false);
        while let Some((at, char)) = chars.next() {
            if char == quote {
                self.at += at + 1;
                return Ok(Argument { text, begins });
            }
            if begins {
                return Err(self.wrong("a * may stand at the end only"));
            }
            match char {
                '*' => begins = true,
                '\\' => match chars.next() {
                    Some((_, escaped @ ('"' | '\'' | '\\' | '*'))) => text.push(escaped),
                    _ => return Err(self.wrong("after a \\ expected a quote, a \\ or a *")),
                },
                other => text.push(other),
            }
        }
        Err(self.wrong("the text has no end"))
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn takes(&mut self, what: &str) -> bool {
        let is_there = self.rest().starts_with(what);
        if is_there {
            self.at += what.len();
        }
        is_there
    }

    /// Whether this word comes next.
    fn peeks(&mut self, word: &str) -> bool {
        self.space();
        let behind = self.rest().strip_prefix(word);
        behind.is_some_and(|behind| {
            behind.is_empty() || behind.starts_with(|char: char| char.is_whitespace() || char == '(')
        })
    }

    fn word(&mut self, word: &str) -> bool {
        self.peeks(word) && self.takes(word)
    }

    fn wrong(&self, expected: &str) -> String {
        let before = self.text.get(..self.at).unwrap_or_default();
        format!("at character {}: {expected}", before.chars().count() + 1)
    }
}

fn condition<F: Clone>(field: Field<F>, operator: &str, argument: &Argument) -> Result<Filter<F>, String> {
    let Argument { text, begins } = argument;
    if operator == ":" {
        if *begins && text.is_empty() {
            let (Field::Text(field)
            | Field::Id(field)
            | Field::Time(field)
            | Field::Flag(field)
            | Field::Number(field)
            | Field::Word(field, _)) = field;
            return Ok(Filter::Present(field));
        }
        return Err(String::from("expected * after :"));
    }
    if *begins && !matches!(field, Field::Text(_)) {
        return Err(String::from("expected a value without *"));
    }
    let (field, value, ordered) = match field {
        Field::Text(field) => (field, Value::Text(text.clone()), false),
        Field::Id(field) => {
            let id = Uuid::try_parse(text).map_err(|_| String::from("expected a UUID"))?;
            (field, Value::Id(id), false)
        }
        Field::Flag(field) => {
            let flag = text.parse().map_err(|_| String::from("expected true or false"))?;
            (field, Value::Flag(flag), false)
        }
        Field::Time(field) => {
            let time: jiff::Timestamp = text.parse().map_err(|_| {
                String::from("expected a time as RFC 3339 writes it, for example \"2026-01-31T12:00:00Z\"")
            })?;
            (field, Value::Number(time.as_microsecond()), true)
        }
        Field::Number(field) => {
            let number = text.parse().map_err(|_| String::from("expected a whole number"))?;
            (field, Value::Number(number), true)
        }
        Field::Word(field, words) => {
            let known = words.iter().find(|(word, _)| word == text);
            let all = || words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
            let (_, number) = known.ok_or_else(|| format!("expected one of {}", all()))?;
            (field, Value::Number(*number), false)
        }
    };
    let comparison = match operator {
        "=" | "!=" if *begins => Comparison::Begins,
        "=" | "!=" => Comparison::Equal,
        _ if !ordered => return Err(format!("{operator} is for times and numbers; expected = or != before this")),
        "<" => Comparison::Less,
        "<=" => Comparison::AtMost,
        ">" => Comparison::Greater,
        _ => Comparison::AtLeast,
    };
    let filter = Filter::Compare(field, comparison, value);
    Ok(if operator == "!=" { Filter::Not(Box::new(filter)) } else { filter })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Known;

    impl Fields<&'static str> for Known {
        fn field(&self, path: &[String]) -> Option<Field<&'static str>> {
            let words = vec![("FAILED", 7), ("RUNNING", 2)];
            Some(match path.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                ["state"] => Field::Word("state", words),
                ["workflow"] => Field::Text("workflow"),
                ["parent"] => Field::Id("parent"),
                ["create_time"] => Field::Time("create_time"),
                ["pinned"] => Field::Flag("pinned"),
                ["steps"] => Field::Number("steps"),
                _ => return None,
            })
        }

        fn names(&self) -> &'static str {
            "state, workflow, parent, create_time, pinned or steps"
        }
    }

    /// The filter as a text with all of its parentheses.
    fn told(text: &str) -> String {
        fn of(filter: &Filter<&'static str>) -> String {
            let list = |word: &str, of_it: &[Filter<&'static str>]| {
                format!("({})", of_it.iter().map(of).collect::<Vec<_>>().join(word))
            };
            match filter {
                Filter::All(all) => list(" & ", all),
                Filter::Any(any) => list(" | ", any),
                Filter::Not(one) => format!("!{}", of(one)),
                Filter::Present(field) => format!("{field}?"),
                Filter::Compare(field, comparison, value) => {
                    let sign = match comparison {
                        Comparison::Equal => "=",
                        Comparison::Less => "<",
                        Comparison::AtMost => "<=",
                        Comparison::Greater => ">",
                        Comparison::AtLeast => ">=",
                        Comparison::Begins => "^",
                    };
                    match value {
                        Value::Text(text) => format!("{field}{sign}'{text}'"),
                        Value::Number(number) => format!("{field}{sign}{number}"),
                        Value::Id(id) => format!("{field}{sign}{id}"),
                        Value::Flag(flag) => format!("{field}{sign}{flag}"),
                    }
                }
            }
        }
        read(text, &Known).map_or_else(|error| error, |filter| of(&filter))
    }

    #[test]
    fn a_filter_says_what_aip_160_says_it_does() {
        for (text, means) in [
            ("", "()"),
            ("  ", "()"),
            ("state = FAILED", "state=7"),
            ("state=FAILED", "state=7"),
            ("NOT state = FAILED", "!state=7"),
            ("-state = FAILED", "!state=7"),
            ("state != FAILED", "!state=7"),
            ("workflow = \"a b\"", "workflow='a b'"),
            ("workflow = 'a\\'b\\*'", "workflow='a'b*'"),
            ("workflow = billing.remind", "workflow='billing.remind'"),
            ("workflow = \"billing.*\"", "workflow^'billing.'"),
            ("workflow != billing.*", "!workflow^'billing.'"),
            ("parent:*", "parent?"),
            ("NOT parent:*", "!parent?"),
            ("pinned = true", "pinned=true"),
            ("steps >= 3 AND steps < 9", "(steps>=3 & steps<9)"),
            ("create_time > \"1970-01-01T00:00:01Z\"", "create_time>1000000"),
            ("create_time <= 1970-01-01T01:00:00+01:00", "create_time<=0"),
            // OR binds more tightly.
            ("steps = 1 AND steps = 2 OR steps = 3", "(steps=1 & (steps=2 | steps=3))"),
            ("(steps = 1 AND steps = 2) OR steps = 3", "((steps=1 & steps=2) | steps=3)"),
            ("NOT (steps = 1 OR pinned = false)", "!(steps=1 | pinned=false)"),
            ("((steps = 1))", "steps=1"),
        ] {
            assert_eq!(told(text), means, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_what_was_expected() {
        let deep = format!("{}steps = 1{}", "(".repeat(9), ")".repeat(9));
        let many = vec!["steps = 1"; 51].join(" AND ");
        for (text, told_of) in [
            ("FAILED", "at character 1: \"FAILED\" is no field"),
            ("state FAILED", "at character 7: expected =, !="),
            ("stat = FAILED", "at character 1: \"stat\" is no field; expected state,"),
            ("state = FALIED", "at character 9: expected one of FAILED, RUNNING"),
            ("state > FAILED", "is for times and numbers"),
            ("steps = many", "expected a whole number"),
            ("parent = 1", "expected a UUID"),
            ("pinned = yes", "expected true or false"),
            ("create_time > yesterday", "RFC 3339"),
            ("workflow = a*b", "a * may stand at the end only"),
            ("workflow = \"*a\"", "a * may stand at the end only"),
            ("workflow = \"a", "the text has no end"),
            ("workflow =", "expected a value"),
            ("state = FAILED state = FAILED", "at character 16: expected AND, OR or the end"),
            ("(steps = 1", "expected AND, OR or )"),
            ("steps = 1 AND", "expected the name of a field"),
            ("steps:3", "expected * after :"),
            ("workflow = \"a\0\"", "expected no NUL"),
            (&deep, "deeper than 8 levels"),
            (&many, "more than 50 comparisons"),
            (&"x".repeat(2_001), "2001 bytes; expected at most 2000"),
        ] {
            let error = read(text, &Known).map(|_| ()).unwrap_err();
            assert!(error.contains(told_of), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_texts_never_panic(text in "\\PC{0,80}|([a-z. ]|[()=<>!:*\"'\\\\-]|AND|OR|NOT|state|steps){0,40}") {
            let _ = read(&text, &Known);
        }
    }
}
