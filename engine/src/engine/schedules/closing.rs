//! Before a schedule gets other times: writes down what became of those that it had, so that each of them leaves its row.

use super::rounds::Cause;
use super::turn::{Seen, Watched};
use crate::engine::Engine;
use crate::store::{ListSchedules, Schedule, ScheduleRow, StoreError, Ticked};
use crate::time::Timestamp;

/// Ticks that are dealt with, at most. The times of more than these are left to the new definition, which passes them over.
const MOST: usize = 1_000;

impl Engine {
    /// Deals with the times that have come of schedules which get other times by these definitions.
    pub(super) async fn close_changed(
        &self,
        schedules: impl Iterator<Item = &Schedule> + Send,
        cause: &(dyn Fn(Timestamp) -> Cause + Sync),
    ) -> Result<(), StoreError> {
        for schedule in schedules {
            let filter = ListSchedules { name: Some(schedule.name.clone()), limit: 1, ..ListSchedules::default() };
            let found = self.shared.store.schedules(filter).await?.into_iter().next();
            if let Some(row) = found.filter(|row| row.schedule.spec != schedule.spec) {
                self.close(row, cause).await?;
            }
        }
        Ok(())
    }

    /// Those that have just come start their runs. Nothing makes up for those that are late.
    async fn close(&self, row: ScheduleRow, cause: &(dyn Fn(Timestamp) -> Cause + Sync)) -> Result<(), StoreError> {
        let spec = row.schedule.spec.clone();
        let mut watched = Watched::new(row);
        for _ in 0..MOST {
            let now = self.shared.clock.wall();
            let Some(tick) = self.next_tick(&watched, &Seen { now, cause, closing: true }) else { return Ok(()) };
            match self.tick(tick).await? {
                Ticked::Done(done) => self.ticked(&mut watched, *done),
                Ticked::Stale(row) if row.schedule.spec == spec => watched.renew(*row),
                // The loop was faster, or the schedule is another by now.
                Ticked::Stale(_) | Ticked::Past | Ticked::Existing { .. } => return Ok(()),
            }
        }
        Ok(())
    }
}
