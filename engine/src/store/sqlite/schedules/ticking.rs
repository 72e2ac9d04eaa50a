//! Ticks: the mark, the ledger and the run move in one transaction (semantics.md T1).

use rusqlite::params;
use uuid::Uuid;

use super::super::database::Database;
use super::super::job::Fault;
use super::super::{audit, cancels, requests, rows, writes};
use super::ledger::{self, Entry};
use super::{Stored, backfills, by_uid, settling};
use crate::store::support::ticking::{self, Start};
use crate::store::{
    NewRun, PassedTicks, Rewind, RunRow, ScheduleAnswer, Tick, TickDone, TickOrigin, TickOutcome, TickStart, Ticked,
};
use crate::time::Timestamp;

/// What came of a start.
#[derive(Default)]
struct Came {
    outcome: Option<TickOutcome>,
    run: Option<Uuid>,
    held: Option<Box<RunRow>>,
    cancelled: Vec<Uuid>,
}

impl Came {
    fn nothing(outcome: TickOutcome, run: Option<Uuid>) -> Self {
        Self { outcome: Some(outcome), run, ..Self::default() }
    }

    fn started(run: Uuid, held: Option<Box<RunRow>>) -> Self {
        Self { held, ..Self::nothing(TickOutcome::Started, Some(run)) }
    }
}

pub(in super::super) fn tick(db: &mut Database, tick: &Tick) -> Result<Ticked, Fault> {
    if let Some(change) = &tick.change
        && let Some(ScheduleAnswer::Triggered { outcome, run }) = super::answered(&mut db.connection, change)?
    {
        return Ok(Ticked::Existing { outcome, run });
    }
    let Some(mut stored) = by_uid(&db.connection, tick.schedule)? else { return Ok(Ticked::Past) };
    settling::ends(db, &mut stored)?;
    if let Some(stale) = ticking::stale(&stored.row, tick) {
        return Ok(stale);
    }
    if let Some(rewind) = &tick.rewind {
        self::rewind(db, &mut stored, rewind)?;
        return Ok(done(stored, Came::default()));
    }
    if let Some(problem) = &tick.problem {
        stored.row.facts.problem.clone_from(problem);
        stored.save(&db.connection)?;
        return Ok(done(stored, Came::default()));
    }
    if ticking::is_past(&stored.row, tick) {
        return Ok(Ticked::Past);
    }
    for passed in &tick.passed {
        pass(db, &mut stored, tick, passed)?;
    }
    let mut came = Came::default();
    if let Some(start) = &tick.start {
        came = match start.buffered {
            Some(number) => after_waiting(db, &mut stored, tick, start, number)?,
            None => begin(db, &mut stored, tick, start)?,
        };
    }
    if let Some(known) = tick.known {
        advance(db, &mut stored, tick, known, 0, false)?;
    }
    if let (TickOrigin::Backfill(id), None, true) = (tick.origin, &tick.start, tick.passed.is_empty()) {
        backfills::end(&db.connection, id, tick.now)?;
    }
    if let Some(change) = &tick.change {
        let run = came.run.filter(|_| came.outcome == Some(TickOutcome::Started));
        audit::keep_of_schedule(db, change, &stored.row, came.run.unwrap_or_default(), run)?;
        requests::keep_outcome(db, change, came.outcome.map(|outcome| outcome as u8))?;
    }
    stored.save(&db.connection)?;
    Ok(done(stored, came))
}

fn done(stored: Stored, came: Came) -> Ticked {
    let Came { outcome, run, held, cancelled } = came;
    Ticked::Done(Box::new(TickDone { row: stored.row, outcome, run, held, cancelled }))
}

fn pass(db: &Database, stored: &mut Stored, tick: &Tick, passed: &PassedTicks) -> rusqlite::Result<()> {
    let entry = Entry {
        first: passed.first,
        last: passed.last,
        count: passed.count,
        outcome: passed.outcome,
        reason: passed.reason.clone(),
        origin: tick.origin,
        run: None,
        at: tick.now,
    };
    ledger::add(&db.connection, stored, &entry)?;
    advance(db, stored, tick, passed.last, passed.count, false)
}

/// Moves the mark, or that of the backfill.
fn advance(
    db: &Database,
    stored: &mut Stored,
    tick: &Tick,
    nominal: Timestamp,
    count: u64,
    started: bool,
) -> rusqlite::Result<()> {
    match tick.origin {
        TickOrigin::Clock => {
            stored.row.high_water = stored.row.high_water.max(nominal);
            stored.row.ahead.retain(|ahead| *ahead > nominal);
            Ok(())
        }
        TickOrigin::Trigger(_) => Ok(()),
        TickOrigin::Backfill(id) => backfills::advance(&db.connection, id, nominal, count, started.then_some(tick.now)),
    }
}

fn begin(db: &mut Database, stored: &mut Stored, tick: &Tick, start: &TickStart) -> Result<Came, Fault> {
    let exists = tick.origin == TickOrigin::Clock && writes::exists(&db.connection, start.run.id)?;
    let open = settling::open(db, stored, ticking::backfill_of(tick.origin))?;
    let came = match ticking::start(&mut stored.row, tick, start, open, exists) {
        Start::Known => {
            advance(db, stored, tick, start.nominal, 1, false)?;
            return Ok(Came::default());
        }
        Start::Waits => return Ok(Came::default()),
        Start::Nothing { outcome, by } => Came::nothing(outcome, by),
        Start::New => Came::started(start.run.id, create(db, stored, tick, start, false)?),
        Start::Replace => {
            let cancelled = cancel_others(db, stored)?;
            let held = create(db, stored, tick, start, true)?;
            Came { cancelled, ..Came::started(start.run.id, held) }
        }
    };
    let outcome = came.outcome.unwrap_or(TickOutcome::Failed);
    let entry = Entry {
        first: start.nominal,
        last: start.nominal,
        count: 1,
        outcome,
        reason: ticking::reason(&stored.row, start, outcome, !came.cancelled.is_empty()),
        origin: tick.origin,
        run: came.run,
        at: tick.now,
    };
    ledger::add(&db.connection, stored, &entry)?;
    advance(db, stored, tick, start.nominal, 1, came.outcome == Some(TickOutcome::Started))?;
    Ok(came)
}

/// A tick that has waited starts its run, if nothing continues any more.
fn after_waiting(
    db: &mut Database,
    stored: &mut Stored,
    tick: &Tick,
    start: &TickStart,
    number: u64,
) -> Result<Came, Fault> {
    if ledger::waiting(&db.connection, stored.id, number)?.is_none() || settling::open(db, stored, None)? > 0 {
        return Ok(Came::default());
    }
    stored.row.facts.buffered = stored.row.facts.buffered.saturating_sub(1);
    let held = create(db, stored, tick, start, false)?;
    ledger::started(&db.connection, stored.id, number, start.run.id, tick.now, ticking::HAS_WAITED)?;
    Ok(Came::started(start.run.id, held))
}

/// Creates the run of a tick. Answers with it if it is new and this owner's.
fn create(
    db: &mut Database,
    stored: &mut Stored,
    tick: &Tick,
    start: &TickStart,
    behind: bool,
) -> Result<Option<Box<RunRow>>, Fault> {
    let run = start.run.id;
    // One that is there already can only come from this tick: ids derive from uid, nominal time and origin.
    let new = if behind {
        writes::insert(db, &NewRun { claimed: false, ..start.run.clone() })?
    } else {
        writes::insert(db, &start.run)?
    };
    let backfill = ticking::backfill_of(tick.origin).map(Uuid::into_bytes);
    db.connection
        .prepare_cached(
            "INSERT INTO schedule_runs (schedule, run, nominal, backfill, behind) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![stored.id, run.as_bytes(), start.nominal.as_micros(), backfill, behind])?;
    if behind && new {
        settling::hold_back(db, run)?;
    }
    ticking::note_start(&mut stored.row, tick, start);
    let held = new && !behind && start.run.claimed;
    Ok(if held { Some(Box::new(rows::get(&db.connection, run)?)) } else { None })
}

/// Asks the runs that continue to end, as an operator would: one that is paused, blocked or undecided too.
fn cancel_others(db: &mut Database, stored: &Stored) -> Result<Vec<Uuid>, Fault> {
    let open: Vec<Uuid> = db
        .connection
        .prepare_cached(
            "SELECT schedule_runs.run FROM schedule_runs JOIN runs ON runs.id = schedule_runs.run
             WHERE schedule_runs.schedule = ?1 AND schedule_runs.backfill IS NULL AND runs.cancel_requested IS NULL",
        )?
        .query_map([stored.id], |row| rows::uuid(row, 0))?
        .collect::<rusqlite::Result<_>>()?;
    let change = ticking::cancel_others(&stored.row);
    for run in &open {
        cancels::by_schedule(db, *run, &change)?;
    }
    Ok(open)
}

/// The clock was set back: times that were dealt with come again. Those that started a run do not start another.
fn rewind(db: &Database, stored: &mut Stored, rewind: &Rewind) -> rusqlite::Result<()> {
    let started = ledger::started_after(&db.connection, stored.id, rewind.to)?;
    let Some(rewound) = ticking::rewind(&stored.row, rewind, started, stored.dropped) else { return Ok(()) };
    ledger::forget_after(&db.connection, stored, &rewound.rewind)?;
    ticking::note_rewind(&mut stored.row, rewound);
    stored.save(&db.connection)
}
