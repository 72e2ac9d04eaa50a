//! What is asked of a run from outside: one change, with its audit entry and its request id.

use engine::state::State;
use engine::store::{Command, CommandKind, Pause, RunRow, StoreError, UnownedAppend};

use crate::session::{Fault, Session, params};
use crate::{audit, behind, inbox, purges, requests, rows, runs};

pub(crate) async fn command(session: &Session<'_>, command: &Command) -> Result<RunRow, Fault> {
    // The run is locked before the request is looked for: of two of one request the second finds what the first did.
    let row = rows::lock(session, command.run).await?;
    if let Some(row) = requests::answer(session, &command.change).await? {
        return Ok(row);
    }
    let row = row.ok_or(StoreError::NotFound(command.run))?;
    if matches!(command.kind, CommandKind::Delete) {
        if !row.status.state.is_end() {
            return Err(StoreError::Precondition { run: row.id, state: row.status.state }.into());
        }
        audit::keep(session, &command.change, command.run, &row.workflow).await?;
        purges::remove(session, &[command.run]).await?;
        return Ok(row);
    }
    match &command.kind {
        CommandKind::Signal(signal) => inbox::signal(session, command, &row, signal).await?,
        CommandKind::Cancel => cancel(session, command, &row).await?,
        CommandKind::Pause(how) => pause(session, command, &row, *how).await?,
        CommandKind::Resume => resume(session, command, &row).await?,
        CommandKind::Pin(pinned) => pin(session, &row, *pinned).await?,
        CommandKind::Delete => {}
        CommandKind::Append(append) => {
            self::append(session, command, &row, append).await?;
            runs::carry(session, append.related_runs.as_deref()).await?;
        }
    }
    audit::keep(session, &command.change, command.run, &row.workflow).await?;
    rows::get(session, command.run).await
}

/// The same for a run that may have ended since it was seen.
pub(crate) async fn cancel_if_open(session: &Session<'_>, cancel: &Command) -> Result<(), Fault> {
    match command(session, cancel).await {
        Ok(_) | Err(Fault::Refused(StoreError::Precondition { .. } | StoreError::NotFound(_))) => Ok(()),
        Err(fault) => Err(fault),
    }
}

/// Asks a run to end. Who asked first keeps the word. A run whose owner's lease is over is held by no one.
async fn cancel(session: &Session<'_>, command: &Command, row: &RunRow) -> Result<(), Fault> {
    let state = row.status.state;
    if state.is_end() {
        let asked = state == State::Cancelled || row.cancel_requested.is_some();
        return if asked { Ok(()) } else { Err(StoreError::Precondition { run: row.id, state }.into()) };
    }
    session
        .execute(
            "UPDATE live SET cancel_requested = coalesce(cancel_requested, $2), control = control + 1,
                             updated_at = $3, rung_at = $3,
                             wake_at = CASE WHEN $4 THEN wake_at ELSE $5 END,
                             due_at = CASE WHEN $4 THEN NULL ELSE $5 END,
                             owner = CASE WHEN $4 THEN owner END, paused_at = NULL
             WHERE id = $1",
            params![row.id, command.change.asked.reason, session.now.as_micros(), row.owned, command.now.as_micros(),],
        )
        .await
        .map(drop)
}

/// A run that is held stops by itself, and says so once nothing of it is under way.
async fn pause(session: &Session<'_>, command: &Command, row: &RunRow, how: Pause) -> Result<(), Fault> {
    let state = row.status.state;
    if let Some(paused) = &row.paused {
        let goes_on = how.stops_clock && !paused.stops_clock;
        return if goes_on { stop_clock(session, command, row).await } else { Ok(()) };
    }
    if !state.may_become(State::Paused) || row.cancel_requested.is_some() {
        return Err(StoreError::Precondition { run: row.id, state }.into());
    }
    let wake_at = (!how.stops_clock).then_some(how.wake_at);
    let (state, wake_at, due_at) = match row.owned {
        true => (state, row.status.wake_at, None),
        false => (State::Paused, wake_at, wake_at),
    };
    session
        .execute(
            "UPDATE live SET paused_at = $2, pause_reason = $3, pause_stops_clock = $4, control = control + 1,
                             updated_at = $5, rung_at = $5, state = $6, wake_at = $7, due_at = $8,
                             reason = CASE WHEN $9 THEN reason ELSE '' END, owner = CASE WHEN $9 THEN owner END
             WHERE id = $1",
            params![
                row.id,
                command.now.as_micros(),
                command.change.asked.reason,
                how.stops_clock,
                session.now.as_micros(),
                rows::of_state(state),
                rows::micros(wake_at),
                rows::micros(due_at),
                row.owned,
            ],
        )
        .await
        .map(drop)
}

/// A pause of a run that is paused, and whose clock goes: it stands from now on (semantics.md S3).
async fn stop_clock(session: &Session<'_>, command: &Command, row: &RunRow) -> Result<(), Fault> {
    session
        .execute(
            "UPDATE live SET paused_at = $2, pause_stops_clock = true, control = control + 1, updated_at = $3,
                             rung_at = $3,
                             wake_at = CASE WHEN $4 THEN wake_at END, due_at = CASE WHEN $4 THEN due_at END
             WHERE id = $1",
            params![row.id, command.now.as_micros(), session.now.as_micros(), row.owned],
        )
        .await
        .map(drop)
}

async fn resume(session: &Session<'_>, command: &Command, row: &RunRow) -> Result<(), Fault> {
    let state = row.status.state;
    let Some(paused) = row.paused.as_ref().filter(|_| !state.is_end()) else {
        return Err(StoreError::Precondition { run: row.id, state }.into());
    };
    let stood = if paused.stops_clock { command.now.since(paused.at) } else { std::time::Duration::ZERO };
    // A run that is held hears of it when it is given back.
    let due = (!row.owned).then_some(command.now.as_micros());
    session
        .execute(
            "UPDATE live SET paused_at = NULL, control = control + 1, updated_at = $2, rung_at = $2, deadline = $3,
                             state = CASE WHEN $4::int8 IS NULL THEN state ELSE $5 END,
                             wake_at = coalesce($4, wake_at), due_at = $4,
                             owner = CASE WHEN $4::int8 IS NULL THEN owner END
             WHERE id = $1",
            params![
                row.id,
                session.now.as_micros(),
                row.deadline.after(stood).as_micros(),
                due,
                rows::of_state(State::Pending),
            ],
        )
        .await?;
    behind::resumed(session, row).await
}

async fn pin(session: &Session<'_>, row: &RunRow, pinned: bool) -> Result<(), Fault> {
    for statement in [
        "UPDATE live SET pinned = $2, updated_at = $3 WHERE id = $1",
        "UPDATE ended SET pinned = $2, updated_at = $3 WHERE id = $1",
    ] {
        session.execute(statement, params![row.id, pinned, session.now.as_micros()]).await?;
    }
    Ok(())
}

/// Appends what an operator decided, if the run is still as the operator saw it (semantics.md O2).
async fn append(session: &Session<'_>, command: &Command, row: &RunRow, append: &UnownedAppend) -> Result<(), Fault> {
    let (from, status) = (row.status.state, &append.status);
    // Before its state is looked at: what was claimed or changed since it was read is looked at again.
    if row.owned || (row.epoch, row.sequence, row.control) != (append.epoch, append.sequence, append.control) {
        return Err(StoreError::Fenced(row.id).into());
    }
    if !from.may_become(status.state) {
        return Err(StoreError::Precondition { run: row.id, state: from }.into());
    }
    let end = status.state.is_end();
    // A run that is taken up again after its end is no longer asked to end. One that was only stopped still is: the cancel
    // was acknowledged, and may be on its way.
    let taken_up = from.is_end();
    if taken_up {
        runs::reopen(session, row.id).await?;
    }
    let sequence = rows::number(append.sequence.saturating_add(append.facts));
    let (error_code, error_message) = runs::error(status);
    session
        .execute(
            "UPDATE live SET state = $2, reason = $3, ending_as = $4, wake_at = $5, due_at = $6, steps = $7,
                             error_code = $8, error_message = $9, deadline = $10, sequence = $11,
                             cancel_requested = CASE WHEN $12 THEN NULL ELSE cancel_requested END,
                             paused_at = CASE WHEN $14 THEN paused_at END,
                             owner = NULL, control = control + 1, updated_at = $13, rung_at = $13,
                             recall = NULL, recalled_until = NULL
             WHERE id = $1",
            params![
                row.id,
                rows::of_state(status.state),
                status.reason,
                status.ending_as.map(rows::of_state),
                rows::micros(status.wake_at),
                rows::micros(runs::due(status, command.now)),
                rows::small_number(status.steps),
                error_code,
                error_message,
                append.deadline.as_micros(),
                sequence,
                taken_up && !end && status.ending_as.is_none(),
                session.now.as_micros(),
                append.keeps_pause,
            ],
        )
        .await?;
    if append.facts > 0 {
        session
            .execute(
                "INSERT INTO journal (run, sequence, epoch, entry) VALUES ($1, $2, $3, $4)",
                params![row.id, sequence, rows::number(append.epoch), &append.entry[..]],
            )
            .await?;
    }
    if end { runs::end(session, row.id).await } else { Ok(()) }
}
