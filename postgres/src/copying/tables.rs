//! The statements of the copy of each table, made of the columns that the stores have in common.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use engine::store::StoreError;
use engine::store::copying::{Kind, TABLES, Table};

use crate::migrations::BUCKETS;
use crate::session::Fault;

/// The statements of one table.
pub(super) struct Statements {
    /// Whether it has a row.
    pub(super) any: String,
    /// Adds rows, which are given column by column.
    pub(super) insert: String,
    /// Its first rows, in the order of the key.
    pub(super) first: String,
    /// Those after a key.
    pub(super) next: String,
}

static STATEMENTS: LazyLock<BTreeMap<&str, Statements>> =
    LazyLock::new(|| TABLES.iter().map(|table| (table.name, Statements::of(table))).collect());

pub(super) fn statements(table: &Table) -> Result<&'static Statements, Fault> {
    let known = STATEMENTS.get(table.name);
    known.ok_or_else(|| StoreError::Unusable(format!("table {} is not known to this store", table.name)).into())
}

impl Statements {
    fn of(table: &Table) -> Self {
        let Table { name, columns, key } = table;
        let quoted: Vec<String> = columns.iter().map(|(column, _)| format!("\"{column}\"")).collect();
        let (all, by) = (quoted.join(", "), quoted[..*key].join(", "));
        let lists: Vec<String> =
            columns.iter().zip(1..).map(|((_, kind), n)| format!("${n}::{}[]", sql(*kind))).collect();
        let (own, values) = own(name);
        let lists = lists.join(", ");
        let after: Vec<String> = (1..=*key).map(|n| format!("${n}")).collect();
        let limit = key + 1;
        Self {
            any: format!("SELECT EXISTS (SELECT 1 FROM {name})"),
            insert: format!(
                "INSERT INTO {name} ({all}{own}) SELECT {all}{values} FROM unnest({lists}) AS copied ({all})"
            ),
            first: format!("SELECT {all} FROM {name} ORDER BY {by} LIMIT $1"),
            next: format!(
                "SELECT {all} FROM {name} WHERE ({by}) > ({}) ORDER BY {by} LIMIT ${limit}",
                after.join(", ")
            ),
        }
    }
}

const fn sql(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "bool",
        Kind::Int2 => "int2",
        Kind::Int4 => "int4",
        Kind::Int8 => "int8",
        Kind::Uuid => "uuid",
        Kind::Text => "text",
        Kind::Bytes => "bytea",
    }
}

/// Columns that only this store has, and their values.
fn own(table: &str) -> (&'static str, String) {
    match table {
        "live" | "ended" => (", bucket, rung_at", format!(", get_byte(uuid_send(\"id\"), 15) % {BUCKETS}, 0")),
        _ => ("", String::new()),
    }
}
