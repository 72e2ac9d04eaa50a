//! How a journal is read whose times were written by a clock that was ahead (semantics.md C1): a pause is over after its length,
//! and how long ago a call was started no one knows.

use super::{History, PendingKind};
use crate::journal::{JournalError, Kind};
use crate::journal_v1 as stored;
use crate::store::{RunRow, SetBack};
use crate::time::Timestamp;

/// A start so long ago that it is beyond every horizon.
const LONG_AGO: Timestamp = Timestamp::from_micros(i64::MIN);

/// Moves the times of the facts of this run that a clock wrote which was ahead.
pub(crate) fn move_facts(row: &RunRow, facts: &mut [stored::Fact]) {
    let Some(SetBack { before, by, .. }) = row.set_back else { return };
    let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    // Zero says in some places that there is no time.
    let back = |time: &mut i64| {
        if *time != 0 {
            *time = time.saturating_sub(by);
        }
    };
    for fact in facts.iter_mut().take(usize::try_from(before).unwrap_or(usize::MAX)) {
        back(&mut fact.time_micros);
        match &mut fact.kind {
            Some(Kind::StepStarted(started)) => back(&mut started.attempt_deadline_micros),
            Some(Kind::AttemptStarted(started)) => back(&mut started.attempt_deadline_micros),
            Some(Kind::AttemptFailed(failed)) => back(&mut failed.retry_at_micros),
            Some(Kind::SleepStarted(sleep)) => back(&mut sleep.until_micros),
            Some(Kind::SignalAwaited(wait)) => back(&mut wait.until_micros),
            _ => {}
        }
    }
}

impl History {
    /// Reads the journal of this run, whose times were moved before.
    pub(crate) fn of(row: &RunRow, facts: Vec<stored::Fact>) -> Result<Self, JournalError> {
        let mut history = Self::read(facts)?;
        history.doubt_starts(row);
        Ok(history)
    }

    /// Calls that were started in what is the future of the clock that goes now are beyond their horizon.
    fn doubt_starts(&mut self, row: &RunRow) {
        let Some(SetBack { before, by, to }) = row.set_back else { return };
        let doubt = |step: u64, started: &mut Timestamp| {
            if step <= before && started.after(by) > to {
                *started = LONG_AGO;
            }
        };
        for open in self.open.values_mut() {
            if let PendingKind::Effect { sequence, started_at, .. } = &mut open.kind {
                doubt(*sequence, started_at);
            }
        }
        for undoable in &mut self.undoables {
            doubt(undoable.step, &mut undoable.started_at);
        }
    }
}
