//! Schedules as stored: what they are, where they are defined, and what happened to them so far.

use bytes::Bytes;
use uuid::Uuid;

use crate::schedule::{Policy, Spec};
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

/// A filter over schedules, by name. The page continues after `after`.
#[derive(Clone, Debug, Default)]
pub struct ListSchedules {
    /// Only the schedule with this name.
    pub name: Option<String>,
    /// Only schedules of this workflow.
    pub workflow: Option<String>,
    /// Only schedules of workflows whose names begin with one of these.
    pub granted: Option<Vec<String>>,
    /// Only those of which a tick at this time or later started nothing although it should.
    pub missed_since: Option<Timestamp>,
    /// Only schedules whose name comes after this.
    pub after: Option<String>,
    /// How many schedules are returned, at most.
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
    /// Names of schedules that are defined in a way that cannot be kept: what is stored under them stays as it is.
    pub kept: Vec<String>,
}

impl Declare {
    /// The names of all schedules that are defined, also of those that cannot be kept.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let declared = self.schedules.iter().map(|(_, schedule)| schedule.name.as_str());
        declared.chain(self.kept.iter().map(String::as_str))
    }
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
