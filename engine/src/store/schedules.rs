//! Schedules as stored: what they are, what became of their ticks, and what is asked of them.

use bytes::Bytes;
use uuid::Uuid;

use super::{AuditedChange, NewRun, RunRow};
use crate::schedule::{Overlap, Policy, Spec};
use crate::time::Timestamp;

/// What a schedule is: when it starts runs of which workflow, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The name, which no other schedule has.
    pub name: String,
    /// Name of the workflow whose runs it starts.
    pub workflow: String,
    /// The encoded input message of each run.
    pub input: Bytes,
    /// When it has its times.
    pub spec: Spec,
    /// How its ticks are dealt with.
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
    /// In the configuration of the replica.
    Configuration = 3,
}

/// A schedule as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleRow {
    /// What it is.
    pub schedule: Schedule,
    /// Where it is defined.
    pub source: Source,
    /// Made when the schedule was created; ids of runs derive from it (semantics.md T2).
    pub uid: Uuid,
    /// Bumped by every change that people make.
    pub generation: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was changed last, by people.
    pub updated_at: Timestamp,
    /// Nominal time up to which everything was dealt with.
    pub high_water: Timestamp,
    /// Later nominal times that started runs before the clock was set back to now.
    pub ahead: Vec<Timestamp>,
    /// Who stopped it; `None` if it is not paused.
    pub paused: Option<PausedSchedule>,
    /// When its definition disappeared.
    pub retired_at: Option<Timestamp>,
    /// What happened so far.
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
    /// Runs in a row that ended without success.
    pub consecutive_failures: u64,
    /// The last run that a tick started, its nominal time, and how late it was, in microseconds.
    pub last_run: Option<Uuid>,
    /// The nominal time of the last run.
    pub last_nominal: Option<Timestamp>,
    /// How late the last run was, in microseconds.
    pub lateness: Option<u64>,
    /// When a run last succeeded, and the nominal time of the last that did.
    pub last_success: Option<Timestamp>,
    /// The nominal time of the last run that succeeded.
    pub last_success_nominal: Option<Timestamp>,
    /// Ticks that wait for the end of a run.
    pub buffered: u32,
    /// Why the last tick could not start its run, or those that wait cannot; empty since one could.
    pub problem: String,
}

/// Who stopped a schedule, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PausedSchedule {
    /// When it was paused.
    pub at: Timestamp,
    /// Who paused it, as the caller calls itself.
    pub by: String,
    /// What the caller said about why.
    pub note: String,
}

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

/// A filter over schedules, by name. The page continues after `after`.
#[derive(Clone, Debug, Default)]
pub struct ListSchedules {
    /// Only the schedule with this name.
    pub name: Option<String>,
    /// Only schedules of this workflow.
    pub workflow: Option<String>,
    /// Only those of which a tick at this time or later started nothing although it should.
    pub missed_since: Option<Timestamp>,
    /// Only schedules whose name comes after this.
    pub after: Option<String>,
    /// How many schedules are returned, at most.
    pub limit: u32,
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

/// What code and configuration say about schedules.
#[derive(Clone, Debug)]
pub struct Declare {
    /// What the time is.
    pub now: Timestamp,
    /// Version of the zone database by which schedules are dealt with from now on.
    pub zone_database: &'static str,
    /// All schedules that code and configuration define.
    pub schedules: Vec<(Source, Schedule)>,
}

/// Schedules as they are declared now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// The schedules as stored.
    pub rows: Vec<ScheduleRow>,
    /// Those that were retired until now, and since when.
    pub returned: Vec<(Uuid, Timestamp)>,
    /// Version of the zone database by which schedules were dealt with before; none if that is not known.
    pub zone_database: Option<String>,
}

/// Why a schedule does not take an order.
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
