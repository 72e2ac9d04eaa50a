//! Creating runs and appending to them: the path that every step of every run takes.

use std::borrow::Cow;
use std::collections::HashSet;

use engine::state::State;
use engine::store::{Append, Appended, Created, NewRun, Status, StoreError};
use engine::time::Timestamp;
use uuid::Uuid;

use crate::session::{Fault, Session, params};
use crate::{audit, inbox, requests, rows};

mod appending;
mod creating;
mod related_runs;

use appending::{end_all, move_all};
pub(crate) use creating::create_all;
pub(crate) use related_runs::carry;

/// What many runs have to write, in the order of their answers.
#[derive(Default)]
#[expect(clippy::vec_box, reason = "they come in boxes, and move as they are")]
pub(crate) struct Writes {
    pub(crate) creates: Vec<Box<NewRun>>,
    /// Appends that keep their runs among the living,
    pub(crate) moves: Vec<Box<Append>>,
    /// and those that end them.
    pub(crate) ends: Vec<Box<Append>>,
}

/// Writes what can be written, in one transaction: a statement for each kind, all sent before the first is answered. Answers with
/// the ids of the runs that were found as they have to be.
pub(crate) async fn write_all(session: &Session<'_>, writes: &Writes) -> Result<HashSet<Uuid>, Fault> {
    let Writes { creates, moves, ends } = writes;
    let kinds = [creates.is_empty(), moves.is_empty(), ends.is_empty()].iter().filter(|empty| !**empty).count();
    let create = async { if creates.is_empty() { Ok(Vec::new()) } else { create_all(session, creates).await } };
    let keep = async { if moves.is_empty() { Ok(Vec::new()) } else { move_all(session, moves).await } };
    let end = async { if ends.is_empty() { Ok(Vec::new()) } else { end_all(session, ends).await } };
    let (created, moved, ended) =
        if kinds > 1 { session.together(create, keep, end).await? } else { (create.await?, keep.await?, end.await?) };
    Ok(created.into_iter().chain(moved).chain(ended).collect())
}

/// Creates a run, in a transaction of its own.
pub(crate) async fn create(session: &Session<'_>, run: &NewRun) -> Result<Created, Fault> {
    if let Some(change) = &run.change
        && let Some(existing) = requests::answer(session, change).await?
    {
        return Ok(Created::Existing(Box::new(existing)));
    }
    if !insert(session, run).await? {
        let state = rows::get(session, run.id).await?.status.state;
        return Err(StoreError::Precondition { run: run.id, state }.into());
    }
    if let Some(change) = &run.change {
        audit::keep(session, change, run.id, &run.workflow).await?;
    }
    Ok(Created::New)
}

/// Writes a run and its first facts, unless its id is taken.
pub(crate) async fn insert(session: &Session<'_>, run: &NewRun) -> Result<bool, Fault> {
    let without = NewRun { change: None, ..run.clone() };
    if create_all(session, &[&without]).await?.is_empty() {
        return if exists(session, run.id).await? { Ok(false) } else { Err(no_lease()) };
    }
    if run.parent.is_some() || run.origin.is_some() {
        inherit(session, run).await?;
    }
    if run.status.state.is_end() {
        session.execute(END, params![run.id, session.now.as_micros()]).await?;
    }
    Ok(true)
}

/// A run that is made now in a copy may have been made by the original too: as the child of one that it had, or by a tick of the
/// time that the copy does not know.
async fn inherit(session: &Session<'_>, run: &NewRun) -> Result<(), Fault> {
    session
        .execute(
            "WITH known AS (
                 SELECT copied_at FROM restored_runs WHERE run = $2 AND copied_at IS NOT NULL
                 UNION ALL SELECT copied_at FROM store WHERE adopted_at >= $3)
             INSERT INTO restored_runs (run, copied_at)
             SELECT $1, min(copied_at) FROM known HAVING min(copied_at) IS NOT NULL ON CONFLICT DO NOTHING",
            params![
                run.id,
                run.parent.as_ref().map(|parent| parent.run),
                run.origin.as_ref().map(|origin| origin.nominal.as_micros())
            ],
        )
        .await
        .map(drop)
}

/// Moves a run that has come to its end out of the table of those that continue.
const END: &str = "WITH gone AS (DELETE FROM live WHERE id = $1 RETURNING *)
 INSERT INTO ended (id, workflow, bucket, state, owner, rung_at, due_at, epoch, sequence, control, messages, steps,
                    created_at, updated_at, deadline, ended_at, wake_at, ending_as, reason, error_code, error_message,
                    cancel_requested, schedule, nominal, tick_origin, tick_of, parent, awaits, paused_at, pause_reason,
                    pause_stops_clock, pinned)
 SELECT id, workflow, bucket, state, NULL, rung_at, NULL, epoch, sequence, control, messages, steps,
        created_at, updated_at, deadline, $2, NULL, ending_as, reason, error_code, error_message,
        cancel_requested, schedule, nominal, tick_origin, tick_of, parent, awaits, paused_at, pause_reason,
        pause_stops_clock, pinned FROM gone";

/// The same for the whole row as it is; the caller has written what it says of the end.
pub(crate) async fn end(session: &Session<'_>, run: Uuid) -> Result<(), Fault> {
    session.execute(END, params![run, session.now.as_micros()]).await.map(drop)
}

/// The other way: an ended run that is taken up again.
pub(crate) async fn reopen(session: &Session<'_>, run: Uuid) -> Result<(), Fault> {
    session
        .execute(
            "WITH back AS (DELETE FROM ended WHERE id = $1 RETURNING *)
             INSERT INTO live (id, workflow, bucket, state, owner, rung_at, due_at, epoch, sequence, control, messages,
                               steps, created_at, updated_at, deadline, ended_at, wake_at, ending_as, reason,
                               error_code, error_message, cancel_requested, schedule, nominal, tick_origin, tick_of,
                               parent, awaits, paused_at, pause_reason, pause_stops_clock, pinned)
             SELECT id, workflow, bucket, state, NULL, rung_at, NULL, epoch, sequence, control, messages,
                    steps, created_at, updated_at, deadline, NULL, wake_at, ending_as, reason,
                    error_code, error_message, cancel_requested, schedule, nominal, tick_origin, tick_of,
                    parent, awaits, paused_at, pause_reason, pause_stops_clock, pinned FROM back",
            params![run],
        )
        .await
        .map(drop)
}

fn no_lease() -> Fault {
    StoreError::Unavailable("the lease of this replica is over".to_owned()).into()
}

pub(crate) async fn exists(session: &Session<'_>, run: Uuid) -> Result<bool, Fault> {
    let found = session
        .row("SELECT 1 FROM live WHERE id = $1 UNION ALL SELECT 1 FROM ended WHERE id = $1", params![run])
        .await?;
    Ok(found.is_some())
}

/// Appends to a run, in a transaction of its own, with what the append does beside.
pub(crate) async fn append(session: &Session<'_>, append: &Append) -> Result<Appended, Fault> {
    let ends = append.status.state.is_end();
    let done = if ends { end_all(session, &[append]).await? } else { move_all(session, &[append]).await? };
    if done.is_empty() {
        return why_not(session, append).await;
    }
    inbox::take(session, append).await?;
    carry(session, append.related_runs.as_deref()).await?;
    if !append.changes.is_empty() {
        let workflow = rows::get(session, append.run).await?.workflow;
        for change in &append.changes {
            audit::keep_again(session, change, append.run, &workflow).await?;
        }
    }
    Ok(Appended::Done)
}

/// Whether an append does nothing beside, so that it can share a statement with others.
pub(crate) fn is_plain(append: &Append) -> bool {
    append.takes.is_empty() && append.related_runs.is_none() && append.changes.is_empty()
}

/// Says why an append did not find its run the way its owner knows it.
pub(crate) async fn why_not(session: &Session<'_>, append: &Append) -> Result<Appended, Fault> {
    let row = rows::get(session, append.run).await?;
    let commanded = append.control.is_some_and(|seen| seen != row.control)
        || append.messages.is_some_and(|seen| seen != row.messages);
    let found =
        session.row("SELECT 1 FROM live WHERE id = $1 AND owner = $2", params![append.run, session.owner]).await?;
    if found.is_some() && row.epoch == append.epoch && row.sequence == append.sequence && commanded {
        return Ok(Appended::Superseded(Box::new(row)));
    }
    Err(StoreError::Fenced(append.run).into())
}

/// When a run that no replica holds may be claimed: a pending one `since` then, others when they wake.
pub(crate) fn due(status: &Status, since: Timestamp) -> Option<Timestamp> {
    match status.state {
        State::Pending => Some(since),
        state if state.is_end() => None,
        _ => status.wake_at,
    }
}

pub(crate) fn error(status: &Status) -> (Option<i32>, Option<Cow<'_, str>>) {
    status.error.as_ref().map(|(code, message)| (*code, rows::text(message))).unzip()
}
