//! What a run knows of the tick that started it.

use crate::journal_v1 as stored;
use crate::time::Timestamp;

/// The tick that started a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleInfo {
    /// Name of the schedule.
    pub schedule: String,
    /// The time that the run is for, however late it started. For a trigger, when that was asked for.
    pub nominal: Timestamp,
    /// Nominal time of the schedule's last run that had succeeded then; none where none had.
    pub previous_success: Option<Timestamp>,
}

impl ScheduleInfo {
    pub(crate) fn of(created: &stored::Created) -> Option<Self> {
        (!created.schedule.is_empty()).then(|| Self {
            schedule: created.schedule.clone(),
            nominal: Timestamp::from_micros(created.nominal_micros),
            previous_success: created.previous_success_micros.map(Timestamp::from_micros),
        })
    }
}
