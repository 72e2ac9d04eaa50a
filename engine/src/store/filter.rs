//! Conditions of a list, which every store compiles to its SQL: the same filter finds the same everywhere.
//!
//! A condition is either met or not, also where something has no value: then no comparison with it is met.

use std::fmt::Write;

use uuid::Uuid;

/// A condition on items of a list, whose fields are those of `F`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter<F> {
    /// All of these are met; without any it is met.
    All(Vec<Filter<F>>),
    /// One of these is met; without any it is not met.
    Any(Vec<Filter<F>>),
    /// This one is not met.
    Not(Box<Filter<F>>),
    /// The field has a value, which compares so.
    Compare(F, Comparison, Value),
    /// The field has a value.
    Present(F),
}

/// How a field compares with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// It is the value.
    Equal,
    /// It is smaller.
    Less,
    /// It is smaller or the value.
    AtMost,
    /// It is larger.
    Greater,
    /// It is larger or the value.
    AtLeast,
    /// It is a text that begins with the value.
    Begins,
}

/// What a field is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number, or a time in microseconds.
    Number(i64),
    /// An id.
    Id(Uuid),
    /// Whether something is so.
    Flag(bool),
}

/// Whether a condition is met as far as that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It is met, or is not, whatever else there is.
    Decided(bool),
    /// That depends on what is not known.
    Open,
}

/// How a database writes what is not the same in all of them.
pub struct Dialect<F> {
    /// The column of a field.
    pub column: fn(&F) -> &'static str,
    /// What stands before the number of a parameter.
    pub parameter: char,
    /// The function that finds the second text within the first one, counted from 1.
    pub position: &'static str,
}

impl<F> Default for Filter<F> {
    fn default() -> Self {
        Self::All(Vec::new())
    }
}

impl<F> Filter<F> {
    /// The field is this text.
    pub fn is(field: F, text: impl Into<String>) -> Self {
        Self::Compare(field, Comparison::Equal, Value::Text(text.into()))
    }

    /// The field begins with one of these texts.
    pub fn begins_with_one(field: &F, texts: impl IntoIterator<Item = String>) -> Self
    where
        F: Clone,
    {
        let begins = |text| Self::Compare(field.clone(), Comparison::Begins, Value::Text(text));
        Self::Any(texts.into_iter().map(begins).collect())
    }

    /// This one and the other are met.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::All(all), one) | (one, Self::All(all)) if all.is_empty() => one,
            (Self::All(mut all), Self::All(others)) => {
                all.extend(others);
                Self::All(all)
            }
            (Self::All(mut all), other) => {
                all.push(other);
                Self::All(all)
            }
            (one, Self::All(mut all)) => {
                all.push(one);
                Self::All(all)
            }
            (one, other) => Self::All(vec![one, other]),
        }
    }

    /// Whether everything meets it.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::All(all) if all.is_empty())
    }

    /// The conditions that all have to be met.
    pub fn conjuncts(&self) -> &[Self] {
        match self {
            Self::All(all) => all,
            one => std::slice::from_ref(one),
        }
    }

    /// The value that the field must have, if the filter says so by itself.
    pub fn fixed(&self, field: &F) -> Option<&Value>
    where
        F: PartialEq,
    {
        self.conjuncts().iter().find_map(|condition| match condition {
            Self::Compare(of, Comparison::Equal, value) if of == field => Some(value),
            Self::All(_) => condition.fixed(field),
            _ => None,
        })
    }

    /// Whether it asks for one of the fields that `test` names.
    pub fn asks_for(&self, test: &impl Fn(&F) -> bool) -> bool {
        match self {
            Self::All(of) | Self::Any(of) => of.iter().any(|one| one.asks_for(test)),
            Self::Not(one) => one.asks_for(test),
            Self::Compare(field, ..) | Self::Present(field) => test(field),
        }
    }

    /// Whether it is met by what is known: `Some` value of a field, `None` of one that is not known.
    pub fn known(&self, value: &impl Fn(&F) -> Option<Value>) -> Known {
        use Known::{Decided, Open};
        match self {
            Self::All(all) => all.iter().map(|one| one.known(value)).fold(Decided(true), |all, one| match (all, one) {
                (Decided(false), _) | (_, Decided(false)) => Decided(false),
                (Decided(true), one) => one,
                (Open, _) => Open,
            }),
            Self::Any(any) => {
                any.iter().map(|one| one.known(value)).fold(Decided(false), |any, one| match (any, one) {
                    (Decided(true), _) | (_, Decided(true)) => Decided(true),
                    (Decided(false), one) => one,
                    (Open, _) => Open,
                })
            }
            Self::Not(one) => match one.known(value) {
                Decided(met) => Decided(!met),
                Open => Open,
            },
            Self::Compare(field, comparison, with) => {
                value(field).map_or(Open, |value| Decided(compares(&value, *comparison, with)))
            }
            Self::Present(field) => value(field).map_or(Open, |_| Decided(true)),
        }
    }

    /// Writes the condition as SQL; the values become parameters, behind those that are there.
    pub fn compile<'f>(&'f self, sql: &mut String, values: &mut Vec<&'f Value>, first: usize, dialect: &Dialect<F>) {
        match self {
            Self::All(all) => joined(all, "AND", "(1 = 1)", sql, values, first, dialect),
            Self::Any(any) => joined(any, "OR", "(1 = 0)", sql, values, first, dialect),
            Self::Not(one) => {
                sql.push_str("NOT ");
                one.compile(sql, values, first, dialect);
            }
            Self::Compare(field, comparison, value) => {
                let column = (dialect.column)(field);
                let (at, mark) = (first + values.len(), dialect.parameter);
                values.push(value);
                let operator = match comparison {
                    Comparison::Equal => "=",
                    Comparison::Less => "<",
                    Comparison::AtMost => "<=",
                    Comparison::Greater => ">",
                    Comparison::AtLeast => ">=",
                    Comparison::Begins => {
                        let position = dialect.position;
                        let _ = write!(sql, "({column} IS NOT NULL AND {position}({column}, {mark}{at}) = 1)");
                        return;
                    }
                };
                // Twice, so that it is never unknown: the opposite of that would be unknown too.
                let _ = write!(sql, "({column} IS NOT NULL AND {column} {operator} {mark}{at})");
            }
            Self::Present(field) => {
                let _ = write!(sql, "({} IS NOT NULL)", (dialect.column)(field));
            }
        }
    }
}

fn joined<'f, F>(
    of: &'f [Filter<F>],
    word: &str,
    none: &str,
    sql: &mut String,
    values: &mut Vec<&'f Value>,
    first: usize,
    dialect: &Dialect<F>,
) {
    if of.is_empty() {
        return sql.push_str(none);
    }
    for (at, one) in of.iter().enumerate() {
        sql.push_str(if at == 0 { "(" } else { " " });
        if at > 0 {
            sql.push_str(word);
            sql.push(' ');
        }
        one.compile(sql, values, first, dialect);
    }
    sql.push(')');
}

fn compares(value: &Value, comparison: Comparison, with: &Value) -> bool {
    let order = match (value, with) {
        (Value::Text(value), Value::Text(with)) if comparison == Comparison::Begins => return value.starts_with(with),
        (Value::Text(value), Value::Text(with)) => value.cmp(with),
        (Value::Number(value), Value::Number(with)) => value.cmp(with),
        (Value::Id(value), Value::Id(with)) => value.cmp(with),
        (Value::Flag(value), Value::Flag(with)) => value.cmp(with),
        _ => return false,
    };
    match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::Less => order.is_lt(),
        Comparison::AtMost => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::AtLeast => order.is_ge(),
        Comparison::Begins => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIALECT: Dialect<&str> = Dialect { column: |field| field, parameter: '?', position: "instr" };

    fn number(field: &'static str, comparison: Comparison, number: i64) -> Filter<&'static str> {
        Filter::Compare(field, comparison, Value::Number(number))
    }

    fn compiled(filter: &Filter<&'static str>) -> (String, usize) {
        let (mut sql, mut values) = (String::new(), Vec::new());
        filter.compile(&mut sql, &mut values, 3, &DIALECT);
        (sql, values.len())
    }

    #[test]
    fn a_filter_becomes_a_condition_whose_values_are_parameters() {
        let filter = Filter::Any(vec![
            Filter::is("name", "x'; DROP TABLE runs"),
            Filter::Not(Box::new(number("at", Comparison::Less, 5))),
            Filter::Present("parent"),
        ]);
        let sql = "((name IS NOT NULL AND name = ?3) OR NOT (at IS NOT NULL AND at < ?4) OR (parent IS NOT NULL))";
        assert_eq!(compiled(&filter), (sql.to_owned(), 2));
        assert_eq!(compiled(&Filter::default()).0, "(1 = 1)");
        assert_eq!(compiled(&Filter::Any(Vec::new())).0, "(1 = 0)");
        let begins = Filter::begins_with_one(&"name", [String::from("a.")]);
        assert_eq!(compiled(&begins).0, "((name IS NOT NULL AND instr(name, ?3) = 1))");
    }

    #[test]
    fn what_is_known_decides_a_filter_or_leaves_it_open() {
        let known = |filter: &Filter<&'static str>| filter.known(&|field| (*field == "a").then_some(Value::Number(1)));
        let (met, unmet, open) =
            (number("a", Comparison::Equal, 1), number("a", Comparison::Greater, 1), Filter::is("b", ""));
        let all = |of: &[&Filter<&'static str>]| known(&Filter::All(of.iter().copied().cloned().collect()));
        let any = |of: &[&Filter<&'static str>]| known(&Filter::Any(of.iter().copied().cloned().collect()));
        assert_eq!(all(&[&met, &open]), Known::Open);
        assert_eq!(all(&[&open, &unmet]), Known::Decided(false));
        assert_eq!(any(&[&open, &met]), Known::Decided(true));
        assert_eq!(any(&[&unmet, &open]), Known::Open);
        assert_eq!(known(&Filter::Not(Box::new(unmet))), Known::Decided(true));
        assert_eq!(known(&Filter::Not(Box::new(open))), Known::Open);
    }

    #[test]
    fn filters_are_joined_flat_and_what_they_fix_is_found() {
        let filter = Filter::default().and(Filter::is("a", "1")).and(Filter::All(vec![Filter::is("b", "2")]));
        assert_eq!(filter.conjuncts().len(), 2);
        assert_eq!(filter.fixed(&"b"), Some(&Value::Text(String::from("2"))));
        assert_eq!(Filter::Not(Box::new(Filter::is("a", "1"))).fixed(&"a"), None);
    }
}
