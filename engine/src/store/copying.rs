//! What a store consists of, as rows of tables that two kinds of stores have in common, and the sums that compare two copies.

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// True or false.
    Bool,
    /// A whole number of 16 bits.
    Int2,
    /// A whole number of 32 bits.
    Int4,
    /// A whole number of 64 bits.
    Int8,
    /// 16 bytes.
    Uuid,
    /// Unicode without NUL.
    Text,
    /// Any bytes.
    Bytes,
}

/// One table: its columns with their types, of which the first `key` tell its rows apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// Unique among the tables.
    pub name: &'static str,
    /// Names and types, in the order of the values of a row.
    pub columns: &'static [(&'static str, Kind)],
    /// How many of the columns, from the first on, make the key.
    pub key: usize,
}

/// A value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing, in a column of any type.
    Null,
    /// Of [`Kind::Bool`].
    Bool(bool),
    /// Of one of the kinds of numbers.
    Int(i64),
    /// Of [`Kind::Uuid`].
    Uuid(Uuid),
    /// Of [`Kind::Text`].
    Text(String),
    /// Of [`Kind::Bytes`].
    Bytes(Vec<u8>),
}

impl Value {
    /// How much memory it takes, about.
    pub fn bytes(&self) -> usize {
        let beside = match self {
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Uuid(_) => 0,
        };
        size_of::<Self>() + beside
    }

    fn digest(&self, digest: &mut Sha256) {
        let (kind, bytes): (u8, &[u8]) = match self {
            Self::Null => (0, &[]),
            Self::Bool(value) => (1, &[u8::from(*value)]),
            Self::Int(value) => (2, &value.to_be_bytes()),
            Self::Uuid(value) => (3, value.as_bytes()),
            Self::Text(value) => (4, value.as_bytes()),
            Self::Bytes(value) => (5, value),
        };
        digest.update([kind]);
        digest.update((bytes.len() as u64).to_be_bytes());
        digest.update(bytes);
    }
}

/// How many rows, and a sum over all of their values that does not depend on their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The number of rows.
    pub rows: u64,
    sum: [u64; 4],
}

impl Tally {
    /// Counts a row.
    pub fn add(&mut self, row: &[Value]) {
        let mut digest = Sha256::new();
        row.iter().for_each(|value| value.digest(&mut digest));
        let digest = digest.finalize();
        for (sum, part) in self.sum.iter_mut().zip(digest.as_chunks().0) {
            *sum = sum.wrapping_add(u64::from_be_bytes(*part));
        }
        self.rows += 1;
    }

    /// The sum as bytes, to be stored.
    pub fn sum(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (stored, sum) in bytes.as_chunks_mut().0.iter_mut().zip(self.sum) {
            *stored = sum.to_be_bytes();
        }
        bytes
    }

    /// What was stored; none if the bytes are no sum.
    pub fn stored(rows: u64, sum: &[u8]) -> Option<Self> {
        let bytes: [u8; 32] = sum.try_into().ok()?;
        let mut sum = [0; 4];
        for (sum, stored) in sum.iter_mut().zip(bytes.as_chunks().0) {
            *sum = u64::from_be_bytes(*stored);
        }
        Some(Self { rows, sum })
    }
}

/// Some rows of one table, and where the next ones begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Each with the values of all columns.
    pub rows: Vec<Vec<Value>>,
    /// Where the source continues; it means something only to the source.
    pub cursor: Vec<u8>,
    /// Whether no row comes after these.
    pub last: bool,
}

/// Which copy of which store it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The id of the store that is copied.
    pub store: Uuid,
    /// Drawn when the store was fenced: whatever is read under it never changes.
    pub fence: Uuid,
    /// Version of the zone database by which schedules were last dealt with.
    pub zone_database: Option<String>,
    /// When the store was adopted last as a copy of another one, and until when that is known not to have done more, in
    /// microseconds.
    pub adopted: Option<(i64, i64)>,
}

/// Columns of runs. The owner is the id of the store for a run that an owner held.
const RUN: &[(&str, Kind)] = &[
    ("id", Kind::Uuid),
    ("workflow", Kind::Int4),
    ("state", Kind::Int2),
    ("owner", Kind::Uuid),
    ("due_at", Kind::Int8),
    ("epoch", Kind::Int8),
    ("sequence", Kind::Int8),
    ("control", Kind::Int8),
    ("messages", Kind::Int8),
    ("steps", Kind::Int4),
    ("created_at", Kind::Int8),
    ("updated_at", Kind::Int8),
    ("deadline", Kind::Int8),
    ("ended_at", Kind::Int8),
    ("wake_at", Kind::Int8),
    ("ending_as", Kind::Int2),
    ("reason", Kind::Text),
    ("error_code", Kind::Int4),
    ("error_message", Kind::Text),
    ("cancel_requested", Kind::Text),
    ("schedule", Kind::Text),
    ("nominal", Kind::Int8),
    ("tick_origin", Kind::Int2),
    ("tick_of", Kind::Uuid),
    ("parent", Kind::Uuid),
    ("awaits", Kind::Text),
    ("paused_at", Kind::Int8),
    ("pause_reason", Kind::Text),
    ("pause_stops_clock", Kind::Bool),
    ("pinned", Kind::Bool),
];

/// Everything that a store keeps, in the order in which it is copied.
pub const TABLES: &[Table] = &[
    Table { name: "workflows", columns: &[("id", Kind::Int4), ("name", Kind::Text), ("version", Kind::Int4)], key: 1 },
    Table { name: "live", columns: RUN, key: 1 },
    Table { name: "ended", columns: RUN, key: 1 },
    Table {
        name: "restored_runs",
        columns: &[
            ("run", Kind::Uuid),
            ("copied_at", Kind::Int8),
            ("set_back_before", Kind::Int8),
            ("set_back_by", Kind::Int8),
            ("set_back_to", Kind::Int8),
        ],
        key: 1,
    },
    Table {
        name: "journal",
        columns: &[("run", Kind::Uuid), ("sequence", Kind::Int8), ("epoch", Kind::Int8), ("entry", Kind::Bytes)],
        key: 2,
    },
    Table {
        name: "inbox",
        columns: &[
            ("run", Kind::Uuid),
            ("number", Kind::Int8),
            ("name", Kind::Text),
            ("payload", Kind::Bytes),
            ("received_at", Kind::Int8),
        ],
        key: 2,
    },
    Table {
        name: "requests",
        columns: &[
            ("id", Kind::Uuid),
            ("method", Kind::Text),
            ("hash", Kind::Bytes),
            ("of", Kind::Uuid),
            ("outcome", Kind::Int2),
            ("created_at", Kind::Int8),
        ],
        key: 2,
    },
    Table {
        name: "audit",
        columns: &[
            ("number", Kind::Int8),
            ("at", Kind::Int8),
            ("caller", Kind::Text),
            ("action", Kind::Text),
            ("detail", Kind::Text),
            ("reason", Kind::Text),
            ("run", Kind::Uuid),
            ("workflow", Kind::Text),
            ("request", Kind::Uuid),
            ("schedule", Kind::Text),
            ("said", Kind::Text),
            ("refusals", Kind::Int8),
            ("minute", Kind::Int8),
        ],
        key: 1,
    },
    Table {
        name: "removed_runs",
        columns: &[
            ("id", Kind::Uuid),
            ("workflow", Kind::Int4),
            ("state", Kind::Int2),
            ("created_at", Kind::Int8),
            ("updated_at", Kind::Int8),
            ("ended_at", Kind::Int8),
            ("deadline", Kind::Int8),
            ("epoch", Kind::Int8),
            ("sequence", Kind::Int8),
            ("control", Kind::Int8),
            ("steps", Kind::Int4),
            ("parent", Kind::Uuid),
            ("removed_at", Kind::Int8),
        ],
        key: 1,
    },
    Table {
        name: "schedules",
        columns: &[
            ("uid", Kind::Uuid),
            ("name", Kind::Text),
            ("source", Kind::Int2),
            ("workflow", Kind::Text),
            ("definition", Kind::Bytes),
            ("generation", Kind::Int8),
            ("created_at", Kind::Int8),
            ("updated_at", Kind::Int8),
            ("high_water", Kind::Int8),
            ("ahead", Kind::Bytes),
            ("paused_at", Kind::Int8),
            ("paused_by", Kind::Text),
            ("pause_note", Kind::Text),
            ("retired_at", Kind::Int8),
            ("rows", Kind::Int8),
            ("started", Kind::Int8),
            ("missed", Kind::Int8),
            ("last_missed", Kind::Int8),
            ("consecutive_skips", Kind::Int8),
            ("consecutive_failures", Kind::Int8),
            ("last_run", Kind::Uuid),
            ("last_nominal", Kind::Int8),
            ("lateness", Kind::Int8),
            ("last_success", Kind::Int8),
            ("last_success_nominal", Kind::Int8),
            ("buffered", Kind::Int8),
            ("problem", Kind::Text),
            ("dropped", Kind::Int8),
        ],
        key: 1,
    },
    Table {
        name: "ticks",
        columns: &[
            ("schedule", Kind::Uuid),
            ("number", Kind::Int8),
            ("first", Kind::Int8),
            ("last", Kind::Int8),
            ("count", Kind::Int8),
            ("outcome", Kind::Int2),
            ("reason", Kind::Text),
            ("origin", Kind::Int2),
            ("of", Kind::Uuid),
            ("run", Kind::Uuid),
            ("at", Kind::Int8),
        ],
        key: 2,
    },
    Table {
        name: "schedule_runs",
        columns: &[
            ("schedule", Kind::Uuid),
            ("run", Kind::Uuid),
            ("nominal", Kind::Int8),
            ("backfill", Kind::Uuid),
            ("behind", Kind::Bool),
        ],
        key: 2,
    },
    Table {
        name: "backfills",
        columns: &[
            ("id", Kind::Uuid),
            ("schedule", Kind::Uuid),
            ("from_time", Kind::Int8),
            ("until_time", Kind::Int8),
            ("at_once", Kind::Int8),
            ("per_minute", Kind::Int8),
            ("total", Kind::Int8),
            ("created_at", Kind::Int8),
            ("cursor", Kind::Int8),
            ("started", Kind::Int8),
            ("passed", Kind::Int8),
            ("ended_at", Kind::Int8),
            ("cancelled", Kind::Bool),
            ("last_start", Kind::Int8),
            ("definition", Kind::Bytes),
        ],
        key: 1,
    },
    Table {
        name: "removed_schedules",
        columns: &[
            ("uid", Kind::Uuid),
            ("name", Kind::Text),
            ("source", Kind::Int2),
            ("definition", Kind::Bytes),
            ("generation", Kind::Int8),
            ("created_at", Kind::Int8),
            ("updated_at", Kind::Int8),
            ("high_water", Kind::Int8),
            ("removed_at", Kind::Int8),
        ],
        key: 1,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(rows: &[&[Value]]) -> Tally {
        let mut tally = Tally::default();
        rows.iter().for_each(|row| tally.add(row));
        tally
    }

    #[test]
    fn a_sum_tells_different_rows_apart_and_no_order() {
        let (one, two): (&[Value], &[Value]) = (&[Value::Int(1), Value::Null], &[Value::Int(2), Value::Null]);
        assert_eq!(tally(&[one, two]), tally(&[two, one]));
        assert_ne!(tally(&[one, two]), tally(&[one, one]));
        assert_ne!(tally(&[one]), tally(&[&[Value::Null, Value::Int(1)]]));
        assert_ne!(tally(&[&[Value::Text("ab".into())]]), tally(&[&[Value::Bytes(b"ab".to_vec())]]));
        let whole = [Value::Text("ab".into()), Value::Text(String::new())];
        let cut = [Value::Text("a".into()), Value::Text("b".into())];
        assert_ne!(tally(&[&whole]), tally(&[&cut]));
    }

    #[test]
    fn a_stored_tally_is_counted_on_from() {
        let one: &[Value] = &[Value::Int(1)];
        let first = tally(&[one]);
        let mut stored = Tally::stored(first.rows, &first.sum()).unwrap();
        stored.add(one);
        assert_eq!(stored, tally(&[one, one]));
        assert_eq!(Tally::stored(1, b"short"), None);
    }
}
