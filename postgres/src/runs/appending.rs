//! Appends to runs, many in one statement: those that keep their runs among the living, and those that end them.

use std::borrow::{Borrow, Cow};

use engine::store::Append;
use uuid::Uuid;

use super::error;
use crate::rows;
use crate::session::{Fault, Session, now, params};

// An owner is compared in a way that no index serves: of a replica's runs, a few are looked for by their ids.

/// Does those of the appends that find their runs the way their owners know them, and that keep them among the living. Answers
/// with the ids of the runs.
pub(crate) async fn move_all(session: &Session<'_>, appends: &[impl Borrow<Append>]) -> Result<Vec<Uuid>, Fault> {
    let columns = Columns::of(appends.iter().map(Borrow::borrow));
    let moved = session
        .rows(
            concat!(
                "WITH wish AS (
                     SELECT * FROM unnest($2::uuid[], $3::int8[], $4::int8[], $5::int8[], $6::int8[], $7::int8[],
                                          $8::int2[], $9::int4[], $10::int8[], $11::int2[], $12::text[], $13::int4[],
                                          $14::text[], $15::text[], $16::bytea[], $17::bool[])
                         AS wish (id, epoch, sequence, next, control, messages, state, steps, wake_at, ending_as,
                                  reason, error_code, error_message, awaits, entry, released)),
                 moved AS (
                     UPDATE live
                     SET sequence = wish.next, updated_at = ",
                now!(),
                ", state = wish.state, steps = wish.steps, wake_at = wish.wake_at,
                         ending_as = wish.ending_as, reason = wish.reason, error_code = wish.error_code,
                         error_message = wish.error_message, awaits = wish.awaits,
                         owner = CASE WHEN wish.released THEN NULL ELSE live.owner END,
                         due_at = CASE WHEN NOT wish.released OR (wish.state <> 1 AND wish.wake_at IS NULL) THEN NULL
                                  ELSE greatest(coalesce(live.recalled_until, 0),
                                                CASE WHEN wish.state = 1 THEN ",
                now!(),
                " ELSE wish.wake_at END) END
                     FROM wish
                     WHERE live.id = wish.id AND live.epoch = wish.epoch AND live.sequence = wish.sequence
                       AND live.owner IS NOT DISTINCT FROM $1
                       AND (wish.control IS NULL OR live.control = wish.control)
                       AND (wish.messages IS NULL OR live.messages = wish.messages)
                     RETURNING live.id, wish.next, wish.epoch, wish.entry),
                 written AS (
                     INSERT INTO journal (run, sequence, epoch, entry)
                     SELECT id, next, epoch, entry FROM moved WHERE entry IS NOT NULL)
                 SELECT id FROM moved"
            ),
            params![
                session.owner,
                columns.id,
                columns.epoch,
                columns.sequence,
                columns.next,
                columns.control,
                columns.messages,
                columns.state,
                columns.steps,
                columns.wake_at,
                columns.ending_as,
                columns.reason,
                columns.error_code,
                columns.error_message,
                columns.awaits,
                columns.entry,
                columns.released,
            ],
        )
        .await?;
    moved.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// The same for appends that end their runs.
pub(crate) async fn end_all(session: &Session<'_>, appends: &[impl Borrow<Append>]) -> Result<Vec<Uuid>, Fault> {
    let columns = Columns::of(appends.iter().map(Borrow::borrow));
    let moved = session
        .rows(
            concat!(
                "WITH wish AS (
                     SELECT * FROM unnest($2::uuid[], $3::int8[], $4::int8[], $5::int8[], $6::int8[], $7::int8[],
                                          $8::int2[], $9::int4[], $10::int2[], $11::text[], $12::int4[],
                                          $13::text[], $14::text[], $15::bytea[])
                         AS wish (id, epoch, sequence, next, control, messages, state, steps, ending_as,
                                  reason, error_code, error_message, awaits, entry)),
                 gone AS (
                     DELETE FROM live USING wish
                     WHERE live.id = wish.id AND live.epoch = wish.epoch AND live.sequence = wish.sequence
                       AND live.owner IS NOT DISTINCT FROM $1
                       AND (wish.control IS NULL OR live.control = wish.control)
                       AND (wish.messages IS NULL OR live.messages = wish.messages)
                     RETURNING live.*, wish.next, wish.epoch AS own_epoch, wish.entry, wish.state AS end_state,
                               wish.steps AS all_steps, wish.ending_as AS end_as, wish.reason AS end_reason,
                               wish.error_code AS code, wish.error_message AS message, wish.awaits AS names),
                 kept AS (
                     INSERT INTO ended (id, workflow, bucket, state, owner, rung_at, due_at, epoch, sequence, control,
                                        messages, steps, created_at, updated_at, deadline, ended_at, wake_at, ending_as,
                                        reason, error_code, error_message, cancel_requested, schedule, nominal,
                                        tick_origin, tick_of, parent, awaits, paused_at, pause_reason,
                                        pause_stops_clock, pinned)
                     SELECT id, workflow, bucket, end_state, NULL, rung_at, NULL, epoch, next, control, messages,
                            all_steps, created_at, ",
                now!(),
                ", deadline, ",
                now!(),
                ", NULL, end_as, end_reason, code, message, cancel_requested, schedule, nominal, tick_origin, tick_of,
                            parent, names, paused_at, pause_reason, pause_stops_clock, pinned
                     FROM gone),
                 written AS (
                     INSERT INTO journal (run, sequence, epoch, entry)
                     SELECT id, next, own_epoch, entry FROM gone WHERE entry IS NOT NULL)
                 SELECT id FROM gone"
            ),
            params![
                session.owner,
                columns.id,
                columns.epoch,
                columns.sequence,
                columns.next,
                columns.control,
                columns.messages,
                columns.state,
                columns.steps,
                columns.ending_as,
                columns.reason,
                columns.error_code,
                columns.error_message,
                columns.awaits,
                columns.entry,
            ],
        )
        .await?;
    moved.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Appends, column by column.
#[derive(Default)]
struct Columns<'a> {
    id: Vec<Uuid>,
    epoch: Vec<i64>,
    sequence: Vec<i64>,
    next: Vec<i64>,
    control: Vec<Option<i64>>,
    messages: Vec<Option<i64>>,
    state: Vec<i16>,
    steps: Vec<i32>,
    wake_at: Vec<Option<i64>>,
    ending_as: Vec<Option<i16>>,
    reason: Vec<Cow<'a, str>>,
    error_code: Vec<Option<i32>>,
    error_message: Vec<Option<Cow<'a, str>>>,
    awaits: Vec<Option<String>>,
    entry: Vec<Option<&'a [u8]>>,
    released: Vec<bool>,
}

impl<'a> Columns<'a> {
    fn of(appends: impl Iterator<Item = &'a Append>) -> Self {
        let mut columns = Self::default();
        for append in appends {
            let status = &append.status;
            let (error_code, error_message) = error(status);
            columns.id.push(append.run);
            columns.epoch.push(rows::number(append.epoch));
            columns.sequence.push(rows::number(append.sequence));
            columns.next.push(rows::number(append.sequence.saturating_add(append.facts)));
            columns.control.push(append.control.map(rows::number));
            columns.messages.push(append.messages.map(rows::number));
            columns.state.push(rows::of_state(status.state));
            columns.steps.push(rows::small_number(status.steps));
            columns.wake_at.push(rows::micros(status.wake_at));
            columns.ending_as.push(status.ending_as.map(rows::of_state));
            columns.reason.push(rows::text(&status.reason));
            columns.error_code.push(error_code);
            columns.error_message.push(error_message);
            columns.awaits.push(rows::lines(&status.awaits));
            let writes = append.facts > 0 || !append.entry.is_empty();
            columns.entry.push(writes.then_some(&append.entry[..]));
            columns.released.push(append.release);
        }
        columns
    }
}
