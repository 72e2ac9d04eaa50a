//! One look at one schedule: which of its nominal times have come, what becomes of them, and when to look again.

use super::LONGEST;
use super::queue::Look;
use super::rounds::{Cause, Round, Rounds, whole};
use crate::engine::Engine;
use crate::mailbox;
use crate::schedule::missed::{Come, ON_TIME, Passed, Turn, Why};
use crate::schedule::{CatchUp, CatchUpMode, Overlap, Timetable};
use crate::store::{PassedTicks, ScheduleRow, StoreError, Tick, TickDone, TickOrigin, TickOutcome, TickStart, Ticked};
use crate::time::Timestamp;

/// Ticks of one schedule in one look, at most; the next look continues.
const MOST: usize = 1_000;

/// A schedule that is looked at.
pub(super) struct Watched {
    pub(super) row: Box<ScheduleRow>,
    /// None where the stored spec cannot be read by this release; such a schedule is left alone, and says so.
    pub(super) timetable: Option<Box<Timetable>>,
    /// As of [`Look`].
    pub(super) settles: bool,
    pub(super) set_back: Option<Timestamp>,
}

/// As what a schedule is looked at.
pub(super) struct Seen<'a> {
    pub(super) now: Timestamp,
    /// What a tick that came at a time is late for.
    pub(super) cause: &'a (dyn Fn(Timestamp) -> Cause + Sync),
    /// Whether it gets other times: nothing is made up for then.
    pub(super) closing: bool,
}

impl Watched {
    pub(super) fn new(row: ScheduleRow) -> Self {
        let timetable = timetable(&row);
        let settles = !row.open.is_empty() || row.facts.buffered > 0 || row.backfilling > 0;
        Self { row: Box::new(row), timetable, settles, set_back: None }
    }

    /// The row is another by now.
    pub(super) fn renew(&mut self, row: ScheduleRow) {
        if row.schedule.spec != self.row.schedule.spec {
            self.timetable = timetable(&row);
        }
        *self.row = row;
    }

    /// The first look at a schedule that was just read.
    pub(super) fn first_look(&self, set_back: Option<Timestamp>, now: Timestamp) -> Look {
        let at_once = self.settles || set_back.is_some() || self.is_ahead(now);
        Look { due: if at_once { Some(now) } else { self.next_due() }, settles: self.settles, set_back }
    }

    /// When the next nominal time has come, its jitter over.
    fn next_due(&self) -> Option<Timestamp> {
        if self.row.retired_at.is_some() {
            return None;
        }
        let timetable = self.timetable.as_ref()?;
        let nominal = timetable.next(self.row.high_water)?.at;
        Some(nominal.after(timetable.jitter(self.row.uid, nominal)))
    }
}

fn timetable(row: &ScheduleRow) -> Option<Box<Timetable>> {
    match Timetable::new(row.schedule.spec.clone()) {
        Ok(timetable) => Some(Box::new(timetable)),
        Err(error) => {
            tracing::error!(schedule = row.schedule.name, %error, "schedule cannot be kept by this release");
            None
        }
    }
}

impl Engine {
    /// Deals with everything of a schedule that has come. Says when to look again; only after a change where nothing is
    /// left.
    pub(super) async fn turn(
        &self,
        watched: &mut Watched,
        round: &Round,
        rounds: &Rounds,
    ) -> Result<Option<Timestamp>, StoreError> {
        let now = round.now;
        if self.is_draining() {
            return Ok(Some(now.after(LONGEST)));
        }
        if watched.is_ahead(now) {
            // Whatever set it, it was set under another clock.
            watched.set_back.get_or_insert(round.before);
        }
        if let Some(before) = watched.set_back {
            self.rewind(watched, before).await?;
            watched.set_back = None;
        }
        let mut again = None;
        if watched.settles {
            again = self.settle(watched, now).await?;
        }
        for _ in 0..MOST {
            let cause = |due| rounds.cause_of(&watched.row, due);
            let Some(tick) = self.next_tick(watched, &Seen { now, cause: &cause, closing: false }) else {
                return Ok(earliest(watched.next_due(), again));
            };
            match self.tick(tick).await? {
                Ticked::Done(done) => {
                    let ended = done.outcome == Some(TickOutcome::Ended);
                    self.ticked(watched, *done);
                    if ended {
                        return Ok(again);
                    }
                }
                Ticked::Stale(row) => watched.renew(*row),
                Ticked::Past | Ticked::Existing { .. } => {
                    // It is read again.
                    watched.settles = true;
                    return Ok(Some(now));
                }
            }
        }
        Ok(Some(now))
    }

    /// What is to be written down next, of all that has come.
    pub(super) fn next_tick(&self, watched: &Watched, seen: &Seen<'_>) -> Option<Tick> {
        let Seen { now, cause, closing } = *seen;
        let row = &watched.row;
        let timetable = watched.timetable.as_ref().filter(|_| row.retired_at.is_none())?;
        let (policy, uid, mark) = (&row.schedule.policy, row.uid, row.high_water);
        let nothing = CatchUp { mode: CatchUpMode::None, ..policy.catch_up.clone() };
        let catch_up = if closing { &nothing } else { &policy.catch_up };
        let come = Come { timetable, catch_up, uid, mark, until: now, known: &row.ahead };
        let turns = come.turns(|due| Late {
            cause: cause(due),
            closing,
            paused: row.paused.as_ref().is_some_and(|paused| paused.at <= due),
        });
        let mut tick = Tick::of(row, TickOrigin::Clock, self.shared.clock.wall());
        for turn in turns {
            match turn {
                Turn::Passed(times) => tick.passed.push(passed(row, times)),
                Turn::Start(nominal) if row.paused.is_some() => tick.passed.push(PassedTicks {
                    first: nominal,
                    last: nominal,
                    count: 1,
                    outcome: TickOutcome::Paused,
                    reason: note(row),
                }),
                Turn::Start(nominal) => {
                    let due = nominal.after(timetable.jitter(row.uid, nominal));
                    let overlap = row.schedule.policy.overlap;
                    match self.make_start(row, nominal, TickOrigin::Clock, overlap, late(due, now, cause)) {
                        Ok(made) => {
                            tick.start = Some(made);
                            break;
                        }
                        Err(reason) => {
                            tracing::error!(schedule = row.schedule.name, %nominal, reason, "a tick cannot start its run");
                            let outcome = TickOutcome::Failed;
                            tick.passed.push(PassedTicks { first: nominal, last: nominal, count: 1, outcome, reason });
                        }
                    }
                }
                Turn::Known(nominal) => {
                    // The mark has to move over it before rows of later times are written.
                    tick.known = Some(nominal);
                    break;
                }
            }
        }
        (tick.start.is_some() || tick.known.is_some() || !tick.passed.is_empty()).then_some(tick)
    }

    pub(super) fn ticked(&self, watched: &mut Watched, done: TickDone) {
        let TickDone { row, outcome, run, cancelled, held: _ } = done;
        for run in cancelled {
            self.shared.tell(run, mailbox::CANCEL);
        }
        let schedule = &row.schedule.name;
        match (outcome, run) {
            (Some(TickOutcome::Started), Some(run)) => {
                tracing::info!(schedule, %run, nominal = row.facts.last_nominal.map(tracing::field::display), "tick started a run");
            }
            (Some(outcome), run) => {
                let run = run.map(tracing::field::display);
                tracing::info!(schedule, run, ?outcome, skips = row.facts.consecutive_skips, "tick started no run");
            }
            (None, _) => {}
        }
        watched.renew(row);
    }

    /// What the ends of runs make possible. Says when to look again for a backfill.
    async fn settle(&self, watched: &mut Watched, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        for _ in 0..MOST {
            let settled = self.shared.store.settle_schedule(watched.row.uid).await?;
            if settled.due {
                self.shared.due.notify_one();
            }
            watched.renew(settled.row);
            let Some(waited) = settled.ready.first() else {
                watched.settles = watched.row.facts.buffered > 0 || watched.row.backfilling > 0;
                return self.backfill(watched, settled.backfills, now).await;
            };
            let row = &watched.row;
            let start = match self.make_start(row, waited.first, waited.origin, Overlap::Skip, String::new()) {
                Ok(start) => Some(TickStart { buffered: Some(waited.number), ..start }),
                Err(problem) => {
                    self.wait_for_a_release(watched, problem).await?;
                    return self.backfill(watched, settled.backfills, now).await;
                }
            };
            let tick = Tick { start, ..Tick::of(row, waited.origin, self.shared.clock.wall()) };
            if let Ticked::Done(done) = self.tick(tick).await? {
                self.ticked(watched, *done);
            }
        }
        Ok(Some(now))
    }
}

impl Engine {
    /// A tick that waits, or a backfill, cannot start its run: it waits for a release or a definition that can, and the
    /// schedule says so.
    pub(super) async fn wait_for_a_release(&self, watched: &mut Watched, problem: String) -> Result<(), StoreError> {
        if watched.row.facts.problem == problem {
            return Ok(());
        }
        tracing::error!(schedule = watched.row.schedule.name, problem, "what waits of a schedule cannot start");
        let tick = Tick::of(&watched.row, TickOrigin::Clock, self.shared.clock.wall());
        match self.tick(Tick { problem: Some(problem), ..tick }).await? {
            Ticked::Done(done) => watched.renew(done.row),
            Ticked::Stale(row) => watched.renew(*row),
            Ticked::Past | Ticked::Existing { .. } => {}
        }
        Ok(())
    }
}

/// What times that start nothing came too late for, and whether the schedule was paused when they came.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Late {
    cause: Cause,
    /// Whether the schedule gets other times.
    closing: bool,
    paused: bool,
}

fn passed(row: &ScheduleRow, times: Passed<Late>) -> PassedTicks {
    let Passed { first, last, count, why, cause: Late { cause, closing, paused } } = times;
    let CatchUp { window, limit, .. } = row.schedule.policy.catch_up;
    let (outcome, reason) = match why {
        Why::Excluded => (TickOutcome::Excluded, "the schedule excludes it".to_owned()),
        _ if paused => (TickOutcome::Paused, note(row)),
        _ if closing => (TickOutcome::Missed, format!("{cause}, and the schedule got other times")),
        Why::BeforeWindow => {
            let window = whole(window);
            (TickOutcome::Missed, format!("{cause}, and it is older than the catch-up window of {window}"))
        }
        Why::OverLimit => (TickOutcome::Missed, format!("{cause}, and the last {limit} are made up for")),
        Why::NotLast => (TickOutcome::Missed, format!("{cause}, and only the last one is made up for")),
        Why::NoCatchUp => (TickOutcome::Missed, format!("{cause}, and the schedule makes up for none")),
    };
    PassedTicks { first, last, count, outcome, reason }
}

/// Why the schedule is paused.
fn note(row: &ScheduleRow) -> String {
    row.paused.as_ref().map(|paused| paused.note.clone()).unwrap_or_default()
}

/// What a late start is due to.
fn late(due: Timestamp, now: Timestamp, cause: &dyn Fn(Timestamp) -> Cause) -> String {
    let by = now.since(due);
    if by < ON_TIME { String::new() } else { format!("{} late: {}", whole(by), cause(due)) }
}

pub(super) fn earliest(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
