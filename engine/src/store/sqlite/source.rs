//! A store in a file as the source of a copy into another kind of store: fenced first, then read table by table.

use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::adoption::MOVED_SINCE;
use super::database::{Database, Settings};
use super::files::{StoreFiles, visit};
use super::migrations;
use super::paths::unusable;
use crate::store::StoreError;
use crate::store::copying::{Kind, Origin, Page, Table, Value};
use crate::time::Clock;

/// A page has at most so many rows,
const PAGE_ROWS: u32 = 1_000;
/// and is over with the row that brings it to so many bytes.
const PAGE_BYTES: usize = 4 << 20;

/// A store that no other process can open while this is there.
pub struct Source {
    files: StoreFiles,
    store: Uuid,
    fence: Option<Uuid>,
}

impl Source {
    /// Takes the store, whether it was fenced before or not. Nothing is written to it.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] if another process has it open, and if the file is missing or is no store.
    pub fn take(path: &Path) -> Result<Self, StoreError> {
        if !path.exists() {
            return Err(unusable(path, &"there is no such file"));
        }
        let files = StoreFiles::take(path)?;
        let connection = visit(files.path())?;
        let failed = |error: rusqlite::Error| unusable(path, &error);
        let version: i64 = migrations::pragma(&connection, "user_version").map_err(failed)?;
        let found = if version < MOVED_SINCE { None } else { moved_as(&connection).map_err(failed)? };
        let store: Option<[u8; 16]> =
            connection.query_row("SELECT id FROM store", [], |row| row.get(0)).optional().map_err(failed)?;
        let store = store.ok_or_else(|| unusable(path, &"it is empty: no orchestrator has used it yet"))?;
        Ok(Self { files, store: Uuid::from_bytes(store), fence: found })
    }

    /// The id of the store.
    pub const fn store(&self) -> Uuid {
        self.store
    }

    /// Which copy the store was fenced for before; none if it is in use.
    pub const fn fence(&self) -> Option<Uuid> {
        self.fence
    }

    /// Says in the store that its runs continue in `to`: from then on it cannot be served, and never changes. One that was
    /// fenced before stays as it is.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] if it is a copy that was not adopted, and if it cannot be written.
    pub fn fence_off(self, to: &str, clock: &Clock) -> Result<FencedSource, StoreError> {
        let failed = |error: rusqlite::Error| unusable(self.files.path(), &error);
        if self.fence.is_none() {
            // As an owner, so that the schema is that of this release and the owner before is outdated.
            let settings = Settings::of_one_opening(clock.clone());
            let database = Database::open(&self.files, &settings, None)?;
            let fence = Uuid::new_v4();
            database
                .connection
                .execute(
                    "UPDATE store SET moved_at = ?1, moved_to = ?2, moved_as = ?3, file = x''",
                    params![clock.now().as_micros(), to, fence.as_bytes()],
                )
                .map_err(failed)?;
        }
        let connection = self.files.reader().map_err(failed)?;
        let origin = connection
            .query_row("SELECT id, moved_as, zone_database, adopted_at, copied_at FROM store", [], |row| {
                let (at, until): (Option<i64>, Option<i64>) = (row.get(3)?, row.get(4)?);
                Ok(Origin {
                    store: Uuid::from_bytes(row.get(0)?),
                    fence: Uuid::from_bytes(row.get(1)?),
                    zone_database: row.get(2)?,
                    adopted: at.zip(until),
                })
            })
            .map_err(failed)?;
        Ok(FencedSource { connection, files: self.files, origin })
    }
}

/// A store that cannot be served any more, and never changes.
pub struct FencedSource {
    connection: Connection,
    files: StoreFiles,
    origin: Origin,
}

impl FencedSource {
    /// Which copy it is.
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The number of rows of a table.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] if the file cannot be read.
    pub fn count(&self, table: &Table) -> Result<u64, StoreError> {
        let read = read_of(table)?;
        let sql = format!("SELECT count(*) FROM {} WHERE {}", read.from, read.only);
        let rows = self.connection.query_row(&sql, [], |row| row.get(0));
        rows.map(i64::unsigned_abs).map_err(|error| self.failed(&error))
    }

    /// The rows after the cursor of another page of the same table; an empty cursor is before the first.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] if the file cannot be read, or has a value of another type.
    pub fn page(&self, table: &Table, cursor: &[u8]) -> Result<Page, StoreError> {
        let read = read_of(table)?;
        let after = if cursor.is_empty() {
            read.cursor.first()
        } else {
            Cursor::read(cursor)
                .ok_or_else(|| self.failed(&format!("the cursor of table {} is damaged", table.name)))?
        };
        self.rows(table, &read, after).map_err(|error| self.failed(&error))
    }

    fn rows(&self, table: &Table, read: &Read, after: Cursor) -> rusqlite::Result<Page> {
        let (by, width) = (read.by.join(", "), read.by.len());
        let parts = if width == 1 { "?1" } else { "?1, ?2" };
        let Read { from, only, columns, .. } = read;
        let sql = format!(
            "SELECT {by}, {columns} FROM {from} WHERE {only} AND ({by}) > ({parts}) ORDER BY {by} LIMIT {PAGE_ROWS}"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut found = statement.query(rusqlite::params_from_iter(after.0.into_iter().map(Part::sql)))?;
        let mut page = Page { last: true, ..Page::default() };
        let mut bytes = 0;
        while let Some(row) = found.next()? {
            let values: Vec<Value> = table
                .columns
                .iter()
                .enumerate()
                .map(|(number, (_, kind))| value(row, number + width, *kind))
                .collect::<rusqlite::Result<_>>()?;
            bytes += values.iter().map(Value::bytes).sum::<usize>();
            page.rows.push(values);
            page.cursor = Cursor((0..width).map(|part| Part::of(row, part)).collect::<rusqlite::Result<_>>()?).write();
            if bytes >= PAGE_BYTES || page.rows.len() == PAGE_ROWS as usize {
                page.last = false;
                break;
            }
        }
        Ok(page)
    }

    fn failed(&self, error: &dyn std::fmt::Display) -> StoreError {
        unusable(self.files.path(), error)
    }
}

fn moved_as(connection: &Connection) -> rusqlite::Result<Option<Uuid>> {
    let found = connection.query_row("SELECT moved_as FROM store", [], |row| row.get::<_, Option<[u8; 16]>>(0));
    Ok(found.optional()?.flatten().map(Uuid::from_bytes))
}

/// How a table is read in pages.
struct Read {
    from: &'static str,
    /// Which of the rows belong to the table.
    only: &'static str,
    /// What its rows are ordered by; an index has the same order.
    by: &'static [&'static str],
    cursor: CursorKind,
    columns: &'static str,
}

/// What a cursor consists of.
#[derive(Clone, Copy)]
enum CursorKind {
    Number,
    Id,
    IdAndNumber,
    Numbers,
    NumberAndId,
}

impl CursorKind {
    /// The cursor before every row.
    fn first(self) -> Cursor {
        let (number, id) = (Part::Number(i64::MIN), Part::Id(Vec::new()));
        Cursor(match self {
            Self::Number => vec![number],
            Self::Numbers => vec![number.clone(), number],
            Self::Id => vec![id],
            Self::IdAndNumber => vec![id, number],
            Self::NumberAndId => vec![number, id],
        })
    }
}

/// Behind which row a page begins.
struct Cursor(Vec<Part>);

#[derive(Clone)]
enum Part {
    Number(i64),
    Id(Vec<u8>),
}

impl Part {
    fn sql(self) -> rusqlite::types::Value {
        match self {
            Self::Number(number) => number.into(),
            Self::Id(bytes) => bytes.into(),
        }
    }

    fn of(row: &Row<'_>, column: usize) -> rusqlite::Result<Self> {
        Ok(match row.get_ref(column)? {
            ValueRef::Integer(number) => Self::Number(number),
            other => Self::Id(other.as_blob()?.to_vec()),
        })
    }

    fn write(&self, to: &mut Vec<u8>) {
        let (kind, bytes): (u8, Vec<u8>) = match self {
            Self::Number(number) => (0, number.to_be_bytes().to_vec()),
            Self::Id(bytes) => (1, bytes.clone()),
        };
        to.push(kind);
        to.push(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
        to.extend(bytes);
    }

    fn read(from: &[u8]) -> Option<(Self, &[u8])> {
        let [kind, length, rest @ ..] = from else { return None };
        let (bytes, rest) = rest.split_at_checked(usize::from(*length))?;
        let part = match kind {
            0 => Self::Number(i64::from_be_bytes(bytes.try_into().ok()?)),
            1 => Self::Id(bytes.to_vec()),
            _ => return None,
        };
        Some((part, rest))
    }
}

impl Cursor {
    fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.0.iter().for_each(|part| part.write(&mut bytes));
        bytes
    }

    fn read(mut bytes: &[u8]) -> Option<Self> {
        let mut parts = Vec::new();
        while !bytes.is_empty() {
            let (part, rest) = Part::read(bytes)?;
            parts.push(part);
            bytes = rest;
        }
        Some(Self(parts))
    }
}

fn value(row: &Row<'_>, column: usize, kind: Kind) -> rusqlite::Result<Value> {
    if row.get_ref(column)? == ValueRef::Null {
        return Ok(Value::Null);
    }
    Ok(match kind {
        Kind::Bool => Value::Bool(row.get(column)?),
        Kind::Int2 | Kind::Int4 | Kind::Int8 => Value::Int(row.get(column)?),
        Kind::Uuid => Value::Uuid(Uuid::from_bytes(row.get(column)?)),
        // PostgreSQL has no text with a NUL in it.
        Kind::Text => Value::Text(row.get::<_, String>(column)?.replace('\0', "\u{fffd}")),
        Kind::Bytes => Value::Bytes(row.get_ref(column)?.as_blob()?.to_vec()),
    })
}

/// The columns of a run, in the order of the tables that are common to stores.
macro_rules! run_columns {
    () => {
        "id, workflow, state, CASE WHEN owner IS NOT NULL THEN (SELECT id FROM store) END, due_at, epoch, sequence,
         control, messages, steps, created_at, updated_at, deadline, ended_at, wake_at, ending_as, reason, error_code,
         error_message, cancel_requested, schedule, nominal, tick_origin, tick_of, parent, awaits, paused_at,
         pause_reason, pause_stops_clock, pinned"
    };
}

/// Where a table of the common ones is in this kind of store.
fn read_of(table: &Table) -> Result<Read, StoreError> {
    let by_row = |from, columns| Read { from, only: "true", by: &["rowid"], cursor: CursorKind::Number, columns };
    let by_id = |from, only, columns| Read { from, only, by: &["id"], cursor: CursorKind::Id, columns };
    let by_two = |from, by, cursor, columns| Read { from, only: "true", by, cursor, columns };
    Ok(match table.name {
        "workflows" => by_row("workflows", "id, name, version"),
        "live" => by_id("runs", "state < 100", run_columns!()),
        "ended" => by_id("runs", "state >= 100", run_columns!()),
        "restored_runs" => by_id(
            "runs",
            "(copied_at IS NOT NULL OR set_back_before IS NOT NULL)",
            "id, copied_at, set_back_before, set_back_by, set_back_to",
        ),
        "journal" => by_row("journal", "run, sequence, epoch, entry"),
        "inbox" => by_two("inbox", &["run", "number"], CursorKind::IdAndNumber, "run, number, name, payload, received_at"),
        "requests" => by_row("requests", "id, method, hash, run, outcome, created_at"),
        "audit" => by_row(
            "audit",
            "number, at, caller, action, detail, reason, run,
             coalesce((SELECT name FROM workflows WHERE workflows.id = audit.workflow), ''), request, schedule,
             said, refusals, minute",
        ),
        "removed_runs" => by_row(
            "removed_runs",
            "id, workflow, state, created_at, updated_at, ended_at, deadline, epoch, sequence, control, steps, parent,
             removed_at",
        ),
        "schedules" => by_row(
            "schedules",
            "uid, name, source, workflow, definition, generation, created_at, updated_at, high_water, ahead, paused_at,
             paused_by, pause_note, retired_at, rows, started, missed, last_missed, consecutive_skips,
             consecutive_failures, last_run, last_nominal, lateness, last_success, last_success_nominal, buffered,
             problem, dropped",
        ),
        "ticks" => by_two("ticks", &["schedule", "number"], CursorKind::Numbers, "(SELECT uid FROM schedules WHERE schedules.id = ticks.schedule), number, first, last, count,
                      outcome, reason, origin, of, run, at"),
        "schedule_runs" => by_two("schedule_runs", &["schedule", "run"], CursorKind::NumberAndId, "(SELECT uid FROM schedules WHERE schedules.id = schedule_runs.schedule), run, nominal, backfill,
                      behind"),
        "backfills" => by_id(
            "backfills",
            "true",
            "id, coalesce((SELECT uid FROM schedules WHERE schedules.id = backfills.schedule), zeroblob(16)), from_time,
             until_time, at_once, per_minute, total, created_at, cursor, started, passed, ended_at, cancelled, last_start,
             definition",
        ),
        "removed_schedules" => by_row(
            "removed_schedules",
            "uid, name, source, definition, generation, created_at, updated_at, high_water, removed_at",
        ),
        other => return Err(StoreError::Unusable(format!("table {other} is not known to a SQLite store"))),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::store::copying::{TABLES, Tally};
    use crate::store::sqlite::{Sqlite, SqliteOptions};

    fn store(path: &Path, adopt: bool) -> Result<Sqlite, StoreError> {
        Sqlite::open(path, SqliteOptions { adopt, ..SqliteOptions::default() }, Clock::system())
    }

    #[test]
    fn a_fenced_store_is_refused_says_where_its_runs_are_and_can_be_adopted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        drop(store(&path, false).unwrap());
        let source = Source::take(&path).unwrap();
        assert_eq!(source.fence(), None);
        let beside = store(&path, false).map(drop).unwrap_err().to_string();
        assert!(beside.contains("another process"), "{beside}");
        let fenced = source.fence_off("database guras", &Clock::system()).unwrap();
        let origin = fenced.origin().clone();
        drop(fenced);
        let refused = store(&path, false).map(drop).unwrap_err().to_string();
        assert!(refused.contains("moved it to database guras") && refused.contains("--adopt"), "{refused}");

        let again = Source::take(&path).unwrap();
        assert_eq!((again.store(), again.fence()), (origin.store, Some(origin.fence)));
        assert_eq!(*again.fence_off("another", &Clock::system()).unwrap().origin(), origin);

        drop(store(&path, true).unwrap());
        drop(store(&path, false).unwrap());
        assert_eq!(Source::take(&path).unwrap().fence(), None);
    }

    #[test]
    fn a_file_that_is_missing_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        assert!(Source::take(&path).is_err());
        assert!(!path.exists());
    }

    /// Columns that are not copied: they mean something in this file only.
    const LEFT_OUT: &[&str] = &["runs.owner", "schedules.id"];

    #[test]
    fn every_column_of_every_table_is_copied() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        drop(store(&path, false).unwrap());
        let fenced = Source::take(&path).unwrap().fence_off("database", &Clock::system()).unwrap();
        let mut statement = fenced
            .connection
            .prepare(
                "SELECT tables.name, columns.name FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns
                 WHERE tables.type = 'table' AND tables.name NOT IN ('store', 'schedules_of_intervals')
                   AND tables.name NOT LIKE 'sqlite%'",
            )
            .unwrap();
        let columns: BTreeSet<(String, String)> =
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect();
        assert!(columns.len() > 100, "{columns:?}");
        let missing: Vec<String> = columns
            .iter()
            .filter(|(of, column)| {
                let reads = TABLES.iter().map(|table| read_of(table).unwrap()).filter(|read| read.from == of.as_str());
                let words =
                    reads.flat_map(|read| read.columns.split(|char: char| !(char.is_alphanumeric() || char == '_')));
                !words.into_iter().any(|word| word == column)
            })
            .map(|(table, column)| format!("{table}.{column}"))
            .filter(|name| !LEFT_OUT.contains(&name.as_str()))
            .collect();
        assert_eq!(missing, Vec::<String>::new());
    }

    #[test]
    fn pages_have_every_row_once_and_none_is_longer_than_its_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        drop(store(&path, false).unwrap());
        {
            let files = StoreFiles::take(&path).unwrap();
            let writer = files.writer(true).unwrap();
            let insert = "INSERT INTO journal (run, sequence, epoch, entry) VALUES (?1, ?2, 1, ?3)";
            let (small, large) = (vec![1_u8; 10], vec![2_u8; PAGE_BYTES / 2 + 1]);
            for number in 0..2_500_i64 {
                writer.execute(insert, params![[7_u8; 16], number, small]).unwrap();
            }
            for number in 0..5_i64 {
                writer.execute(insert, params![[8_u8; 16], number, large]).unwrap();
                let inbox = "INSERT INTO inbox (run, number, name, payload, received_at) VALUES (?1, ?2, ?3, x'', 5)";
                writer.execute(inbox, params![[7_u8; 16], number, "a\0b"]).unwrap();
            }
        }
        let fenced = Source::take(&path).unwrap().fence_off("database", &Clock::system()).unwrap();
        for (name, all, pages) in [("journal", 2_505, 5), ("inbox", 5, 1), ("runs", 0, 1)] {
            let Some(table) = TABLES.iter().find(|table| table.name == name) else { continue };
            assert_eq!(fenced.count(table).unwrap(), all);
            let (mut cursor, mut tally, mut read) = (Vec::new(), Tally::default(), 0);
            loop {
                let page = fenced.page(table, &cursor).unwrap();
                page.rows.iter().for_each(|row| tally.add(row));
                assert!(page.rows.len() <= PAGE_ROWS as usize);
                assert!(page.rows.iter().flatten().all(|value| *value != Value::Text("a\0b".to_owned())));
                read += 1;
                if page.last {
                    break;
                }
                cursor = page.cursor;
            }
            assert_eq!((tally.rows, read), (all, pages), "{name}");
        }
    }
}
