//! A run's row, from SQL to the engine's types and back.

use std::borrow::Cow;
use std::time::Duration;

use engine::state::State;
use engine::store::{Origin, Paused, RunRow, SetBack, Status, StoreError, TickOrigin};
use engine::time::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::session::{Fault, Session, params};

/// `SELECT` of whole rows of a table, in the order that [`row`] reads them, with more columns behind them if there are three
/// arguments; the last argument continues behind the tables.
macro_rules! select {
    ($table:literal, $rest:literal) => {
        crate::rows::select!($table, "", $rest)
    };
    ($table:literal, $more:literal, $rest:literal) => {
        concat!(
            "SELECT runs.id, workflows.name, workflows.version, runs.state, runs.reason, runs.ending_as, runs.wake_at,
                    runs.steps, runs.error_code, runs.error_message, runs.created_at, runs.updated_at, runs.ended_at,
                    runs.deadline, runs.schedule, runs.nominal, runs.epoch, runs.sequence, runs.control,
                    runs.cancel_requested, runs.messages, runs.awaits, runs.parent,
                    EXISTS (SELECT 1 FROM leases WHERE leases.id = runs.owner AND leases.dead_at IS NULL),
                    runs.paused_at, runs.pause_reason, runs.pause_stops_clock, runs.pinned, runs.tick_origin,
                    runs.tick_of, restored.copied_at, restored.set_back_before, restored.set_back_by,
                    restored.set_back_to",
            $more,
            " FROM ",
            $table,
            " AS runs JOIN workflows ON workflows.id = runs.workflow
             LEFT JOIN restored_runs AS restored ON restored.run = runs.id ",
            $rest
        )
    };
}
pub(crate) use select;

/// How many columns [`select`] has.
pub(crate) const COLUMNS: usize = 34;

/// The row of a run, if there is one.
pub(crate) async fn find(session: &Session<'_>, id: Uuid) -> Result<Option<RunRow>, Fault> {
    let found = session
        .row(
            concat!(select!("live", "WHERE runs.id = $1"), " UNION ALL ", select!("ended", "WHERE runs.id = $1")),
            params![id],
        )
        .await?;
    found.as_ref().map(row).transpose()
}

/// The row of a run that must be there.
pub(crate) async fn get(session: &Session<'_>, id: Uuid) -> Result<RunRow, Fault> {
    Ok(find(session, id).await?.ok_or(StoreError::NotFound(id))?)
}

/// The row of a run, which nothing else changes until the transaction is over. A run may change tables meanwhile.
pub(crate) async fn lock(session: &Session<'_>, id: Uuid) -> Result<Option<RunRow>, Fault> {
    let live = select!("live", "WHERE runs.id = $1 FOR UPDATE OF runs");
    let ended = select!("ended", "WHERE runs.id = $1 FOR UPDATE OF runs");
    for statement in [live, ended, live] {
        if let Some(found) = session.row(statement, params![id]).await? {
            return row(&found).map(Some);
        }
    }
    Ok(None)
}

/// Reads what [`select`] selects.
pub(crate) fn row(row: &Row) -> Result<RunRow, Fault> {
    let ending_as = row.try_get::<_, Option<i16>>(5)?.map(state).transpose()?;
    let error = match (row.try_get(8)?, row.try_get(9)?) {
        (Some(code), Some(message)) => Some((code, message)),
        _ => None,
    };
    let origin = match (row.try_get(14)?, time(row, 15)?) {
        (Some(schedule), Some(nominal)) => Some(Origin { schedule, nominal, by: tick_origin(row, 28)? }),
        _ => None,
    };
    let is_at = state(row.try_get(3)?)?;
    let paused = match (time(row, 24)?, row.try_get(25)?) {
        // A run that ends is not paused any more; what it appends does not say so, since each append would.
        (Some(at), Some(reason)) if ending_as.is_none() && !is_at.is_end() => {
            Some(Paused { at, reason, stops_clock: row.try_get::<_, Option<bool>>(26)?.unwrap_or_default() })
        }
        _ => None,
    };
    let awaits: Option<&str> = row.try_get(21)?;
    Ok(RunRow {
        id: row.try_get(0)?,
        workflow: row.try_get(1)?,
        workflow_version: small(row, 2)?,
        status: Status {
            state: is_at,
            reason: row.try_get(4)?,
            ending_as,
            wake_at: time(row, 6)?,
            awaits: awaits.map_or_else(Vec::new, |lines| lines.lines().map(str::to_owned).collect()),
            steps: small(row, 7)?,
            error,
        },
        created_at: instant(row, 10)?,
        updated_at: instant(row, 11)?,
        ended_at: time(row, 12)?,
        deadline: instant(row, 13)?,
        origin,
        epoch: count(row, 16)?,
        sequence: count(row, 17)?,
        control: count(row, 18)?,
        cancel_requested: row.try_get(19)?,
        paused,
        pinned: row.try_get(27)?,
        messages: count(row, 20)?,
        parent: row.try_get(22)?,
        owned: row.try_get(23)?,
        copied_at: time(row, 30)?,
        set_back: set_back(row)?,
    })
}

fn set_back(row: &Row) -> Result<Option<SetBack>, Fault> {
    let (before, by, to) = (row.try_get::<_, Option<i64>>(31)?, row.try_get::<_, Option<i64>>(32)?, time(row, 33)?);
    let (Some(before), Some(by), Some(to)) = (before, by, to) else { return Ok(None) };
    let by = Duration::from_micros(by.unsigned_abs());
    Ok(Some(SetBack { before: before.unsigned_abs(), by, to }))
}

pub(crate) fn unknown(what: &str) -> Fault {
    StoreError::Unusable(format!("{what} is not known to this release")).into()
}

pub(crate) fn instant(row: &Row, column: usize) -> Result<Timestamp, Fault> {
    Ok(Timestamp::from_micros(row.try_get(column)?))
}

pub(crate) fn time(row: &Row, column: usize) -> Result<Option<Timestamp>, Fault> {
    Ok(row.try_get::<_, Option<i64>>(column)?.map(Timestamp::from_micros))
}

pub(crate) fn count(row: &Row, column: usize) -> Result<u64, Fault> {
    let stored: i64 = row.try_get(column)?;
    u64::try_from(stored).map_err(|_| unknown(&format!("count {stored}")))
}

/// A count that is stored with 32 bits.
pub(crate) fn small(row: &Row, column: usize) -> Result<u32, Fault> {
    let stored: i32 = row.try_get(column)?;
    u32::try_from(stored).map_err(|_| unknown(&format!("count {stored}")))
}

/// The same with 64 bits.
pub(crate) fn short(row: &Row, column: usize) -> Result<u32, Fault> {
    let stored: i64 = row.try_get(column)?;
    u32::try_from(stored).map_err(|_| unknown(&format!("count {stored}")))
}

pub(crate) fn state(number: i16) -> Result<State, Fault> {
    let known = u8::try_from(number).ok().and_then(State::from_number);
    known.ok_or_else(|| unknown(&format!("state {number}")))
}

/// What a tick comes from, as it is stored; none where that is not known.
pub(crate) fn tick_origin(row: &Row, column: usize) -> Result<Option<TickOrigin>, Fault> {
    let of: Option<Uuid> = row.try_get(column + 1)?;
    Ok(match (row.try_get::<_, Option<i16>>(column)?, of) {
        (None, _) => None,
        (Some(0), _) => Some(TickOrigin::Clock),
        (Some(1), Some(id)) => Some(TickOrigin::Trigger(id)),
        (Some(2), Some(id)) => Some(TickOrigin::Backfill(id)),
        (Some(kind), _) => return Err(unknown(&format!("origin {kind}"))),
    })
}

/// The same as two columns.
pub(crate) fn tick_origin_columns(origin: TickOrigin) -> (i16, Option<Uuid>) {
    let kind = match origin {
        TickOrigin::Clock => 0,
        TickOrigin::Trigger(_) => 1,
        TickOrigin::Backfill(_) => 2,
    };
    (kind, origin.id())
}

/// Names as one text, one a line; none where there are none.
pub(crate) fn lines(names: &[String]) -> Option<String> {
    (!names.is_empty()).then(|| names.join("\n"))
}

/// A count as SQL stores it. One that does not fit is equal to no stored one.
pub(crate) fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The same with 32 bits.
pub(crate) fn small_number(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

pub(crate) fn micros(time: Option<Timestamp>) -> Option<i64> {
    time.map(Timestamp::as_micros)
}

/// Text as the database takes it: it has no NUL, which a message of a service may contain.
pub(crate) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{FFFD}")) } else { Cow::Borrowed(text) }
}

pub(crate) fn of_state(state: State) -> i16 {
    i16::from(state as u8)
}
