//! Appends to runs, many in one statement: those that keep their runs among the living, and those that end them.

use std::borrow::Borrow;

use engine::store::Append;
use uuid::Uuid;

use super::error;
use crate::rows;
use crate::session::{Fault, Session, now, params};

/// Does those of the appends that find their runs the way their owners know them. Answers with the ids of the runs.
pub(crate) async fn append_all(session: &Session<'_>, appends: &[impl Borrow<Append>]) -> Result<Vec<Uuid>, Fault> {
    let mut done = Vec::with_capacity(appends.len());
    let (ends, moves): (Vec<&Append>, Vec<&Append>) =
        appends.iter().map(Borrow::borrow).partition(|append| append.status.state.is_end());
    if !moves.is_empty() {
        done.extend(move_all(session, &moves).await?);
    }
    if !ends.is_empty() {
        done.extend(end_all(session, &ends).await?);
    }
    Ok(done)
}

async fn move_all(session: &Session<'_>, appends: &[&Append]) -> Result<Vec<Uuid>, Fault> {
    let columns = Columns::of(appends);
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
                       AND live.owner = $1 AND (wish.control IS NULL OR live.control = wish.control)
                       AND (wish.messages IS NULL OR live.messages = wish.messages)
                     RETURNING live.id),
                 written AS (
                     INSERT INTO journal (run, sequence, epoch, entry)
                     SELECT wish.id, wish.next, wish.epoch, wish.entry FROM wish JOIN moved ON moved.id = wish.id
                     WHERE wish.entry IS NOT NULL)
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

async fn end_all(session: &Session<'_>, appends: &[&Append]) -> Result<Vec<Uuid>, Fault> {
    let columns = Columns::of(appends);
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
                       AND live.owner = $1 AND (wish.control IS NULL OR live.control = wish.control)
                       AND (wish.messages IS NULL OR live.messages = wish.messages)
                     RETURNING live.*),
                 kept AS (
                     INSERT INTO ended (id, workflow, bucket, state, owner, rung_at, due_at, epoch, sequence, control,
                                        messages, steps, created_at, updated_at, deadline, ended_at, wake_at, ending_as,
                                        reason, error_code, error_message, cancel_requested, schedule, nominal,
                                        tick_origin, tick_of, parent, awaits, paused_at, pause_reason,
                                        pause_stops_clock, pinned)
                     SELECT gone.id, gone.workflow, gone.bucket, wish.state, NULL, gone.rung_at, NULL, gone.epoch,
                            wish.next, gone.control, gone.messages, wish.steps, gone.created_at, ",
                now!(),
                ", gone.deadline, ",
                now!(),
                ", NULL, wish.ending_as, wish.reason, wish.error_code, wish.error_message,
                            gone.cancel_requested, gone.schedule, gone.nominal, gone.tick_origin, gone.tick_of,
                            gone.parent, wish.awaits, gone.paused_at, gone.pause_reason, gone.pause_stops_clock,
                            gone.pinned
                     FROM gone JOIN wish ON wish.id = gone.id),
                 written AS (
                     INSERT INTO journal (run, sequence, epoch, entry)
                     SELECT wish.id, wish.next, wish.epoch, wish.entry FROM wish JOIN gone ON gone.id = wish.id
                     WHERE wish.entry IS NOT NULL)
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
    reason: Vec<&'a str>,
    error_code: Vec<Option<i32>>,
    error_message: Vec<Option<&'a str>>,
    awaits: Vec<Option<String>>,
    entry: Vec<Option<&'a [u8]>>,
    released: Vec<bool>,
}

impl<'a> Columns<'a> {
    fn of(appends: &[&'a Append]) -> Self {
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
            columns.reason.push(&status.reason);
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
