//! New runs, many in one statement: each with its first facts, and with its request and its audit entry if it has one.

use std::borrow::{Borrow, Cow};

use engine::store::{AuditedChange, NewRun};
use uuid::Uuid;

use super::{due, error};
use crate::migrations::BUCKETS;
use crate::session::{Fault, Session, now, params};
use crate::{rows, workflows};

/// Creates those of the runs whose ids are free, and that this replica may hold if they are to be held. Answers with their ids.
///
/// Requests and audit entries are written with them. A request that was made before fails the statement, and with it all of
/// them; so does a run that is created twice at the same moment with another request.
pub(crate) async fn create_all(session: &Session<'_>, runs: &[impl Borrow<NewRun>]) -> Result<Vec<Uuid>, Fault> {
    let mut columns = NewColumns::default();
    for run in runs {
        columns.push(session, run.borrow())?;
    }
    let NewColumns { numbers, times, texts, ids, entries, requests, .. } = &columns;
    let made = session
        .rows(
            concat!(
                "WITH wish AS (
                     SELECT * FROM unnest($2::uuid[], $3::int4[], $4::int2[], $5::int2[], $6::bool[], $7::int8[],
                                          $8::int8[], $9::int4[], $10::int8[], $11::int8[], $12::int8[], $13::int2[],
                                          $14::text[], $15::int4[], $16::text[], $17::text[], $18::int8[],
                                          $19::uuid[], $20::text[], $21::int2[], $22::uuid[], $23::bytea[])
                         AS wish (id, workflow, bucket, state, held, due_at, sequence, steps, created_at, deadline,
                                  wake_at, ending_as, reason, error_code, error_message, schedule, nominal, parent,
                                  awaits, tick_origin, tick_of, entry)),
                 made AS (
                     INSERT INTO live (id, workflow, bucket, state, owner, rung_at, due_at, epoch, sequence, control,
                                       messages, steps, created_at, updated_at, deadline, wake_at, ending_as, reason,
                                       error_code, error_message, schedule, nominal, parent, awaits, tick_origin,
                                       tick_of, pinned)
                     SELECT wish.id, wish.workflow, wish.bucket, wish.state, CASE WHEN wish.held THEN $1 END, 0,
                            wish.due_at, CASE WHEN wish.held THEN 1 ELSE 0 END, wish.sequence, 0, 0, wish.steps,
                            wish.created_at, ",
                now!(),
                ", wish.deadline, wish.wake_at, wish.ending_as, wish.reason, wish.error_code, wish.error_message,
                            wish.schedule, wish.nominal, wish.parent, wish.awaits, wish.tick_origin, wish.tick_of, false
                     FROM wish
                     WHERE NOT EXISTS (SELECT 1 FROM ended WHERE ended.id = wish.id)
                       AND (NOT wish.held
                            OR EXISTS (SELECT 1 FROM leases WHERE leases.id = $1 AND leases.dead_at IS NULL))
                     ON CONFLICT (id) DO NOTHING
                     RETURNING id, epoch),
                 written AS (
                     INSERT INTO journal (run, sequence, epoch, entry)
                     SELECT wish.id, wish.sequence, made.epoch, wish.entry FROM wish JOIN made ON made.id = wish.id),
                 change AS (
                     SELECT * FROM unnest($24::uuid[], $25::text[], $26::text[], $27::text[], $28::text[], $29::text[],
                                          $30::text[], $31::uuid[], $32::bytea[], $33::int8[], $34::text[])
                         AS change (run, workflow, caller, action, detail, reason, schedule, request, hash, entry,
                                    said)),
                 asked AS (
                     INSERT INTO requests (id, method, hash, of, created_at)
                     SELECT change.request, change.action, change.hash, made.id, ",
                now!(),
                "    FROM change JOIN made ON made.id = change.run WHERE change.request IS NOT NULL),
                 audited AS (
                     INSERT INTO audit (number, at, caller, action, detail, reason, run, workflow, request, schedule,
                                        said)
                     SELECT ",
                now!(),
                " * 1024 + change.entry, ",
                now!(),
                ", change.caller, change.action, change.detail, change.reason, made.id, change.workflow,
                            change.request, change.schedule, change.said
                     FROM change JOIN made ON made.id = change.run)
                 SELECT id FROM made"
            ),
            params![
                session.owner,
                ids.id,
                numbers.workflow,
                numbers.bucket,
                numbers.state,
                columns.held,
                times.due_at,
                numbers.sequence,
                numbers.steps,
                times.created_at,
                times.deadline,
                times.wake_at,
                numbers.ending_as,
                texts.reason,
                numbers.error_code,
                texts.error_message,
                texts.schedule,
                times.nominal,
                ids.parent,
                texts.awaits,
                numbers.tick_origin,
                ids.tick_of,
                entries,
                requests.run,
                requests.workflow,
                requests.caller,
                requests.action,
                requests.detail,
                requests.reason,
                requests.schedule,
                requests.request,
                requests.hash,
                requests.entry,
                requests.said,
            ],
        )
        .await?;
    made.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// New runs, column by column.
#[derive(Default)]
struct NewColumns<'r> {
    ids: Ids,
    numbers: Numbers,
    times: Times,
    texts: Texts<'r>,
    held: Vec<bool>,
    entries: Vec<&'r [u8]>,
    requests: Requests<'r>,
}

#[derive(Default)]
struct Ids {
    id: Vec<Uuid>,
    parent: Vec<Option<Uuid>>,
    tick_of: Vec<Option<Uuid>>,
}

#[derive(Default)]
struct Numbers {
    workflow: Vec<i32>,
    bucket: Vec<i16>,
    state: Vec<i16>,
    sequence: Vec<i64>,
    steps: Vec<i32>,
    ending_as: Vec<Option<i16>>,
    error_code: Vec<Option<i32>>,
    tick_origin: Vec<Option<i16>>,
}

#[derive(Default)]
struct Times {
    due_at: Vec<Option<i64>>,
    created_at: Vec<i64>,
    deadline: Vec<i64>,
    wake_at: Vec<Option<i64>>,
    nominal: Vec<Option<i64>>,
}

#[derive(Default)]
struct Texts<'r> {
    reason: Vec<Cow<'r, str>>,
    error_message: Vec<Option<Cow<'r, str>>>,
    schedule: Vec<Option<&'r str>>,
    awaits: Vec<Option<String>>,
}

#[derive(Default)]
struct Requests<'r> {
    run: Vec<Uuid>,
    workflow: Vec<&'r str>,
    caller: Vec<Cow<'r, str>>,
    said: Vec<Cow<'r, str>>,
    action: Vec<&'r str>,
    detail: Vec<Cow<'r, str>>,
    reason: Vec<Cow<'r, str>>,
    schedule: Vec<Option<&'r str>>,
    request: Vec<Option<Uuid>>,
    hash: Vec<Option<&'r [u8]>>,
    entry: Vec<i64>,
}

impl<'r> NewColumns<'r> {
    fn push(&mut self, session: &Session<'_>, run: &'r NewRun) -> Result<(), Fault> {
        let status = &run.status;
        let end = status.state.is_end();
        let held = run.claimed && !end;
        let (error_code, error_message) = error(status);
        let by = run.origin.as_ref().and_then(|origin| origin.by).map(rows::tick_origin_columns);
        self.ids.id.push(run.id);
        self.ids.parent.push(run.parent.map(|parent| parent.run));
        self.ids.tick_of.push(by.and_then(|(_, of)| of));
        self.numbers.workflow.push(workflows::number(session, &run.workflow, run.workflow_version)?);
        self.numbers.bucket.push(bucket(session, run.id));
        self.numbers.state.push(rows::of_state(status.state));
        self.numbers.sequence.push(rows::number(run.facts));
        self.numbers.steps.push(rows::small_number(status.steps));
        self.numbers.ending_as.push(status.ending_as.map(rows::of_state));
        self.numbers.error_code.push(error_code);
        self.numbers.tick_origin.push(by.map(|(kind, _)| kind));
        self.times.due_at.push(rows::micros(if held { None } else { due(status, run.created_at) }));
        self.times.created_at.push(run.created_at.as_micros());
        self.times.deadline.push(run.deadline.as_micros());
        self.times.wake_at.push(rows::micros(if end { None } else { status.wake_at }));
        self.times.nominal.push(run.origin.as_ref().map(|origin| origin.nominal.as_micros()));
        self.texts.reason.push(rows::text(&status.reason));
        self.texts.error_message.push(error_message);
        self.texts.schedule.push(run.origin.as_ref().map(|origin| origin.schedule.as_str()));
        self.texts.awaits.push(rows::lines(&status.awaits));
        self.held.push(held);
        self.entries.push(&run.entry);
        if let Some(change) = &run.change {
            self.requests.push(session, run, change);
        }
        Ok(())
    }
}

impl<'r> Requests<'r> {
    fn push(&mut self, session: &Session<'_>, run: &'r NewRun, change: &'r AuditedChange) {
        self.run.push(run.id);
        self.workflow.push(&run.workflow);
        self.caller.push(rows::text(&change.asked.caller));
        self.said.push(rows::text(&change.asked.said));
        self.action.push(change.action);
        self.detail.push(rows::text(&change.detail));
        self.reason.push(rows::text(&change.asked.reason));
        self.schedule.push(change.schedule.as_deref());
        self.request.push(change.asked.request.as_ref().map(|key| key.id));
        self.hash.push(change.asked.request.as_ref().map(|key| &key.hash[..]));
        self.entry.push(session.next_entry().rem_euclid(1_024));
    }
}

/// The bucket of a new run: one that this replica holds, so that no other looks for it.
fn bucket(session: &Session<'_>, run: Uuid) -> i16 {
    // The last bytes of an id are random.
    let bytes = run.into_bytes();
    let random = usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    match session.buckets.len() {
        0 => i16::try_from(random % usize::from(BUCKETS.unsigned_abs())).unwrap_or_default(),
        held => session.buckets[random % held],
    }
}
