//! A run's row, from SQL to the engine's types and back.

use rusqlite::types::{ToSqlOutput, Type, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, ToSql};
use uuid::Uuid;

use super::job::Fault;
use crate::state::State;
use crate::store::{Origin, Paused, RunRow, SetBack, Status, TickOrigin, Value};
use crate::time::Timestamp;

/// `SELECT` of whole rows in the order that [`row`] reads them; the argument continues behind the tables.
macro_rules! select_runs {
    ($rest:literal) => {
        concat!(
            "SELECT runs.id, workflows.name, workflows.version, runs.state, runs.reason, runs.ending_as,
                    runs.wake_at, runs.steps, runs.error_code, runs.error_message, runs.created_at,
                    runs.updated_at, runs.ended_at, runs.deadline, runs.schedule, runs.nominal, runs.epoch,
                    runs.sequence, runs.control, runs.cancel_requested, runs.messages, runs.awaits, runs.parent,
                    runs.owner IS (SELECT generation FROM store), runs.paused_at, runs.pause_reason,
                    runs.pause_stops_clock, runs.pinned, runs.copied_at, runs.set_back_before, runs.set_back_by,
                    runs.set_back_to, runs.tick_origin, runs.tick_of
             FROM runs CROSS JOIN workflows ON workflows.id = runs.workflow ",
            $rest
        )
    };
}

/// The row of a run, if there is one.
pub(super) fn find(connection: &Connection, id: Uuid) -> rusqlite::Result<Option<RunRow>> {
    connection.prepare_cached(select_runs!("WHERE runs.id = ?1"))?.query_row([id.as_bytes()], row).optional()
}

/// The row of a run that must be there.
pub(super) fn get(connection: &Connection, id: Uuid) -> Result<RunRow, Fault> {
    Ok(find(connection, id)?.ok_or(crate::store::StoreError::NotFound(id))?)
}

/// Reads what [`select_runs`] selects.
pub(super) fn row(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    let ending_as = row.get::<_, Option<u8>>(5)?.map(|number| state(5, number)).transpose()?;
    let error = match (row.get(8)?, row.get(9)?) {
        (Some(code), Some(message)) => Some((code, message)),
        _ => None,
    };
    let origin = match (row.get(14)?, time(row, 15)?) {
        (Some(schedule), Some(nominal)) => Some(Origin { schedule, nominal, by: tick_origin(row, 32)? }),
        _ => None,
    };
    let is_at = state(3, row.get(3)?)?;
    let paused = match (time(row, 24)?, row.get(25)?) {
        // A run that ends is not paused any more; what it appends does not say so, since each append would.
        (Some(at), Some(reason)) if ending_as.is_none() && !is_at.is_end() => {
            Some(Paused { at, reason, stops_clock: row.get::<_, Option<bool>>(26)?.unwrap_or_default() })
        }
        _ => None,
    };
    let set_back = match (row.get::<_, Option<i64>>(29)?, row.get::<_, Option<i64>>(30)?, time(row, 31)?) {
        (Some(before), Some(by), Some(to)) => Some(SetBack {
            before: u64::try_from(before).unwrap_or_default(),
            by: std::time::Duration::from_micros(u64::try_from(by).unwrap_or_default()),
            to,
        }),
        _ => None,
    };
    Ok(RunRow {
        id: uuid(row, 0)?,
        workflow: row.get(1)?,
        workflow_version: row.get(2)?,
        status: Status {
            state: is_at,
            reason: row.get(4)?,
            ending_as,
            wake_at: time(row, 6)?,
            awaits: names(row, 21)?,
            steps: row.get(7)?,
            error,
        },
        created_at: Timestamp::from_micros(row.get(10)?),
        updated_at: Timestamp::from_micros(row.get(11)?),
        ended_at: time(row, 12)?,
        deadline: Timestamp::from_micros(row.get(13)?),
        origin,
        epoch: count(row, 16)?,
        sequence: count(row, 17)?,
        control: count(row, 18)?,
        cancel_requested: row.get(19)?,
        paused,
        pinned: row.get(27)?,
        messages: count(row, 20)?,
        parent: row.get::<_, Option<[u8; 16]>>(22)?.map(Uuid::from_bytes),
        owned: row.get(23)?,
        copied_at: time(row, 28)?,
        set_back,
    })
}

pub(super) fn uuid(row: &Row<'_>, column: usize) -> rusqlite::Result<Uuid> {
    row.get(column).map(Uuid::from_bytes)
}

pub(super) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_micros))
}

/// Names as one text, one a line; none where there are none.
pub(super) fn lines(names: &[String]) -> Option<String> {
    (!names.is_empty()).then(|| names.join("\n"))
}

fn names(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<String>> {
    let lines = row.get_ref(column)?.as_str_or_null()?;
    Ok(lines.map_or_else(Vec::new, |lines| lines.lines().map(str::to_owned).collect()))
}

/// What a tick comes from, as it is stored; none where that is not known.
pub(super) fn tick_origin(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<TickOrigin>> {
    let of = row.get::<_, Option<[u8; 16]>>(column + 1)?.map(Uuid::from_bytes);
    Ok(match (row.get::<_, Option<u8>>(column)?, of) {
        (None, _) => None,
        (Some(0), _) => Some(TickOrigin::Clock),
        (Some(1), Some(id)) => Some(TickOrigin::Trigger(id)),
        (Some(2), Some(id)) => Some(TickOrigin::Backfill(id)),
        (Some(kind), _) => {
            let why = format!("origin {kind} is not known to this release");
            return Err(rusqlite::Error::FromSqlConversionFailure(column, Type::Integer, why.into()));
        }
    })
}

/// The same as two columns.
pub(super) fn tick_origin_columns(origin: TickOrigin) -> (u8, Option<[u8; 16]>) {
    let kind = match origin {
        TickOrigin::Clock => 0,
        TickOrigin::Trigger(_) => 1,
        TickOrigin::Backfill(_) => 2,
    };
    (kind, origin.id().map(Uuid::into_bytes))
}

pub(super) fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let stored: i64 = row.get(column)?;
    u64::try_from(stored).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, stored))
}

pub(super) fn state(column: usize, number: u8) -> rusqlite::Result<State> {
    State::from_number(number).ok_or_else(|| {
        let why = format!("state {number} is not known to this release");
        rusqlite::Error::FromSqlConversionFailure(column, Type::Integer, why.into())
    })
}

/// A count as SQL stores it. One that does not fit is equal to no stored one.
pub(super) fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(super) fn micros(time: Option<Timestamp>) -> Option<i64> {
    time.map(Timestamp::as_micros)
}

/// A value of a filter, as a parameter.
pub(super) struct Bound<'f>(pub(super) &'f Value);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self.0 {
            Value::Text(text) => text.to_sql(),
            Value::Number(number) => number.to_sql(),
            Value::Id(id) => Ok(ToSqlOutput::Borrowed(ValueRef::Blob(id.as_bytes()))),
            Value::Flag(flag) => flag.to_sql(),
        }
    }
}
