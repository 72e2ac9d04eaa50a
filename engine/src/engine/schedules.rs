//! The loop that starts runs at their nominal times.

use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{Engine, EngineError, new_run, pending};
use crate::identity;
use crate::store::{Origin, Schedule, ScheduleRow, StoreError, Tick, Ticked};
use crate::time::Timestamp;

/// The loop looks at least this often; the wall clock may have been set.
const LONGEST: Duration = Duration::from_secs(5);
const AFTER_FAILURE: Duration = Duration::from_millis(500);

/// The first multiple of the interval, counted from the Unix epoch, that is later than `after`.
pub fn next_nominal(interval: Duration, after: Timestamp) -> Timestamp {
    let step = i64::try_from(interval.as_micros()).unwrap_or(i64::MAX).max(1);
    let periods = after.as_micros().div_euclid(step).saturating_add(1);
    Timestamp::from_micros(periods.saturating_mul(step))
}

/// The latest multiple of the interval that is not later than `now`.
fn latest_nominal(interval: Duration, now: Timestamp) -> Timestamp {
    let step = i64::try_from(interval.as_micros()).unwrap_or(i64::MAX).max(1);
    Timestamp::from_micros(now.as_micros().div_euclid(step).saturating_mul(step))
}

impl Engine {
    /// Starts runs at the nominal times of these schedules, until told to stop. After an outage the latest missed
    /// time is made up for, once; a time whose predecessor still runs is skipped.
    ///
    /// # Errors
    /// Where a schedule names an unknown workflow, or the store fails for good.
    pub async fn run_schedules(&self, schedules: Vec<Schedule>, stop: CancellationToken) -> Result<(), EngineError> {
        if let Some(unknown) = schedules.iter().find(|s| self.shared.workflows.get(&s.workflow).is_none()) {
            return Err(EngineError::UnknownWorkflow(unknown.workflow.clone()));
        }
        let mut rows = self.shared.store.declare_schedules(schedules).await?;
        let begun = self.shared.clock.wall();
        let mut failing = false;
        loop {
            self.shared.bump();
            let mut next = self.shared.clock.wall().after(LONGEST);
            let mut failed = false;
            for row in &mut rows {
                match self.tick(row, begun).await {
                    Ok(due) => next = next.min(due),
                    Err(error @ (StoreError::Closed | StoreError::Unusable(_))) => return Err(error.into()),
                    Err(error) => {
                        failed = true;
                        // Told once, however long it lasts.
                        if !std::mem::replace(&mut failing, true) {
                            tracing::warn!(schedule = row.schedule.name, %error, "tick failed, it is tried again");
                        }
                        next = next.min(self.shared.clock.wall().after(AFTER_FAILURE));
                    }
                }
            }
            failing = failed;
            let pause = next.since(self.shared.clock.wall()).min(LONGEST);
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Deals with the latest nominal time that has come; says when the next one will.
    async fn tick(&self, row: &mut ScheduleRow, begun: Timestamp) -> Result<Timestamp, StoreError> {
        let (wall, now) = (self.shared.clock.wall(), self.shared.clock.now());
        let interval = row.schedule.interval;
        let nominal = latest_nominal(interval, wall);
        // A schedule that never ticked begins with the first time after it was declared.
        if nominal <= row.high_water.unwrap_or(begun) || self.is_draining() {
            return Ok(next_nominal(interval, wall));
        }
        let Some(workflow) = self.shared.workflows.get(&row.schedule.workflow) else {
            return Ok(next_nominal(interval, wall));
        };
        let origin = Origin { schedule: row.schedule.name.clone(), nominal };
        let id = identity::tick_run(row.uid, nominal);
        let mut run = new_run(workflow, id, now, now.after(workflow.deadline), Some(origin));
        pending(&mut run, workflow, Bytes::new());
        let tick = Tick { schedule: row.schedule.name.clone(), uid: row.uid, nominal, run };
        let ticked = self.shared.store.tick(tick).await.inspect_err(|_| {
            // It may have started the run all the same.
            self.shared.due.notify_one();
        });
        match ticked? {
            Ticked::Started => {
                tracing::info!(schedule = row.schedule.name, run = %id, nominal = %nominal, "tick started a run");
                self.shared.due.notify_one();
                row.last_run = Some(id);
            }
            Ticked::Overlapped(last) => {
                tracing::info!(schedule = row.schedule.name, run = %last, nominal = %nominal, "tick skipped, the last run goes on");
            }
            Ticked::Past => {}
        }
        row.high_water = Some(nominal);
        Ok(next_nominal(interval, self.shared.clock.wall()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nominal_times_are_multiples_of_the_interval() {
        let minute = Duration::from_secs(60);
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        assert_eq!(next_nominal(minute, at(0)), at(60));
        assert_eq!(next_nominal(minute, at(59)), at(60));
        assert_eq!(next_nominal(minute, at(60)), at(120));
        assert_eq!(latest_nominal(minute, at(119)), at(60));
        assert_eq!(latest_nominal(minute, at(120)), at(120));
    }
}
