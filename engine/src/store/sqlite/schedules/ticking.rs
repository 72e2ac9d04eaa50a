//! Ticks: the mark, the ledger and the run move in one transaction (semantics.md T1).

use rusqlite::params;
use uuid::Uuid;

use super::super::database::Database;
use super::super::job::Fault;
use super::super::{audit, cancels, requests, rows, writes};
use super::ledger::{self, Entry};
use super::{Stored, backfills, by_uid, settling};
use crate::schedule::policy::{Verdict, decide};
use crate::store::{
    AuditedChange, NewRun, PassedTicks, Requester, Rewind, RunRow, ScheduleAnswer, Tick, TickDone, TickOrigin,
    TickOutcome, TickStart, Ticked,
};
use crate::time::Timestamp;

/// Nominal times that a set-back clock may leave behind and that are remembered one by one, at most.
const AHEAD: usize = 1_000;

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
    if stored.row.generation != tick.generation || has_other_success(&stored, tick) {
        return Ok(Ticked::Stale(Box::new(stored.row)));
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
    let own = tick.origin == TickOrigin::Clock;
    if own
        && tick.start.as_ref().is_none_or(|start| start.buffered.is_none())
        && first(tick) <= Some(stored.row.high_water)
    {
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

/// Whether a run succeeded that the maker of the new one did not know of: it is a fact of that one.
fn has_other_success(stored: &Stored, tick: &Tick) -> bool {
    tick.start.as_ref().is_some_and(|start| start.run.previous_success != stored.row.facts.last_success_nominal)
}

fn first(tick: &Tick) -> Option<Timestamp> {
    let passed = tick.passed.first().map(|passed| passed.first);
    passed.or(tick.start.as_ref().map(|start| start.nominal)).or(tick.known)
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
    let own = tick.origin == TickOrigin::Clock;
    let backfill = match tick.origin {
        TickOrigin::Backfill(id) => Some(id),
        _ => None,
    };
    if own && (stored.row.ahead.contains(&start.nominal) || writes::exists(&db.connection, start.run.id)?) {
        // It started its run before the clock was set back. Its row may be gone by now: ids derive from uid and nominal
        // time, so its run tells as well.
        advance(db, stored, tick, start.nominal, 1, false)?;
        return Ok(Came::default());
    }
    let open = settling::open(db, stored, backfill)?;
    let over = own && stored.row.schedule.policy.run_limit.is_some_and(|most| stored.row.facts.started >= most);
    let buffered = if backfill.is_some() { 0 } else { stored.row.facts.buffered };
    let verdict = decide(start.overlap, open, buffered);
    if backfill.is_some() && verdict != Verdict::Start {
        // It waits for room, and nothing has become of it yet.
        return Ok(Came::default());
    }
    let by = stored.row.open.first().copied();
    let came = if over {
        Came::nothing(TickOutcome::Ended, None)
    } else {
        match verdict {
            Verdict::Skip => Came::nothing(TickOutcome::Skipped, by),
            Verdict::BufferFull => Came::nothing(TickOutcome::BufferFull, by),
            Verdict::Buffer => {
                stored.row.facts.buffered += 1;
                Came::nothing(TickOutcome::Buffered, None)
            }
            Verdict::Start => {
                let held = create(db, stored, tick, start, false)?;
                Came::started(start.run.id, held)
            }
            Verdict::Replace => {
                let cancelled = cancel_others(db, stored)?;
                let held = create(db, stored, tick, start, true)?;
                Came { cancelled, ..Came::started(start.run.id, held) }
            }
        }
    };
    let entry = Entry {
        first: start.nominal,
        last: start.nominal,
        count: 1,
        outcome: came.outcome.unwrap_or(TickOutcome::Failed),
        reason: reason(stored, &came, start),
        origin: tick.origin,
        run: came.run,
        at: tick.now,
    };
    ledger::add(&db.connection, stored, &entry)?;
    advance(db, stored, tick, start.nominal, 1, came.outcome == Some(TickOutcome::Started))?;
    Ok(came)
}

fn reason(stored: &Stored, came: &Came, start: &TickStart) -> String {
    match came.outcome {
        Some(TickOutcome::Skipped) => "an earlier run continues".to_owned(),
        Some(TickOutcome::BufferFull) => format!("an earlier run continues, and {} wait", stored.row.facts.buffered),
        Some(TickOutcome::Buffered) => "it waits for the end of an earlier run".to_owned(),
        Some(TickOutcome::Ended) => "the schedule has started as many runs as it may".to_owned(),
        Some(TickOutcome::Started) if !came.cancelled.is_empty() => "earlier runs were asked to end".to_owned(),
        _ => start.late.clone(),
    }
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
    let waited = "it waited for the end of an earlier run";
    ledger::started(&db.connection, stored.id, number, start.run.id, tick.now, waited)?;
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
    let backfill = match tick.origin {
        TickOrigin::Backfill(id) => Some(id.into_bytes()),
        _ => None,
    };
    db.connection
        .prepare_cached(
            "INSERT INTO schedule_runs (schedule, run, nominal, backfill, behind) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![stored.id, run.as_bytes(), start.nominal.as_micros(), backfill, behind])?;
    if behind && new {
        settling::hold_back(db, run)?;
    }
    stored.row.open.push(run);
    let facts = &mut stored.row.facts;
    facts.problem.clear();
    if backfill.is_none() {
        facts.last_run = Some(run);
        facts.last_nominal = Some(start.nominal);
        facts.lateness = u64::try_from(tick.now.since(start.nominal).as_micros()).ok();
    }
    if tick.origin == TickOrigin::Clock {
        facts.started += 1;
    }
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
    let caller = format!("schedule {}", stored.row.schedule.name);
    let asked = Requester::new(caller, "its next run begins");
    for run in &open {
        let schedule = Some(stored.row.schedule.name.clone());
        let change = AuditedChange { schedule, ..asked.clone().to("CancelRun", "CANCEL_OTHER") };
        cancels::by_schedule(db, *run, &change)?;
    }
    Ok(open)
}

/// The clock was set back: times that were dealt with come again. Those that started a run do not start another.
fn rewind(db: &Database, stored: &mut Stored, rewind: &Rewind) -> rusqlite::Result<()> {
    let mut ahead = ledger::started_after(&db.connection, stored.id, rewind.to)?;
    ahead.extend(stored.row.ahead.iter().copied().filter(|nominal| *nominal > rewind.to));
    ahead.sort_unstable();
    ahead.dedup();
    // A time is dealt with again only if it is known which times up to the mark have started their runs.
    let beyond = ahead.len().checked_sub(AHEAD + 1).map(|last| ahead[last]);
    let to = rewind.to.max(stored.dropped.unwrap_or(rewind.to)).max(beyond.unwrap_or(rewind.to));
    if stored.row.high_water <= to {
        return Ok(());
    }
    ahead.retain(|nominal| *nominal > to);
    // No row stands for times on both sides of one that has started its run.
    let cut = rewind.cut.filter(|_| to == rewind.to);
    ledger::forget_after(&db.connection, stored, &Rewind { to, cut })?;
    stored.row.ahead = ahead;
    stored.row.high_water = to;
    // A reader of the old mark would continue from there.
    stored.row.generation += 1;
    stored.save(&db.connection)
}
