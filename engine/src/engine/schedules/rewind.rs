//! Takes a schedule back after its clock was set back, so that times come again that were dealt with too early (C2).

use super::rounds::STEP;
use super::turn::Watched;
use crate::engine::Engine;
use crate::schedule::Timetable;
use crate::store::{
    CutTicks, ListTicks, Rewind, ScheduleRow, StoreError, Tick, TickOrigin, TickOutcome, TickRow, Ticked,
};
use crate::time::Timestamp;

/// Rows of a ledger, more than are kept.
const ROWS: u32 = 1_000;
/// Nominal times that are looked at one by one, at most.
const COUNTED: usize = 10_000;

impl Watched {
    /// Whether everything was dealt with up to a time that is yet to come.
    pub(super) fn is_ahead(&self, now: Timestamp) -> bool {
        self.row.retired_at.is_none() && self.row.high_water > now.after(STEP)
    }
}

impl Engine {
    /// Gives a schedule the mark that it had at this moment, if times come again that lie between that and its mark.
    pub(super) async fn rewind(&self, watched: &mut Watched, before: Timestamp) -> Result<(), StoreError> {
        let row = &watched.row;
        let Some(timetable) = watched.timetable.as_ref().filter(|_| row.retired_at.is_none()) else { return Ok(()) };
        let Some(to) = mark_at(row, timetable, before) else { return Ok(()) };
        let rows = self.shared.store.ticks(ListTicks { schedule: row.uid, before: None, limit: ROWS }).await?;
        let rewind = rewind_to(timetable, to, &rows);
        let tick = Tick { rewind: Some(rewind), ..Tick::of(row, TickOrigin::Clock, self.shared.clock.wall()) };
        match self.shared.store.tick(tick).await? {
            Ticked::Done(done) => {
                let (schedule, to) = (&row.schedule.name, done.row.high_water);
                tracing::debug!(schedule, %to, "the clock was set back: times after this come again");
                watched.renew(done.row);
            }
            Ticked::Stale(row) => watched.renew(*row),
            Ticked::Past | Ticked::Existing { .. } => {}
        }
        Ok(())
    }
}

/// The last time that had come by this moment; none if no time lies between that and the schedule's mark.
fn mark_at(row: &ScheduleRow, timetable: &Timetable, moment: Timestamp) -> Option<Timestamp> {
    if row.high_water <= moment {
        return None;
    }
    let due = |nominal: Timestamp| nominal.after(timetable.jitter(row.uid, nominal));
    // What is older than the longest jitter has come.
    let over = moment.before(timetable.spec().jitter);
    let come = timetable.following(over).take(COUNTED).take_while(|nominal| due(nominal.at) <= moment).last();
    let to = come.map_or(over, |nominal| nominal.at);
    timetable.next(to).filter(|next| next.at < row.high_water).map(|_| to)
}

/// How the ledger goes back to this mark. A row that stands for times on both sides of it is cut; what was missed while
/// the clock was ahead is decided again as a whole, because none of it came when it should.
fn rewind_to(timetable: &Timetable, to: Timestamp, rows: &[TickRow]) -> Rewind {
    let runs = |row: &TickRow| matches!(row.outcome, TickOutcome::Started | TickOutcome::Buffered);
    let across =
        rows.iter().find(|row| row.origin == TickOrigin::Clock && !runs(row) && row.first <= to && to < row.last);
    match across {
        None => Rewind { to, cut: None },
        Some(row) if row.outcome == TickOutcome::Missed => {
            Rewind { to: Timestamp::from_micros(row.first.as_micros().saturating_sub(1)), cut: None }
        }
        Some(row) => {
            let from = Timestamp::from_micros(row.first.as_micros().saturating_sub(1));
            let left = timetable.following(from).take(COUNTED).take_while(|nominal| nominal.at <= to).count() as u64;
            Rewind { to, cut: Some(CutTicks { number: row.number, last: to, count: left.clamp(1, row.count) }) }
        }
    }
}
