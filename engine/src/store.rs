//! What the engine asks of a store: every operation atomic, fenced by epoch, and grouped with what else waits.
//!
//! Implementations: [`sqlite`] for one replica, and a crate of its own for many replicas over PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use uuid::Uuid;

use crate::claim::Claim;
use crate::state::State;
use crate::time::Timestamp;

mod changes;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
pub mod copying;
pub mod doctor;
pub mod filter;
mod in_flight;
mod inbox;
mod lane;
mod places;
mod reader;
mod related_runs;
mod schedule_commands;
mod schedules;
mod shared;
pub mod sqlite;
mod stored_schedule;
pub mod support;
mod ticks;

pub use changes::{
    AuditEntry, AuditField, AuditedChange, BulkRequest, Command, CommandKind, ListAudit, Pause, Paused, Purge, Purged,
    Refusal, RequestKey, Requester, UnownedAppend,
};
pub use filter::{Comparison, Filter, Value};
pub use in_flight::{InFlight, LookAtRuns};
pub use inbox::{Message, Signal};
pub(crate) use lane::Lane;
pub use lane::{ForCaller, for_caller};
pub use places::{PlaceWish, Share, share};
pub use reader::StoreReader;
pub use related_runs::{ChildEndNotice, Parent, RelatedRuns};
pub use schedule_commands::{
    BackfillRow, ScheduleAnswer, ScheduleCommand, ScheduleCommandKind, ScheduleRefusal, Settled,
};
pub use schedules::{Declare, Declared, ListSchedules, PausedSchedule, Schedule, ScheduleFacts, ScheduleRow, Source};
pub use shared::{ChangedRun, Recall, RunProgress, ScheduleNews, SharedStore};
pub use ticks::{
    CutTicks, ListTicks, PassedTicks, Rewind, Tick, TickDone, TickOrigin, TickOutcome, TickRow, TickStart, Ticked,
};

/// A page of a journal is over with the entry that brings it to so many bytes.
pub const JOURNAL_PAGE_BYTES: usize = 4 << 20;

/// The answer to one operation. Dropping it does not take the operation back.
pub type Answer<T> = BoxFuture<'static, Result<T, StoreError>>;

/// Durable runs, their journals, request ids and schedules.
///
/// Writes of one run are done in the order in which the methods are *called* (not polled), a claim comes after everything
/// that was called before it, and what is called after a claim that says what is held comes after that. The store groups
/// writes: one commit carries many. Each answer comes after its commit; one bad operation never fails its neighbours. A run
/// that was read or claimed after a commit shows that commit.
pub trait Store: Send + Sync + 'static {
    /// Creates a run with the first facts of its journal.
    fn create(&self, run: NewRun) -> Answer<Created>;

    /// Appends facts to a claimed run and moves its row, if (epoch, sequence) are still what the owner thinks.
    fn append(&self, append: Append) -> Answer<Appended>;

    /// Claims runs that are due and that no replica holds: pending ones, those whose wake time has come, and those whose
    /// owner is gone. Each gets a new epoch.
    fn claim(&self, claim: ClaimRuns) -> Answer<Claimed>;

    /// Changes a run from outside, with its audit entry and its request id. The same request again changes nothing.
    fn command(&self, command: Command) -> Answer<RunRow>;

    /// Brings the schedules of code and configuration to what is declared. One that is not declared any more is retired;
    /// marks are kept. Answers with those that are declared, as they are stored.
    ///
    /// Of several replicas the one counts whose definition of a schedule appeared last among those that live, and a schedule is
    /// retired only if none that lives declares it.
    fn declare_schedules(&self, declare: Declare) -> Answer<Declared>;

    /// Changes a schedule, with its audit entry and its request id. The same request again changes nothing. A schedule
    /// that is deleted is answered as it was.
    fn schedule_command(&self, command: ScheduleCommand) -> Answer<ScheduleRow>;

    /// Decides about one tick by the runs that continue, writes down what becomes of it, starts its run and advances the
    /// schedule's mark, all or nothing (semantics.md T1).
    fn tick(&self, tick: Tick) -> Answer<Ticked>;

    /// Writes down which runs of a schedule have ended, and says what may start after them.
    fn settle_schedule(&self, schedule: Uuid) -> Answer<Settled>;

    /// Rows of a schedule's ledger, newest first.
    fn ticks(&self, filter: ListTicks) -> Answer<Vec<TickRow>>;

    /// Backfills of a schedule, newest first.
    fn backfills(&self, schedule: Uuid) -> Answer<Vec<BackfillRow>>;

    /// One backfill; after its schedule was removed, as it was then.
    fn backfill(&self, id: Uuid) -> Answer<Option<BackfillRow>>;

    /// Returns what this request about a schedule was answered before. The id of another request is refused.
    fn schedule_answered(&self, change: AuditedChange) -> Answer<Option<ScheduleAnswer>>;

    /// The messages of a run that it has not received, from the one after this number on, oldest first.
    fn inbox(&self, run: Uuid, after: u64) -> Answer<Vec<Message>>;

    /// One run's row.
    fn run(&self, id: Uuid) -> Answer<Option<RunRow>>;

    /// The journal of a run from the fact after `after_sequence` on, at most `limit` entries; fewer where those have
    /// [`JOURNAL_PAGE_BYTES`].
    fn journal(&self, id: Uuid, after_sequence: u64, limit: u32) -> Answer<Vec<JournalEntry>>;

    /// Runs by filter, newest first if not asked otherwise.
    fn list(&self, filter: ListRuns) -> Answer<Vec<RunRow>>;

    /// Runs by filter, counted by workflow and state, in that order. Those without runs are left out.
    fn count(&self, filter: Filter<RunField>) -> Answer<Vec<RunCount>>;

    /// Names of the workflows that runs are or were of, those that no replica knows any more too.
    fn workflows(&self) -> Answer<Vec<String>>;

    /// Runs that have not ended and are of none of these workflows up to these versions, counted, by name and version: those that
    /// [`Store::claim`] leaves alone.
    fn unclaimable(&self, workflows: Vec<(String, u32)>) -> Answer<Vec<Unclaimable>>;

    /// Removes ended runs that are old enough and not pinned, some at a time.
    fn purge(&self, purge: Purge) -> Answer<Purged>;

    /// Drops audit entries that are older than this, some at a time; says how many.
    fn purge_audit(&self, before: Timestamp) -> Answer<u32>;

    /// Returns the run that this request changed before: as it is, or as it was when it was removed, without its texts
    /// (D4). The id of another request is refused.
    fn answered(&self, change: AuditedChange) -> Answer<Option<RunRow>>;

    /// Remembers a request that changes many runs, and whether it is completed by now. The id of another request is
    /// refused. A request without an id is not remembered.
    fn bulk_request(&self, change: AuditedChange, completed: bool) -> Answer<BulkRequest>;

    /// Writes down calls that were refused: one entry for each caller, method and minute, which counts them.
    fn refused(&self, refusals: Vec<Refusal>) -> Answer<()>;

    /// Audit entries by filter, newest first.
    fn audit(&self, filter: ListAudit) -> Answer<Vec<AuditEntry>>;

    /// Schedules by filter, in the order of their names.
    fn schedules(&self, filter: ListSchedules) -> Answer<Vec<ScheduleRow>>;

    /// These schedules, those of them that exist, in no particular order.
    fn schedules_by_uid(&self, uids: Vec<Uuid>) -> Answer<Vec<ScheduleRow>>;

    /// The claim of this owner as it is now, to be asked right before every send of the runs that are created or claimed from
    /// now on. Not held while the store is down, and never again once it is closed or another's. Where claims end by
    /// themselves, one that was lost stays lost, and what comes after it is another one.
    fn ownership(&self) -> Arc<dyn Claim>;

    /// How long after its answer was lost a write may still be done, at most. Zero if the next operation already shows whether
    /// it was.
    fn settles_within(&self) -> Duration {
        Duration::ZERO
    }

    /// Counts the times that all claims of this owner were lost at the same time (the store had to be reopened).
    /// On every change the engine drops all runs from memory and claims them again.
    fn losses(&self) -> watch::Receiver<u64>;

    /// What else several replicas need; none if this store has one replica only.
    fn shared(&self) -> Option<Arc<dyn SharedStore>> {
        None
    }

    /// Makes everything queued durable and closes. Later operations answer [`StoreError::Closed`].
    fn close(&self) -> Answer<()>;
}

/// What is stored of a run beside its journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRow {
    /// The id of the run.
    pub id: Uuid,
    /// Name of its workflow.
    pub workflow: String,
    /// The version of the workflow that created it.
    pub workflow_version: u32,
    /// What its owner wrote last.
    pub status: Status,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its row was changed last.
    pub updated_at: Timestamp,
    /// When it ended; `None` if it has not.
    pub ended_at: Option<Timestamp>,
    /// When the run fails with DEADLINE_EXCEEDED.
    pub deadline: Timestamp,
    /// The tick that started it; `None` if another request did.
    pub origin: Option<Origin>,
    /// Counts the owners the run has had.
    pub epoch: u64,
    /// Number of facts in the journal.
    pub sequence: u64,
    /// Bumped by every command; a start is refused while its owner has not seen the command.
    pub control: u64,
    /// Number of messages that ever came to the run.
    pub messages: u64,
    /// The run that it is a child of.
    pub parent: Option<Uuid>,
    /// Why an operator asked the run to end; none where no one did.
    pub cancel_requested: Option<String>,
    /// The pause that an operator asked for; its state is PAUSED once nothing of the run is under way.
    pub paused: Option<Paused>,
    /// Whether retention leaves the run alone.
    pub pinned: bool,
    /// Whether a replica holds the run.
    pub owned: bool,
    /// Where the store is a copy that was adopted: until when the run's original is known not to have done more than the
    /// copy says.
    pub copied_at: Option<Timestamp>,
    /// Where the clock was set back while no replica lived.
    pub set_back: Option<SetBack>,
}

/// What a step back of the clock over a restart means for the times in a run's journal (semantics.md C1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetBack {
    /// The last fact that was written by the clock that was ahead.
    pub before: u64,
    /// By how much it was ahead.
    pub by: Duration,
    /// What the next clock said when it began.
    pub to: Timestamp,
}

/// The part of a run's row that its owner writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The state.
    pub state: State,
    /// Why, where the state alone does not say it; a constant such as `UNDO_FAILED`, and a sentence after `: `.
    pub reason: String,
    /// The end that an ENDING run will reach.
    pub ending_as: Option<State>,
    /// When the run continues by itself once no replica holds it; none where only a command moves it.
    pub wake_at: Option<Timestamp>,
    /// Names of the messages that make a run due that no replica holds.
    pub awaits: Vec<String>,
    /// Number of journaled steps.
    pub steps: u32,
    /// Code and message of the failure, for lists.
    pub error: Option<(i32, String)>,
}

/// The tick that started a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Name of the schedule.
    pub schedule: String,
    /// The time that the tick stands for.
    pub nominal: Timestamp,
    /// Whether it is one of the schedule's own times, a trigger, or of a backfill; none for a run of an earlier release whose
    /// row is gone from the ledger.
    pub by: Option<TickOrigin>,
}

/// A run to create.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// The id of the run.
    pub id: Uuid,
    /// Name of its workflow.
    pub workflow: String,
    /// The version of the workflow that creates it.
    pub workflow_version: u32,
    /// When it is created.
    pub created_at: Timestamp,
    /// When it fails with DEADLINE_EXCEEDED.
    pub deadline: Timestamp,
    /// The tick that starts it.
    pub origin: Option<Origin>,
    /// The request that starts it; none for a tick.
    pub change: Option<AuditedChange>,
    /// The nominal time of its schedule's last run that had succeeded.
    pub previous_success: Option<Timestamp>,
    /// The run that it is a child of.
    pub parent: Option<Parent>,
    /// Whether the caller drives the run from now on (epoch 1); otherwise it is left for a claim (epoch 0).
    pub claimed: bool,
    /// First facts, encoded as one `orchestrator.journal.v1.Entry`, and their number.
    pub entry: Bytes,
    /// How many facts the entry has.
    pub facts: u64,
    /// The row as it is with these facts.
    pub status: Status,
}

/// What became of a creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// The run is durable.
    New,
    /// The same request created this run before; nothing was written. The run as it is, or as it was when it was removed.
    Existing(Box<RunRow>),
}

/// Facts to append.
#[derive(Clone, Debug)]
pub struct Append {
    /// The run.
    pub run: Uuid,
    /// The epoch of the claim under which the owner appends.
    pub epoch: u64,
    /// Number of facts the owner knows the journal to have.
    pub sequence: u64,
    /// Where the facts start an effect: the control version the owner has seen.
    pub control: Option<u64>,
    /// The facts, encoded as one `orchestrator.journal.v1.Entry`.
    pub entry: Bytes,
    /// How many facts the entry has.
    pub facts: u64,
    /// The row as it is with these facts.
    pub status: Status,
    /// Where the run is given back: the number of messages that the owner knows to have come. If there are more, it looks
    /// at them first.
    pub messages: Option<u64>,
    /// Numbers of the messages that the facts have received; they leave the inbox.
    pub takes: Vec<u64>,
    /// What it does with the run's children and its parent.
    pub related_runs: Option<Box<RelatedRuns>>,
    /// Gives the run back: its state says when it is due again. An ended run is always given back.
    pub release: bool,
    /// What operators asked of the run in memory, and these facts do.
    pub changes: Vec<AuditedChange>,
}

/// What became of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// The facts are durable.
    Done,
    /// Nothing was written: a command or a message came first. The owner looks at the row and decides again.
    Superseded(Box<RunRow>),
}

/// A wish for runs.
#[derive(Clone, Debug)]
pub struct ClaimRuns {
    /// Names of the workflows this replica can run, each with its newest version.
    pub workflows: Vec<(String, u32)>,
    /// What the time is.
    pub now: Timestamp,
    /// How many runs are claimed, at most.
    pub limit: u32,
    /// Where an answer of the store did not come: the runs that the owner has in memory. Others that are its own are
    /// given back first, since no one drives them.
    pub held: Option<Vec<Uuid>>,
}

/// Runs that are now this owner's.
#[derive(Clone, Debug, Default)]
pub struct Claimed {
    /// The runs, each with its new epoch.
    pub runs: Vec<RunRow>,
    /// When the next run becomes due; none where none waits. In the past where the limit cut the claim short.
    pub next_due: Option<Timestamp>,
    /// Those of the runs of which a replica died that polled them, as it said itself later.
    pub suspects: Vec<Uuid>,
}

/// Runs of one workflow and version that are not claimed by who does not know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unclaimable {
    /// Name of the workflow.
    pub workflow: String,
    /// The version that created the runs.
    pub version: u32,
    /// How many runs they are.
    pub runs: u64,
}

/// Whether the name of a workflow is one of those that are granted: it begins with one of these.
pub fn is_granted(granted: Option<&[String]>, workflow: &str) -> bool {
    granted.is_none_or(|prefixes| prefixes.iter().any(|prefix| workflow.starts_with(prefix.as_str())))
}

/// What runs are filtered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunField {
    /// The text of the workflow's name.
    Workflow,
    /// The number of the state.
    State,
    /// The time.
    CreatedAt,
    /// The time.
    UpdatedAt,
    /// The time, if it has ended.
    EndedAt,
    /// The text of the name of the schedule that started it, if one did.
    Schedule,
    /// The text of the reason, if there is one.
    Reason,
    /// The id of the run that it is a child of, if it is one.
    Parent,
    /// The flag.
    Pinned,
    /// The number of the code of its failure, if it has one.
    ErrorCode,
}

/// How many runs of a workflow are in a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunCount {
    /// Name of the workflow.
    pub workflow: String,
    /// The state.
    pub state: State,
    /// How many runs.
    pub runs: u64,
}

impl ListRuns {
    /// Everything that a run has to meet, but for its id.
    pub fn condition(&self) -> Filter<RunField> {
        let mut all = Filter::default();
        if let Some(workflow) = &self.workflow {
            all = all.and(Filter::is(RunField::Workflow, workflow.clone()));
        }
        if !self.states.is_empty() {
            let is = |state: &State| {
                Filter::Compare(RunField::State, Comparison::Equal, Value::Number(i64::from(*state as u8)))
            };
            all = all.and(Filter::Any(self.states.iter().map(is).collect()));
        }
        if let Some(granted) = &self.granted {
            all = all.and(Filter::begins_with_one(&RunField::Workflow, granted.iter().cloned()));
        }
        all.and(self.filter.clone())
    }

    /// Whether no index leads to what the filter asks for, so that a list that finds little has looked at all runs of the
    /// workflows and states that are left.
    pub fn is_scan(&self) -> bool {
        let is_fixed = |field| self.filter.fixed(&field).is_some();
        let is_bounded = || {
            let bounds = |one: &Filter<RunField>| matches!(one, Filter::Compare(RunField::CreatedAt, ..));
            self.filter.conjuncts().iter().any(bounds)
        };
        let asks_for_more = || self.filter.asks_for(&|field| !matches!(field, RunField::Workflow | RunField::State));
        !is_fixed(RunField::Schedule) && !is_fixed(RunField::Parent) && !is_bounded() && asks_for_more()
    }
}

/// A filter over runs. The page continues below `before`, and above `after` where the oldest come first.
#[derive(Clone, Debug, Default)]
pub struct ListRuns {
    /// Only runs of this workflow.
    pub workflow: Option<String>,
    /// Only runs in one of these states; all if there is none.
    pub states: Vec<State>,
    /// Only runs of workflows whose names begin with one of these.
    pub granted: Option<Vec<String>>,
    /// Only runs that meet this.
    pub filter: Filter<RunField>,
    /// Only runs with an id smaller than this (ids grow with creation time).
    pub before: Option<Uuid>,
    /// Only runs with a larger id.
    pub after: Option<Uuid>,
    /// Whether those with small ids come first.
    pub oldest_first: bool,
    /// How many runs are returned, at most.
    pub limit: u32,
}

/// One append as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEntry {
    /// Sequence number of the entry's last fact.
    pub sequence: u64,
    /// The epoch of the owner that appended it.
    pub epoch: u64,
    /// An encoded `orchestrator.journal.v1.Entry`.
    pub entry: Bytes,
}

/// Why an operation was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant says what it is, with its fields")]
pub enum StoreError {
    /// Another owner, or an earlier append of this one, moved the run. Nothing was written.
    #[error("run {0} is no longer at the epoch and sequence this owner knows")]
    Fenced(Uuid),
    #[error("run {0} not found")]
    NotFound(Uuid),
    /// The run's state does not allow the operation. Nothing was written.
    #[error("run {run} is {state}, which does not allow this")]
    Precondition { run: Uuid, state: State },
    #[error("run {run} has {room} messages in its inbox, which is all that it may have")]
    InboxFull { run: Uuid, room: u32 },
    /// A request id was used for another request before. Nothing was written.
    #[error("request_id {0} was used for another request")]
    RequestMismatch(Uuid),
    /// The schedule does not allow the operation. Nothing was written.
    #[error(transparent)]
    Schedule(#[from] ScheduleRefusal),
    /// The store failed; whether the operation was done is unknown.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The store was opened by a newer release, is damaged, or is not ours. Nothing was written.
    #[error("the store cannot be used: {0}")]
    Unusable(String),
    #[error("the store is closed")]
    Closed,
}
