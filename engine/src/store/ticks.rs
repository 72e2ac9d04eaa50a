//! Ticks: what is written down about the nominal times of a schedule, and what became of them.

use uuid::Uuid;

use super::schedules::ScheduleRow;
use super::{AuditedChange, NewRun, RunRow};
use crate::schedule::Overlap;
use crate::time::Timestamp;

/// One row of the ledger: a nominal time, or several in a row to which the same happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TickRow {
    /// Counts the rows of the schedule.
    pub number: u64,
    /// The first nominal time.
    pub first: Timestamp,
    /// The last nominal time.
    pub last: Timestamp,
    /// How many nominal times they are, at least.
    pub count: u64,
    /// What became of them.
    pub outcome: TickOutcome,
    /// Why, if the outcome alone does not say it.
    pub reason: String,
    /// Where they come from.
    pub origin: TickOrigin,
    /// The run that it started, or the one that it was skipped for.
    pub run: Option<Uuid>,
    /// When it was dealt with.
    pub at: Timestamp,
}

/// What became of a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TickOutcome {
    /// It started a run.
    Started = 1,
    /// An earlier run continues.
    Skipped = 2,
    /// No one was there, and the policy makes not up for it.
    Missed = 3,
    /// The schedule was paused.
    Paused = 4,
    /// It waits for the end of a run.
    Buffered = 5,
    /// It would, and there is no room.
    BufferFull = 6,
    /// The schedule excludes the time.
    Excluded = 7,
    /// The schedule has started as many runs as it may.
    Ended = 8,
    /// Its run could not be made.
    Failed = 9,
}

impl TickOutcome {
    /// Whether a run should have started and did not.
    pub const fn is_missed(self) -> bool {
        matches!(self, Self::Skipped | Self::Missed | Self::BufferFull | Self::Failed)
    }

    /// The outcome with this stored number; `None` if there is none.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Started,
            2 => Self::Skipped,
            3 => Self::Missed,
            4 => Self::Paused,
            5 => Self::Buffered,
            6 => Self::BufferFull,
            7 => Self::Excluded,
            8 => Self::Ended,
            9 => Self::Failed,
            _ => return None,
        })
    }
}

/// Where a tick comes from. It is part of its key (semantics.md T2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TickOrigin {
    /// The schedule's own times.
    Clock,
    /// An operator, each time another.
    Trigger(Uuid),
    /// A backfill, by its id.
    Backfill(Uuid),
}

impl TickOrigin {
    /// What tells the ticks of one nominal time apart; none for the schedule's own.
    pub const fn id(self) -> Option<Uuid> {
        match self {
            Self::Clock => None,
            Self::Trigger(id) | Self::Backfill(id) => Some(id),
        }
    }
}

/// Something to write down about nominal times, in one transaction (semantics.md T1).
#[derive(Clone, Debug)]
pub struct Tick {
    /// The uid of the schedule.
    pub schedule: Uuid,
    /// The generation that the caller has seen. Another one means that the schedule was changed meanwhile.
    pub generation: u64,
    /// What the time is.
    pub now: Timestamp,
    /// Where the times come from.
    pub origin: TickOrigin,
    /// Nominal times that start nothing, in order, before the one that does.
    pub passed: Vec<PassedTicks>,
    /// The nominal time that should start a run.
    pub start: Option<TickStart>,
    /// A nominal time after those that has its row and its run since before the clock was set back.
    pub known: Option<Timestamp>,
    /// If the clock was set back: nothing else is done then.
    pub rewind: Option<Rewind>,
    /// Why nothing that waits can start: nothing else is written down then.
    pub problem: Option<String>,
    /// Who asks, for a trigger.
    pub change: Option<AuditedChange>,
}

impl Tick {
    /// One of this schedule as it is seen, in which nothing is written down yet.
    pub fn of(row: &ScheduleRow, origin: TickOrigin, now: Timestamp) -> Self {
        Self {
            schedule: row.uid,
            generation: row.generation,
            now,
            origin,
            passed: Vec::new(),
            start: None,
            known: None,
            rewind: None,
            problem: None,
            change: None,
        }
    }
}

/// Takes a schedule back, so that times come again that were dealt with while the clock was ahead. What started a run or
/// waits for one keeps its row; every other row of a later time is forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewind {
    /// The mark that the schedule gets.
    pub to: Timestamp,
    /// The row that stands for times on both sides of that, and what it stands for from then on.
    pub cut: Option<CutTicks>,
}

/// What is left of a row whose later times come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutTicks {
    /// Number of the row.
    pub number: u64,
    /// Its last nominal time from then on.
    pub last: Timestamp,
    /// How many nominal times it stands for from then on.
    pub count: u64,
}

/// Nominal times that start nothing, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedTicks {
    /// The first nominal time.
    pub first: Timestamp,
    /// The last nominal time.
    pub last: Timestamp,
    /// How many nominal times they are, at least.
    pub count: u64,
    /// What became of them.
    pub outcome: TickOutcome,
    /// Why, if the outcome alone does not say it.
    pub reason: String,
}

/// A nominal time that should start a run.
#[derive(Clone, Debug)]
pub struct TickStart {
    /// The nominal time.
    pub nominal: Timestamp,
    /// What it does while earlier runs have not ended.
    pub overlap: Overlap,
    /// The run as it would be created. One that has to wait for the end of others is held by no owner, whatever this says.
    pub run: NewRun,
    /// The row of a tick that has waited, by its number.
    pub buffered: Option<u64>,
    /// What a late start is due to; empty for one that is not.
    pub late: String,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ticked {
    /// It was written down.
    Done(Box<TickDone>),
    /// The schedule is not as it was seen; nothing was written.
    Stale(Box<ScheduleRow>),
    /// It was dealt with before, or the schedule is gone.
    Past,
    /// The same request was answered before with this.
    Existing {
        /// What became of the tick.
        outcome: Option<TickOutcome>,
        /// The run that it started or was skipped for.
        run: Option<Uuid>,
    },
}

/// What is written down of a tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TickDone {
    /// The schedule after it.
    pub row: ScheduleRow,
    /// What became of the start, where one was wished for.
    pub outcome: Option<TickOutcome>,
    /// The run that was started, or the one that it was skipped for.
    pub run: Option<Uuid>,
    /// The run that was started, if it was made as one that this owner holds, and may begin.
    pub held: Option<Box<RunRow>>,
    /// Runs that were asked to end.
    pub cancelled: Vec<Uuid>,
}

/// A filter over the ledger of one schedule, newest first. The page continues below `before`.
#[derive(Clone, Debug)]
pub struct ListTicks {
    /// The uid of the schedule.
    pub schedule: Uuid,
    /// Only rows with a smaller number.
    pub before: Option<u64>,
    /// How many rows are returned, at most.
    pub limit: u32,
}
