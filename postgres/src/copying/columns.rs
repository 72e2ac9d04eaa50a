//! Rows of a common table as parameters of a statement, column by column.

use engine::store::StoreError;
use engine::store::copying::{Kind, Table, Value};
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use crate::session::Fault;

/// A value with the type that the statement takes it as.
pub(super) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// The values of some rows.
pub(super) struct Columns(Vec<(Box<dyn ToSql + Sync + Send>, Type)>);

impl Columns {
    /// Lists, one for each column.
    pub(super) fn of(table: &Table, rows: &[Vec<Value>]) -> Result<Self, Fault> {
        let column = |(number, (name, kind)): (usize, &(&str, Kind))| {
            let values = rows.iter().map(|row| row.get(number).unwrap_or(&Value::Null));
            list(*kind, values).map_err(|why| refused(table, name, why))
        };
        table.columns.iter().enumerate().map(column).collect::<Result<_, _>>().map(Self)
    }

    /// The values of one row, one by one; none of no row.
    pub(super) fn of_one(table: &Table, row: &[Value]) -> Result<Self, Fault> {
        let column =
            |((name, kind), value): (&(&str, Kind), &Value)| one(*kind, value).map_err(|why| refused(table, name, why));
        table.columns.iter().zip(row).map(column).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn parameters(&self) -> Vec<Parameter<'_>> {
        self.0.iter().map(|(value, kind)| (&**value as &(dyn ToSql + Sync), kind.clone())).collect()
    }
}

fn refused(table: &Table, column: &str, why: &str) -> Fault {
    StoreError::Unusable(format!("column {column} of table {}: {why}", table.name)).into()
}

const OTHER: &str = "the source has a value of another type";
const LARGE: &str = "the source has a number that does not fit";

type Typed = (Box<dyn ToSql + Sync + Send>, Type);

fn list<'a>(kind: Kind, values: impl Iterator<Item = &'a Value>) -> Result<Typed, &'static str> {
    Ok(match kind {
        Kind::Bool => (Box::new(all(values, bool)?), Type::BOOL_ARRAY),
        Kind::Int2 => (Box::new(all(values, int::<i16>)?), Type::INT2_ARRAY),
        Kind::Int4 => (Box::new(all(values, int::<i32>)?), Type::INT4_ARRAY),
        Kind::Int8 => (Box::new(all(values, int::<i64>)?), Type::INT8_ARRAY),
        Kind::Uuid => (Box::new(all(values, uuid)?), Type::UUID_ARRAY),
        Kind::Text => (Box::new(all(values, text)?), Type::TEXT_ARRAY),
        Kind::Bytes => (Box::new(all(values, bytes)?), Type::BYTEA_ARRAY),
    })
}

fn one(kind: Kind, value: &Value) -> Result<Typed, &'static str> {
    Ok(match kind {
        Kind::Bool => (Box::new(bool(value)?), Type::BOOL),
        Kind::Int2 => (Box::new(int::<i16>(value)?), Type::INT2),
        Kind::Int4 => (Box::new(int::<i32>(value)?), Type::INT4),
        Kind::Int8 => (Box::new(int::<i64>(value)?), Type::INT8),
        Kind::Uuid => (Box::new(uuid(value)?), Type::UUID),
        Kind::Text => (Box::new(text(value)?), Type::TEXT),
        Kind::Bytes => (Box::new(bytes(value)?), Type::BYTEA),
    })
}

fn all<'a, T>(
    values: impl Iterator<Item = &'a Value>,
    read: impl Fn(&Value) -> Result<Option<T>, &'static str>,
) -> Result<Vec<Option<T>>, &'static str> {
    values.map(read).collect()
}

fn bool(value: &Value) -> Result<Option<bool>, &'static str> {
    match value {
        Value::Null => Ok(None),
        Value::Bool(value) => Ok(Some(*value)),
        _ => Err(OTHER),
    }
}

fn int<T: TryFrom<i64>>(value: &Value) -> Result<Option<T>, &'static str> {
    match value {
        Value::Null => Ok(None),
        Value::Int(value) => T::try_from(*value).map(Some).map_err(|_| LARGE),
        _ => Err(OTHER),
    }
}

fn uuid(value: &Value) -> Result<Option<Uuid>, &'static str> {
    match value {
        Value::Null => Ok(None),
        Value::Uuid(value) => Ok(Some(*value)),
        _ => Err(OTHER),
    }
}

fn text(value: &Value) -> Result<Option<String>, &'static str> {
    match value {
        Value::Null => Ok(None),
        Value::Text(value) => Ok(Some(value.clone())),
        _ => Err(OTHER),
    }
}

fn bytes(value: &Value) -> Result<Option<Vec<u8>>, &'static str> {
    match value {
        Value::Null => Ok(None),
        Value::Bytes(value) => Ok(Some(value.clone())),
        _ => Err(OTHER),
    }
}
