//! One look at one schedule: which of its nominal times have come, what becomes of them, and when to look again.

use std::time::Duration;

use super::LONGEST;
use crate::driver;
use crate::engine::Engine;
use crate::schedule::missed::{self, ON_TIME, Turn, Why};
use crate::schedule::{Overlap, Timetable};
use crate::store::{
    ListSchedules, PassedTicks, ScheduleRow, StoreError, Tick, TickDone, TickOrigin, TickOutcome, Ticked,
};
use crate::time::Timestamp;

/// Ticks of one schedule in one look, at most; the next look goes on.
const MOST: usize = 1_000;

/// A schedule as the loop knows it.
pub(super) struct Watched {
    pub(super) row: Box<ScheduleRow>,
    /// None where the stored spec cannot be read by this release; such a schedule is left alone, and says so.
    timetable: Option<Box<Timetable>>,
    pub(super) due: Option<Timestamp>,
    /// Whether a run of it may have ended.
    pub(super) settles: bool,
    /// Whether an answer of the store did not come.
    pub(super) unsure: bool,
}

/// What a look found.
pub(super) enum Turned {
    /// When to look again; only after a change where nothing is left.
    Next(Option<Timestamp>),
    Gone,
}

impl Watched {
    pub(super) fn new(row: ScheduleRow) -> Self {
        let timetable = timetable(&row);
        let settles = !row.open.is_empty() || row.facts.buffered > 0 || row.backfilling > 0;
        Self { row: Box::new(row), timetable, due: None, settles, unsure: false }
    }

    /// The row is another by now.
    fn renew(&mut self, row: ScheduleRow) {
        if row.schedule.spec != self.row.schedule.spec {
            self.timetable = timetable(&row);
        }
        *self.row = row;
    }

    /// When a schedule that was just read is to be looked at.
    pub(super) fn first_due(&self, now: Timestamp) -> Option<Timestamp> {
        if self.settles || self.is_behind_mark(now) { Some(now) } else { self.next_due() }
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

    /// Whether a time would come before the mark is reached, because the clock was set back.
    fn is_behind_mark(&self, now: Timestamp) -> bool {
        let next = self.timetable.as_ref().and_then(|timetable| timetable.next(now));
        self.row.retired_at.is_none() && next.is_some_and(|next| next.at < self.row.high_water)
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
    pub(super) async fn turn(
        &self,
        watched: &mut Watched,
        now: Timestamp,
        begun: Timestamp,
    ) -> Result<Turned, StoreError> {
        if self.is_draining() {
            return Ok(Turned::Next(Some(now.after(LONGEST))));
        }
        if watched.unsure {
            let name = Some(watched.row.schedule.name.clone());
            let found = self.shared.store.schedules(ListSchedules { name, limit: 1, ..Default::default() }).await?;
            match found.into_iter().next().filter(|row| row.uid == watched.row.uid) {
                Some(row) => watched.renew(row),
                None => return Ok(Turned::Gone),
            }
            watched.unsure = false;
            watched.settles = true;
        }
        let mut again = None;
        if watched.settles {
            again = self.settle(watched, now).await?;
        }
        for _ in 0..MOST {
            let Some(tick) = self.next_tick(watched, now, begun) else {
                return Ok(Turned::Next(earliest(watched.next_due(), again)));
            };
            match self.shared.store.tick(tick).await? {
                Ticked::Done(done) => {
                    let ended = done.outcome == Some(TickOutcome::Ended);
                    self.ticked(watched, *done);
                    if ended {
                        return Ok(Turned::Next(again));
                    }
                }
                Ticked::Stale(row) => watched.renew(*row),
                Ticked::Past | Ticked::Existing(_) => {
                    watched.unsure = true;
                    return Ok(Turned::Next(Some(now)));
                }
            }
        }
        Ok(Turned::Next(Some(now)))
    }

    /// What is to be written down next, of all that has come.
    fn next_tick(&self, watched: &Watched, now: Timestamp, begun: Timestamp) -> Option<Tick> {
        let row = &watched.row;
        let timetable = watched.timetable.as_ref().filter(|_| row.retired_at.is_none())?;
        let tick = Tick {
            schedule: row.uid,
            generation: row.generation,
            now: self.shared.clock.wall(),
            origin: TickOrigin::Clock,
            passed: Vec::new(),
            start: None,
            rewind: None,
            change: None,
        };
        if watched.is_behind_mark(now) {
            // Up to the last time that has come.
            let to =
                timetable.previous(Timestamp::from_micros(now.as_micros() + 1)).map_or(row.created_at, |last| last.at);
            return Some(Tick { rewind: Some(to), ..tick });
        }
        let turns = missed::turns(timetable, &row.schedule.policy.catch_up, row.uid, row.high_water, now);
        let mut passed = Vec::new();
        let mut start = None;
        for turn in turns {
            match turn {
                Turn::Passed(times) => passed.push(PassedTicks {
                    first: times.first,
                    last: times.last,
                    count: times.count,
                    outcome: if times.why == Why::Excluded { TickOutcome::Excluded } else { TickOutcome::Missed },
                    reason: self.why_missed(row, times.why),
                }),
                Turn::Start(nominal) if row.paused.is_some() => passed.push(PassedTicks {
                    first: nominal,
                    last: nominal,
                    count: 1,
                    outcome: TickOutcome::Paused,
                    reason: row.paused.as_ref().map(|paused| paused.note.clone()).unwrap_or_default(),
                }),
                Turn::Start(nominal) => {
                    let due = nominal.after(timetable.jitter(row.uid, nominal));
                    let overlap = row.schedule.policy.overlap;
                    match self.make_start(row, nominal, TickOrigin::Clock, overlap, late(due, now, begun)) {
                        Ok(made) => {
                            start = Some(made);
                            break;
                        }
                        Err(reason) => {
                            tracing::error!(schedule = row.schedule.name, %nominal, reason, "a tick cannot start its run");
                            let outcome = TickOutcome::Failed;
                            passed.push(PassedTicks { first: nominal, last: nominal, count: 1, outcome, reason });
                        }
                    }
                }
            }
        }
        (start.is_some() || !passed.is_empty()).then_some(Tick { passed, start, ..tick })
    }

    fn why_missed(&self, row: &ScheduleRow, why: Why) -> String {
        let catch_up = &row.schedule.policy.catch_up;
        match why {
            Why::Excluded => "the schedule excludes it".to_owned(),
            Why::BeforeWindow => {
                format!("no replica was there, and it is older than the catch-up window of {:?}", catch_up.window)
            }
            Why::OverLimit => format!("no replica was there, and the last {} are made up for", catch_up.limit),
            Why::NotLast => "no replica was there, and only the last one is made up for".to_owned(),
            Why::NoCatchUp => "no replica was there, and none is made up for".to_owned(),
        }
    }

    pub(super) fn ticked(&self, watched: &mut Watched, done: TickDone) {
        let TickDone { row, outcome, run, cancelled } = done;
        for run in cancelled {
            self.shared.tell(run, driver::CANCEL);
        }
        let schedule = &row.schedule.name;
        match (outcome, run) {
            (Some(TickOutcome::Started), Some(run)) => {
                tracing::info!(schedule, %run, nominal = row.facts.last_nominal.map(tracing::field::display), "tick started a run");
                self.shared.due.notify_one();
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
            let made = self.make_start(row, waited.first, waited.origin, Overlap::Skip, String::new());
            let (passed, start) = match made {
                Ok(start) => (Vec::new(), Some(crate::store::TickStart { buffered: Some(waited.number), ..start })),
                // The workflow is gone; the tick goes on waiting for a release that has it.
                Err(_) => return Ok(None),
            };
            let tick = Tick {
                schedule: row.uid,
                generation: row.generation,
                now: self.shared.clock.wall(),
                origin: waited.origin,
                passed,
                start,
                rewind: None,
                change: None,
            };
            if let Ticked::Done(done) = self.shared.store.tick(tick).await? {
                self.ticked(watched, *done);
            }
        }
        Ok(Some(now))
    }
}

/// What a late start is due to.
fn late(due: Timestamp, now: Timestamp, begun: Timestamp) -> String {
    let by = now.since(due);
    if by < ON_TIME {
        return String::new();
    }
    let by = Duration::from_secs(by.as_secs());
    if due < begun {
        format!("{by:?} late: no replica was there at its time")
    } else {
        format!("{by:?} late: the replica was held up, or its clock was set forward")
    }
}

pub(super) fn earliest(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
