//! Schedules as stored: what they are, what became of their ticks, and what is asked of them.

use bytes::Bytes;
use uuid::Uuid;

use super::{AuditedChange, NewRun, RunRow};
use crate::schedule::{Overlap, Policy, Spec};
use crate::time::Timestamp;

/// What a schedule is: when it starts runs of which workflow, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    pub name: String,
    pub workflow: String,
    /// The encoded input message of each run.
    pub input: Bytes,
    pub spec: Spec,
    pub policy: Policy,
}

impl Schedule {
    /// One that starts runs with the workflow's empty input, and deals with its ticks as the defaults say.
    pub fn new(name: impl Into<String>, workflow: impl Into<String>, spec: Spec) -> Self {
        Self { name: name.into(), workflow: workflow.into(), input: Bytes::new(), spec, policy: Policy::default() }
    }
}

/// Where a schedule is defined. Of two with one name the configuration's wins over the code's, and either over one that
/// was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Over the admin API.
    Api = 1,
    /// In code, next to its workflow.
    Code = 2,
    Configuration = 3,
}

/// A schedule as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleRow {
    pub schedule: Schedule,
    pub source: Source,
    /// Made when the schedule was created; ids of runs derive from it (semantics.md T2).
    pub uid: Uuid,
    /// Bumped by every change that people make.
    pub generation: u64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Nominal time up to which everything was dealt with.
    pub high_water: Timestamp,
    /// Later nominal times that started runs before the clock was set back to now.
    pub ahead: Vec<Timestamp>,
    pub paused: Option<PausedSchedule>,
    /// When its definition disappeared.
    pub retired_at: Option<Timestamp>,
    pub facts: ScheduleFacts,
    /// Runs that have not ended, the first of them, in the order of their starts.
    pub open: Vec<Uuid>,
    /// Backfills that continue.
    pub backfilling: u32,
}

impl ScheduleRow {
    /// One that is not stored, as it would be.
    pub fn of(schedule: Schedule, now: Timestamp) -> Self {
        Self {
            schedule,
            source: Source::Api,
            uid: Uuid::nil(),
            generation: 0,
            created_at: now,
            updated_at: now,
            high_water: now,
            ahead: Vec::new(),
            paused: None,
            retired_at: None,
            facts: ScheduleFacts::default(),
            open: Vec::new(),
            backfilling: 0,
        }
    }
}

/// What happened to a schedule so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScheduleFacts {
    /// Rows of its ledger so far, those that were dropped too.
    pub rows: u64,
    /// Runs that its own ticks started.
    pub started: u64,
    /// Ticks that started none although they should: skipped, missed, without room, or failed to start.
    pub missed: u64,
    /// Nominal time of the last one of those.
    pub last_missed: Option<Timestamp>,
    /// Ticks in a row that were skipped or had no room.
    pub consecutive_skips: u64,
    pub consecutive_failures: u64,
    /// The last run that a tick started, its nominal time, and how late it was, in microseconds.
    pub last_run: Option<Uuid>,
    pub last_nominal: Option<Timestamp>,
    pub lateness: Option<u64>,
    /// When a run last succeeded, and the nominal time of the last that did.
    pub last_success: Option<Timestamp>,
    pub last_success_nominal: Option<Timestamp>,
    /// Ticks that wait for the end of a run.
    pub buffered: u32,
    /// Why the last tick could not start its run, or those that wait cannot; empty since one could.
    pub problem: String,
}

/// Who stopped a schedule, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PausedSchedule {
    pub at: Timestamp,
    pub by: String,
    pub note: String,
}

/// One row of the ledger: a nominal time, or several in a row to which the same happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TickRow {
    /// Counts the rows of the schedule.
    pub number: u64,
    pub first: Timestamp,
    pub last: Timestamp,
    /// How many nominal times they are, at least.
    pub count: u64,
    pub outcome: TickOutcome,
    pub reason: String,
    pub origin: TickOrigin,
    /// The run that it started, or the one that it was skipped for.
    pub run: Option<Uuid>,
    /// When it was dealt with.
    pub at: Timestamp,
}

/// What became of a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TickOutcome {
    Started = 1,
    /// An earlier run continues.
    Skipped = 2,
    /// No one was there, and the policy makes not up for it.
    Missed = 3,
    Paused = 4,
    /// It waits for the end of a run.
    Buffered = 5,
    /// It would, and there is no room.
    BufferFull = 6,
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
    pub schedule: Uuid,
    /// The generation that the caller has seen. Another one means that the schedule was changed meanwhile.
    pub generation: u64,
    pub now: Timestamp,
    pub origin: TickOrigin,
    /// Nominal times that start nothing, in order, before the one that does.
    pub passed: Vec<PassedTicks>,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutTicks {
    pub number: u64,
    pub last: Timestamp,
    pub count: u64,
}

/// Nominal times that start nothing, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedTicks {
    pub first: Timestamp,
    pub last: Timestamp,
    pub count: u64,
    pub outcome: TickOutcome,
    pub reason: String,
}

/// A nominal time that should start a run.
#[derive(Clone, Debug)]
pub struct TickStart {
    pub nominal: Timestamp,
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
    Done(Box<TickDone>),
    /// The schedule is not as it was seen; nothing was written.
    Stale(Box<ScheduleRow>),
    /// It was dealt with before, or the schedule is gone.
    Past,
    /// The same request was answered before with this.
    Existing {
        outcome: Option<TickOutcome>,
        run: Option<Uuid>,
    },
}

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

/// What a request about a schedule was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScheduleAnswer {
    /// The schedule as it is, or as it was when it was removed, without its input and its notes.
    Schedule(Box<ScheduleRow>),
    /// What a trigger came to, and the run that it started or was skipped for.
    Triggered { outcome: Option<TickOutcome>, run: Option<Uuid> },
    /// The backfill as it is.
    Backfill(Box<BackfillRow>),
}

/// What the ends of a schedule's runs make possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    pub row: ScheduleRow,
    /// Ticks that have waited and may start now, in order.
    pub ready: Vec<TickRow>,
    /// Whether a run that waited for the end of others is due now.
    pub due: bool,
    pub backfills: Vec<BackfillRow>,
}

/// A change of one schedule that somebody asks for.
#[derive(Clone, Debug)]
pub struct ScheduleCommand {
    pub name: String,
    pub now: Timestamp,
    /// The generation that it must have; any where none is said.
    pub generation: Option<u64>,
    pub change: AuditedChange,
    pub kind: ScheduleCommandKind,
}

#[derive(Clone, Debug)]
pub enum ScheduleCommandKind {
    Create(Box<Schedule>),
    Update(Box<Schedule>),
    Delete,
    Pause,
    Resume,
    Backfill(Box<BackfillRow>),
    CancelBackfill(Uuid),
}

/// Starts the runs of a range of nominal times, beside the schedule's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackfillRow {
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
    pub created_at: Timestamp,
    /// How far it has come: the last nominal time that was dealt with.
    pub cursor: Timestamp,
    pub started: u64,
    /// Excluded times.
    pub passed: u64,
    pub ended_at: Option<Timestamp>,
    pub cancelled: bool,
    /// Runs of it that have not ended.
    pub open: u32,
    pub last_start: Option<Timestamp>,
}

/// A filter over schedules, by name. The page continues after `after`.
#[derive(Clone, Debug, Default)]
pub struct ListSchedules {
    pub name: Option<String>,
    pub workflow: Option<String>,
    /// Only those of which a tick at this time or later started nothing although it should.
    pub missed_since: Option<Timestamp>,
    pub after: Option<String>,
    pub limit: u32,
}

/// A filter over the ledger of one schedule, newest first. The page continues below `before`.
#[derive(Clone, Debug)]
pub struct ListTicks {
    pub schedule: Uuid,
    pub before: Option<u64>,
    pub limit: u32,
}

/// What code and configuration say about schedules.
#[derive(Clone, Debug)]
pub struct Declare {
    pub now: Timestamp,
    /// Version of the zone database by which schedules are dealt with from now on.
    pub zone_database: &'static str,
    pub schedules: Vec<(Source, Schedule)>,
}

/// Schedules as they are declared now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    pub rows: Vec<ScheduleRow>,
    /// Those that were retired until now, and since when.
    pub returned: Vec<(Uuid, Timestamp)>,
    /// Version of the zone database by which schedules were dealt with before; none if that is not known.
    pub zone_database: Option<String>,
}

/// Why a schedule does not take an order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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
