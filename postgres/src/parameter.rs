//! Values as parameters of statements, each with the type that the statement takes it as.

use std::borrow::Cow;

use engine::store::Value;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

/// A type of values that the database has a type for.
pub(crate) trait Typed {
    const TYPE: Type;
    /// The type of a list of them.
    const LIST: Type;
}

macro_rules! typed {
    ($($rust:ty => $one:ident, $list:ident;)*) => {
        $(impl Typed for $rust {
            const TYPE: Type = Type::$one;
            const LIST: Type = Type::$list;
        })*
    };
}

typed! {
    bool => BOOL, BOOL_ARRAY;
    i16 => INT2, INT2_ARRAY;
    i32 => INT4, INT4_ARRAY;
    i64 => INT8, INT8_ARRAY;
    Uuid => UUID, UUID_ARRAY;
    str => TEXT, TEXT_ARRAY;
    String => TEXT, TEXT_ARRAY;
    [u8] => BYTEA, BYTEA_ARRAY;
}

impl Typed for Cow<'_, str> {
    const TYPE: Type = Type::TEXT;
    const LIST: Type = Type::TEXT_ARRAY;
}

impl<T: Typed + ?Sized> Typed for &T {
    const TYPE: Type = T::TYPE;
    const LIST: Type = T::LIST;
}

impl<T: Typed> Typed for Option<T> {
    const TYPE: Type = T::TYPE;
    const LIST: Type = T::LIST;
}

impl<T: Typed> Typed for Vec<T> {
    const TYPE: Type = T::LIST;
    const LIST: Type = T::LIST;
}

impl Typed for Vec<u8> {
    const TYPE: Type = Type::BYTEA;
    const LIST: Type = Type::BYTEA_ARRAY;
}

/// A parameter of a statement.
pub(crate) trait Parameter: Sync {
    fn value(&self) -> &(dyn ToSql + Sync);
    fn kind(&self) -> Type;
}

impl<T: Typed + ToSql + Sync> Parameter for T {
    fn value(&self) -> &(dyn ToSql + Sync) {
        self
    }

    fn kind(&self) -> Type {
        T::TYPE
    }
}

/// A value of a filter, as a parameter.
pub(crate) fn parameter(value: &Value) -> &dyn Parameter {
    match value {
        Value::Text(text) => text,
        Value::Number(number) => number,
        Value::Id(id) => id,
        Value::Flag(flag) => flag,
    }
}
