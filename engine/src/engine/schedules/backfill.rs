//! Backfills: starts the runs of past or future nominal times, some at the same time, at a rate.

use std::time::Duration;

use super::turn::{Watched, earliest};
use crate::engine::Engine;
use crate::schedule::{Overlap, Timetable};
use crate::store::{BackfillRow, PassedTicks, StoreError, Tick, TickOrigin, TickOutcome, Ticked};
use crate::time::Timestamp;

/// Starts of one backfill in one look, at most.
const MOST: usize = 100;
const MINUTE: Duration = Duration::from_secs(60);

impl Engine {
    /// Continues with every backfill of a schedule. Says when to look again; where runs must end first, their ends say it.
    pub(super) async fn backfill(
        &self,
        watched: &mut Watched,
        backfills: Vec<BackfillRow>,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let mut again = None;
        for backfill in backfills {
            let spec = backfill.spec.as_ref().unwrap_or(&watched.row.schedule.spec);
            let Ok(timetable) = Timetable::new(spec.clone()) else { continue };
            let next = self.go_on(watched, &timetable, backfill, now).await?;
            again = earliest(again, next);
        }
        Ok(again)
    }

    async fn go_on(
        &self,
        watched: &mut Watched,
        timetable: &Timetable,
        mut backfill: BackfillRow,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let origin = TickOrigin::Backfill(backfill.id);
        for _ in 0..MOST {
            let row = &watched.row;
            let nominal = timetable.next(backfill.cursor).filter(|nominal| nominal.at < backfill.until);
            let mut tick = Tick::of(row, origin, self.shared.clock.wall());
            if let Some(nominal) = nominal {
                if let Some(at) = backfill.may_start_at(now).filter(|at| *at > now) {
                    return Ok(Some(at));
                }
                let overlap = Overlap::AllowN(backfill.at_once);
                if nominal.excluded {
                    let (outcome, reason) = (TickOutcome::Excluded, "the schedule excludes it".to_owned());
                    let passed = PassedTicks { first: nominal.at, last: nominal.at, count: 1, outcome, reason };
                    tick.passed.push(passed);
                } else {
                    match self.make_start(row, nominal.at, origin, overlap, String::new()) {
                        Ok(start) => tick.start = Some(start),
                        Err(problem) => {
                            self.wait_for_a_release(watched, problem).await?;
                            return Ok(None);
                        }
                    }
                }
            }
            let starts = tick.start.is_some();
            match self.tick(tick).await? {
                Ticked::Done(done) => {
                    let started = done.outcome == Some(TickOutcome::Started);
                    self.ticked(watched, *done);
                    let Some(nominal) = nominal else {
                        watched.row.backfilling = watched.row.backfilling.saturating_sub(1);
                        tracing::info!(schedule = watched.row.schedule.name, backfill = %backfill.id, "backfill is over");
                        return Ok(None);
                    };
                    if starts && !started {
                        // There is no room; the end of a run makes some.
                        return Ok(None);
                    }
                    backfill.cursor = nominal.at;
                    if started {
                        backfill.last_start = Some(now);
                    }
                }
                Ticked::Stale(_) | Ticked::Past | Ticked::Existing { .. } => return Ok(Some(now)),
            }
        }
        Ok(Some(now))
    }
}

impl BackfillRow {
    /// When its rate allows the next start; none where that is not bounded. A clock that was set back since the last one
    /// holds nothing up.
    fn may_start_at(&self, now: Timestamp) -> Option<Timestamp> {
        let last = self.last_start.filter(|last| self.per_minute > 0 && *last <= now)?;
        Some(last.after(MINUTE / self.per_minute.max(1)))
    }
}
