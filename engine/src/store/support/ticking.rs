//! What becomes of ticks, and of a schedule whose runs end: decided over the schedule's row, the same way in every store.

use uuid::Uuid;

use super::super::{
    AuditedChange, PausedSchedule, Requester, Rewind, ScheduleRow, Tick, TickOrigin, TickOutcome, TickStart, Ticked,
};
use crate::schedule::policy::{Verdict, decide};
use crate::state::State;
use crate::time::Timestamp;

/// Nominal times that a clock which is set back may leave behind and that are remembered one by one, at most.
const AHEAD: usize = 1_000;

/// The answer to a tick that was made of what is no longer so: the schedule has another generation, or a run succeeded that the
/// maker of the new one did not know of, whose nominal time is a fact of the new one.
pub fn stale(row: &ScheduleRow, tick: &Tick) -> Option<Ticked> {
    let other_success =
        tick.start.as_ref().is_some_and(|start| start.run.previous_success != row.facts.last_success_nominal);
    (row.generation != tick.generation || other_success).then(|| Ticked::Stale(Box::new(row.clone())))
}

/// Whether the tick's times were dealt with before.
pub fn is_past(row: &ScheduleRow, tick: &Tick) -> bool {
    let has_waited = tick.start.as_ref().is_some_and(|start| start.buffered.is_some());
    let passed = tick.passed.first().map(|passed| passed.first);
    let first = passed.or(tick.start.as_ref().map(|start| start.nominal)).or(tick.known);
    tick.origin == TickOrigin::Clock && !has_waited && first <= Some(row.high_water)
}

/// The backfill that a tick is of.
pub const fn backfill_of(origin: TickOrigin) -> Option<Uuid> {
    match origin {
        TickOrigin::Backfill(id) => Some(id),
        TickOrigin::Clock | TickOrigin::Trigger(_) => None,
    }
}

/// What a nominal time that should start a run comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// It started its run before the clock was set back. Nothing but the mark moves.
    Known,
    /// It is of a backfill that has no room for it yet. Nothing has become of it.
    Waits,
    /// No run starts.
    Nothing {
        /// What is written down.
        outcome: TickOutcome,
        /// The run that it gives way to.
        by: Option<Uuid>,
    },
    /// Its run starts.
    New,
    /// Its run begins when the others have ended, which are asked to.
    Replace,
}

/// Decides about a start. `open` are the runs that have not ended and that count for it; `exists` says whether its run is there
/// already: ids derive from uid, nominal time and origin, so that one can only come from this tick.
pub fn start(row: &mut ScheduleRow, tick: &Tick, start: &TickStart, open: usize, exists: bool) -> Start {
    let own = tick.origin == TickOrigin::Clock;
    let backfill = backfill_of(tick.origin).is_some();
    if own && (exists || row.ahead.contains(&start.nominal)) {
        return Start::Known;
    }
    let buffered = if backfill { 0 } else { row.facts.buffered };
    let verdict = decide(start.overlap, open, buffered);
    if backfill && verdict != Verdict::Start {
        return Start::Waits;
    }
    if own && row.schedule.policy.run_limit.is_some_and(|most| row.facts.started >= most) {
        return Start::Nothing { outcome: TickOutcome::Ended, by: None };
    }
    let by = row.open.first().copied();
    match verdict {
        Verdict::Skip => Start::Nothing { outcome: TickOutcome::Skipped, by },
        Verdict::BufferFull => Start::Nothing { outcome: TickOutcome::BufferFull, by },
        Verdict::Buffer => {
            row.facts.buffered += 1;
            Start::Nothing { outcome: TickOutcome::Buffered, by: None }
        }
        Verdict::Start => Start::New,
        Verdict::Replace => Start::Replace,
    }
}

/// Why a start came to this, if the outcome alone does not say it. `replaces` says whether other runs were asked to end.
pub fn reason(row: &ScheduleRow, start: &TickStart, outcome: TickOutcome, replaces: bool) -> String {
    match outcome {
        TickOutcome::Skipped => "an earlier run continues".to_owned(),
        TickOutcome::BufferFull => format!("an earlier run continues, and {} wait", row.facts.buffered),
        TickOutcome::Buffered => "it waits for the end of an earlier run".to_owned(),
        TickOutcome::Ended => "the schedule has started as many runs as it may".to_owned(),
        TickOutcome::Started if replaces => "earlier runs were asked to end".to_owned(),
        _ => start.late.clone(),
    }
}

/// The reason of a start that has waited.
pub const HAS_WAITED: &str = "it waited for the end of an earlier run";

/// Writes into the row that the run of a tick was created.
pub fn note_start(row: &mut ScheduleRow, tick: &Tick, start: &TickStart) {
    row.open.push(start.run.id);
    let facts = &mut row.facts;
    facts.problem.clear();
    if backfill_of(tick.origin).is_none() {
        facts.last_run = Some(start.run.id);
        facts.last_nominal = Some(start.nominal);
        facts.lateness = u64::try_from(tick.now.since(start.nominal).as_micros()).ok();
    }
    if tick.origin == TickOrigin::Clock {
        facts.started += 1;
    }
}

/// The change by which a schedule asks its runs to end.
pub fn cancel_others(row: &ScheduleRow) -> AuditedChange {
    let name = &row.schedule.name;
    let asked = Requester::new(format!("schedule {name}"), "its next run begins");
    AuditedChange { schedule: Some(name.clone()), ..asked.to("CancelRun", "CANCEL_OTHER") }
}

/// A run of a schedule that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunEnd {
    /// The run.
    pub run: Uuid,
    /// Its nominal time.
    pub nominal: Timestamp,
    /// Whether it is of a backfill.
    pub backfill: bool,
    /// Its end state; `None` if retention has taken the run.
    pub state: Option<State>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// Writes ends of runs into the row, in the order in which they came. Returns the change if the schedule pauses because of them.
pub fn note_ends(row: &mut ScheduleRow, ends: &mut [RunEnd], now: Timestamp) -> Option<AuditedChange> {
    ends.sort_by_key(|end| (end.ended_at, end.run));
    let mut failed = None;
    for end in ends.iter() {
        let facts = &mut row.facts;
        match end.state {
            Some(State::Succeeded) => {
                facts.consecutive_failures = 0;
                facts.last_success = facts.last_success.max(end.ended_at);
                facts.last_success_nominal = facts.last_success_nominal.max(Some(end.nominal));
            }
            Some(State::Failed | State::Terminated) if !end.backfill => {
                facts.consecutive_failures += 1;
                failed = Some(end.run);
            }
            _ => {}
        }
    }
    row.open.retain(|run| ends.iter().all(|end| end.run != *run));
    let failed = failed.filter(|_| row.schedule.policy.pause_on_failure && row.paused.is_none())?;
    let asked = Requester::new("pause on failure", format!("run {failed} failed"));
    row.paused = Some(PausedSchedule { at: now, by: asked.caller.clone(), note: asked.reason.clone() });
    row.generation += 1;
    Some(asked.to("PauseSchedule", ""))
}

/// What a schedule is taken back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewound {
    /// The mark, and the row of the ledger that is cut there.
    pub rewind: Rewind,
    /// Later nominal times that have started their runs.
    pub ahead: Vec<Timestamp>,
}

/// The clock was set back: times that were dealt with come again, but for those that have started a run.
///
/// `started` are those of the ledger after the mark that is wished for, and `dropped` is the last nominal time that started a run
/// and whose row is gone. `None` if the mark stays.
pub fn rewind(
    row: &ScheduleRow,
    rewind: &Rewind,
    mut started: Vec<Timestamp>,
    dropped: Option<Timestamp>,
) -> Option<Rewound> {
    started.extend(row.ahead.iter().copied().filter(|nominal| *nominal > rewind.to));
    started.sort_unstable();
    started.dedup();
    // A time is dealt with again only if it is known which times up to the mark have started their runs.
    let beyond = started.len().checked_sub(AHEAD + 1).map(|last| started[last]);
    let to = rewind.to.max(dropped.unwrap_or(rewind.to)).max(beyond.unwrap_or(rewind.to));
    if row.high_water <= to {
        return None;
    }
    started.retain(|nominal| *nominal > to);
    // No row stands for times on both sides of one that has started its run.
    let cut = rewind.cut.filter(|_| to == rewind.to);
    Some(Rewound { rewind: Rewind { to, cut }, ahead: started })
}

/// Writes a rewind into the row. A reader of the old mark would continue from there, so the generation changes too.
pub fn note_rewind(row: &mut ScheduleRow, rewound: Rewound) {
    row.ahead = rewound.ahead;
    row.high_water = rewound.rewind.to;
    row.generation += 1;
}
