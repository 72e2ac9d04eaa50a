//! What the engine asks of a store to which several replicas write.

use uuid::Uuid;

use super::{Answer, PlaceWish, RunRow};

/// The part of a [`Store`](super::Store) that is needed as soon as other replicas change runs that this one holds, and hold
/// runs that are asked for here.
pub trait SharedStore: Send + Sync + 'static {
    /// Waits until somebody else has changed runs that this replica holds, or may have made a run due that no replica holds, and gives
    /// the former as they are then, in the latter case none. A change
    /// that is made while nothing waits is given to the next call. After a loss of the claims, what was changed before is
    /// not given: those runs are read again when they are claimed.
    fn changed_by_others(&self) -> Answer<Vec<ChangedRun>>;

    /// Asks the replica that holds a run to give it back. Until it is written to by a
    /// [command](super::Store::command), and for a few seconds at most, no claim takes it. Does nothing to a run that no
    /// replica holds, beside keeping claims away from it.
    fn recall(&self, run: Uuid, recall: Recall) -> Answer<()>;

    /// How far these runs are, those of them that exist, in no particular order.
    fn progress(&self, runs: Vec<Uuid>) -> Answer<Vec<RunProgress>>;

    /// Says that this replica died while it polled these runs, in the life before. The next claim of each tells it, one time.
    fn accuse(&self, runs: Vec<Uuid>) -> Answer<()>;

    /// Says how many places of each limit this replica needs, and answers how many it has from now on, in the same order. What it has
    /// stays its own until its lease is over, so all replicas together never have more than there are.
    fn places(&self, wishes: Vec<PlaceWish>) -> Answer<Vec<u32>>;

    /// Which schedules there are by now, whoever made or changed them.
    fn schedule_news(&self) -> Answer<ScheduleNews>;
}

/// Schedules as all replicas know them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScheduleNews {
    /// Name, uid and generation of each.
    pub schedules: Vec<(String, Uuid, u64)>,
    /// Whether this replica has to declare its schedules again: another one that declared them, or others, is gone.
    pub declare: bool,
}

/// A run of this replica that somebody else changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedRun {
    /// The run as it is now.
    pub row: RunRow,
    /// Whether it is asked for, and how.
    pub recall: Option<Recall>,
}

/// How a replica gives a run back that another one asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recall {
    /// As soon as what is in flight has settled.
    Settled,
    /// Immediately. What is in flight is in doubt.
    Now,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunProgress {
    /// The run.
    pub run: Uuid,
    /// Number of facts in its journal.
    pub sequence: u64,
    /// Whether it has ended.
    pub ended: bool,
}
