//! What is asked of a schedule, what it is answered, and why it is refused.

use uuid::Uuid;

use super::AuditedChange;
use super::schedules::{Schedule, ScheduleRow, Source};
use super::ticks::{TickOutcome, TickRow};
use crate::schedule::Spec;
use crate::time::Timestamp;

/// What a request about a schedule was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScheduleAnswer {
    /// The schedule as it is, or as it was when it was removed, without its input and its notes.
    Schedule(Box<ScheduleRow>),
    /// What a trigger came to, and the run that it started or was skipped for.
    Triggered {
        /// What became of the tick.
        outcome: Option<TickOutcome>,
        /// The run that it started or was skipped for.
        run: Option<Uuid>,
    },
    /// The backfill as it is.
    Backfill(Box<BackfillRow>),
}

/// What the ends of a schedule's runs make possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The schedule after it.
    pub row: ScheduleRow,
    /// Ticks that have waited and may start now, in order.
    pub ready: Vec<TickRow>,
    /// Whether a run that waited for the end of others is due now.
    pub due: bool,
    /// Backfills of the schedule that continue.
    pub backfills: Vec<BackfillRow>,
}

/// A change of one schedule that somebody asks for.
#[derive(Clone, Debug)]
pub struct ScheduleCommand {
    /// Name of the schedule.
    pub name: String,
    /// What the time is.
    pub now: Timestamp,
    /// The generation that it must have; any where none is said.
    pub generation: Option<u64>,
    /// What is audited.
    pub change: AuditedChange,
    /// What is done.
    pub kind: ScheduleCommandKind,
}

/// What a command does to a schedule.
#[derive(Clone, Debug)]
pub enum ScheduleCommandKind {
    /// Creates it; refused if the name is taken.
    Create(Box<Schedule>),
    /// Replaces what it is; its mark stays.
    Update(Box<Schedule>),
    /// Removes it, and asks runs that wait behind others to end.
    Delete,
    /// Stops its ticks.
    Pause,
    /// Lets its ticks start runs again.
    Resume,
    /// Adds a backfill.
    Backfill(Box<BackfillRow>),
    /// Stops the backfill with this id; runs that it started continue.
    CancelBackfill(Uuid),
}

/// Starts the runs of a range of nominal times, beside the schedule's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackfillRow {
    /// The id of the backfill.
    pub id: Uuid,
    /// Nominal times from this on,
    pub from: Timestamp,
    /// and before this.
    pub until: Timestamp,
    /// Whose nominal times: as the schedule had them when the backfill was asked for. None for one of an earlier release, which
    /// has those of its schedule.
    pub spec: Option<Spec>,
    /// Runs of it at the same time, at most.
    pub at_once: u32,
    /// Starts in a minute, at most; 0 where there is no bound.
    pub per_minute: u32,
    /// How many nominal times there were when it was asked for.
    pub total: u64,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// How far it has come: the last nominal time that was dealt with.
    pub cursor: Timestamp,
    /// Runs that it started.
    pub started: u64,
    /// Excluded times.
    pub passed: u64,
    /// When it ended; `None` if it continues.
    pub ended_at: Option<Timestamp>,
    /// Whether an operator stopped it.
    pub cancelled: bool,
    /// Runs of it that have not ended.
    pub open: u32,
    /// When it started its last run.
    pub last_start: Option<Timestamp>,
}

/// Why a schedule refuses a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant says what it is, with its fields")]
pub enum ScheduleRefusal {
    #[error("schedule {0} not found")]
    NotFound(String),
    #[error("the schedule is gone")]
    Gone,
    #[error("schedule {0} exists already")]
    Exists(String),
    #[error("schedule {name} was changed meanwhile: its etag is {found}, not {expected}")]
    Changed { name: String, expected: u64, found: u64 },
    #[error("schedule {name} is declared in {}; change it there", place(*.by))]
    Declared { name: String, by: Source },
    #[error("schedule {0} is not paused")]
    NotPaused(String),
    #[error("the schedule has no backfill {0}")]
    NoBackfill(Uuid),
    #[error("backfill {0} is over already")]
    BackfillOver(Uuid),
    #[error("{most} backfills of schedule {name} continue already, which is all that may")]
    BusyBackfilling { name: String, most: usize },
}

const fn place(source: Source) -> &'static str {
    match source {
        Source::Api => "the store",
        Source::Code => "code, next to its workflow",
        Source::Configuration => "the configuration",
    }
}
