//! Ticks: the mark, the ledger and the run move in one transaction (semantics.md T1). The schedule's row is locked first, so
//! that of all replicas that see one tick the first decides.

use engine::store::support::ticking::{self, Start};
use engine::store::{
    Command, CommandKind, NewRun, PassedTicks, Rewind, RunRow, ScheduleAnswer, Tick, TickDone, TickOrigin, TickOutcome,
    TickStart, Ticked,
};
use engine::time::Timestamp;
use uuid::Uuid;

use super::ledger::{self, Entry};
use super::{Stored, backfills, by_uid, settling};
use crate::session::{Fault, Session, params};
use crate::{audit, behind, commands, requests, rows, runs};

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

pub(crate) async fn tick(session: &Session<'_>, tick: &Tick) -> Result<Ticked, Fault> {
    let stored = by_uid(session, tick.schedule).await?;
    if let Some(change) = &tick.change
        && let Some(ScheduleAnswer::Triggered { outcome, run }) = super::answered(session, change).await?
    {
        return Ok(Ticked::Existing { outcome, run });
    }
    let Some(mut stored) = stored else { return Ok(Ticked::Past) };
    settling::ends(session, &mut stored).await?;
    if let Some(stale) = ticking::stale(&stored.row, tick) {
        return Ok(stale);
    }
    if let Some(rewind) = &tick.rewind {
        self::rewind(session, &mut stored, rewind).await?;
        return Ok(done(stored, Came::default()));
    }
    if let Some(problem) = &tick.problem {
        stored.row.facts.problem.clone_from(problem);
        stored.save(session).await?;
        return Ok(done(stored, Came::default()));
    }
    if ticking::is_past(&stored.row, tick) {
        return Ok(Ticked::Past);
    }
    for passed in &tick.passed {
        pass(session, &mut stored, tick, passed).await?;
    }
    let mut came = Came::default();
    if let Some(start) = &tick.start {
        came = match start.buffered {
            Some(number) => after_waiting(session, &mut stored, tick, start, number).await?,
            None => begin(session, &mut stored, tick, start).await?,
        };
    }
    if let Some(known) = tick.known {
        advance(session, &mut stored, tick, known, 0, false).await?;
    }
    if let (TickOrigin::Backfill(id), None, true) = (tick.origin, &tick.start, tick.passed.is_empty()) {
        backfills::end(session, id, tick.now).await?;
    }
    if let Some(change) = &tick.change {
        let run = came.run.filter(|_| came.outcome == Some(TickOutcome::Started));
        audit::keep_of_schedule(session, change, &stored.row, came.run.unwrap_or_default(), run).await?;
        requests::keep_outcome(session, change, came.outcome.map(|outcome| outcome as i16)).await?;
    }
    stored.save(session).await?;
    Ok(done(stored, came))
}

fn done(stored: Stored, came: Came) -> Ticked {
    let Came { outcome, run, held, cancelled } = came;
    Ticked::Done(Box::new(TickDone { row: stored.row, outcome, run, held, cancelled }))
}

async fn pass(session: &Session<'_>, stored: &mut Stored, tick: &Tick, passed: &PassedTicks) -> Result<(), Fault> {
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
    ledger::add(session, stored, &entry).await?;
    advance(session, stored, tick, passed.last, passed.count, false).await
}

/// Moves the mark, or that of the backfill.
async fn advance(
    session: &Session<'_>,
    stored: &mut Stored,
    tick: &Tick,
    nominal: Timestamp,
    count: u64,
    started: bool,
) -> Result<(), Fault> {
    match tick.origin {
        TickOrigin::Clock => {
            stored.row.high_water = stored.row.high_water.max(nominal);
            stored.row.ahead.retain(|ahead| *ahead > nominal);
            Ok(())
        }
        TickOrigin::Trigger(_) => Ok(()),
        TickOrigin::Backfill(id) => backfills::advance(session, id, nominal, count, started.then_some(tick.now)).await,
    }
}

async fn begin(session: &Session<'_>, stored: &mut Stored, tick: &Tick, start: &TickStart) -> Result<Came, Fault> {
    let exists = tick.origin == TickOrigin::Clock && runs::exists(session, start.run.id).await?;
    let open = settling::open(session, stored, ticking::backfill_of(tick.origin)).await?;
    let came = match ticking::start(&mut stored.row, tick, start, open, exists) {
        Start::Known => {
            advance(session, stored, tick, start.nominal, 1, false).await?;
            return Ok(Came::default());
        }
        Start::Waits => return Ok(Came::default()),
        Start::Nothing { outcome, by } => Came::nothing(outcome, by),
        Start::New => Came::started(start.run.id, create(session, stored, tick, start, false).await?),
        Start::Replace => {
            let cancelled = cancel_others(session, stored).await?;
            let held = create(session, stored, tick, start, true).await?;
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
    ledger::add(session, stored, &entry).await?;
    advance(session, stored, tick, start.nominal, 1, came.outcome == Some(TickOutcome::Started)).await?;
    Ok(came)
}

/// A tick that has waited starts its run, if nothing continues any more.
async fn after_waiting(
    session: &Session<'_>,
    stored: &mut Stored,
    tick: &Tick,
    start: &TickStart,
    number: u64,
) -> Result<Came, Fault> {
    if !ledger::waits(session, stored.uid(), number).await? || settling::open(session, stored, None).await? > 0 {
        return Ok(Came::default());
    }
    stored.row.facts.buffered = stored.row.facts.buffered.saturating_sub(1);
    let held = create(session, stored, tick, start, false).await?;
    ledger::started(session, stored.uid(), number, start.run.id, tick.now, ticking::HAS_WAITED).await?;
    Ok(Came::started(start.run.id, held))
}

/// Creates the run of a tick. Answers with it if it is new and this owner's.
async fn create(
    session: &Session<'_>,
    stored: &mut Stored,
    tick: &Tick,
    start: &TickStart,
    behind: bool,
) -> Result<Option<Box<RunRow>>, Fault> {
    let run = start.run.id;
    // One that is there already can only come from this tick: ids derive from uid, nominal time and origin.
    let new = if behind {
        runs::insert(session, &NewRun { claimed: false, ..start.run.clone() }).await?
    } else {
        runs::insert(session, &start.run).await?
    };
    let backfill = ticking::backfill_of(tick.origin);
    session
        .execute(
            "INSERT INTO schedule_runs (schedule, run, nominal, backfill, behind) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT DO NOTHING",
            params![stored.uid(), run, start.nominal.as_micros(), backfill, behind],
        )
        .await?;
    if behind && new {
        behind::hold_back(session, run).await?;
    }
    ticking::note_start(&mut stored.row, tick, start);
    let held = new && !behind && start.run.claimed;
    Ok(if held { Some(Box::new(rows::get(session, run).await?)) } else { None })
}

/// Asks the runs that continue to end, as an operator would: one that is paused, blocked or undecided too.
async fn cancel_others(session: &Session<'_>, stored: &Stored) -> Result<Vec<Uuid>, Fault> {
    let found = session
        .rows(
            "SELECT schedule_runs.run FROM schedule_runs JOIN live ON live.id = schedule_runs.run
             WHERE schedule_runs.schedule = $1 AND schedule_runs.backfill IS NULL AND live.cancel_requested IS NULL
             ORDER BY schedule_runs.run",
            params![stored.uid()],
        )
        .await?;
    let open: Vec<Uuid> = found.iter().map(|row| Ok::<_, Fault>(row.try_get(0)?)).collect::<Result<_, _>>()?;
    let change = ticking::cancel_others(&stored.row);
    for run in &open {
        let cancel = Command { run: *run, now: session.now, change: change.clone(), kind: CommandKind::Cancel };
        commands::cancel_if_open(session, &cancel).await?;
    }
    Ok(open)
}

/// The clock was set back: times that were dealt with come again. Those that started a run do not start another.
async fn rewind(session: &Session<'_>, stored: &mut Stored, rewind: &Rewind) -> Result<(), Fault> {
    let started = ledger::started_after(session, stored.uid(), rewind.to).await?;
    let Some(rewound) = ticking::rewind(&stored.row, rewind, started, stored.dropped) else { return Ok(()) };
    ledger::forget_after(session, stored, &rewound.rewind).await?;
    ticking::note_rewind(&mut stored.row, rewound);
    stored.save(session).await
}
