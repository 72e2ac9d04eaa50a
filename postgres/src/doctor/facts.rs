//! What a look at a database found.

use engine::state::State;
use engine::time::Timestamp;

/// Everything; what could not be read has its default, and its name in `unseen`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Facts {
    pub(super) version: String,
    pub(super) schema: i32,
    pub(super) copying: bool,
    /// By the database's clock, in microseconds.
    pub(super) now: Timestamp,
    /// By how many microseconds the database's clock is ahead of this machine's.
    pub(super) ahead: i64,
    /// By how many microseconds the database's clock moved against this machine's between two looks.
    pub(super) leapt: i64,
    /// The latest end of a lease.
    pub(super) last_lease: Option<Timestamp>,
    pub(super) settings: Settings,
    pub(super) replicas: i64,
    /// By state, of runs that have not ended.
    pub(super) runs: Vec<(State, u64)>,
    /// About how many have ended.
    pub(super) ended: u64,
    /// Runs that a replica held which is gone, and since when the longest.
    pub(super) orphans: u64,
    pub(super) orphaned_at: Option<Timestamp>,
    /// Workflow and state of ended runs, with the end of the oldest that is not pinned.
    pub(super) oldest: Vec<(String, State, Timestamp)>,
    pub(super) tables: Vec<TableFacts>,
    pub(super) indexes: Vec<IndexFacts>,
    pub(super) snapshots: Vec<Snapshot>,
    pub(super) prepared: Vec<Prepared>,
    pub(super) slots: Vec<Slot>,
    /// Standbys that are connected.
    pub(super) standbys: i64,
    pub(super) connections: i64,
    /// Transactions since the oldest row that is not frozen.
    pub(super) transactions: i64,
    /// Sessions of which this user sees no more than that they are there.
    pub(super) hidden: i64,
    /// What could not be read, and why.
    pub(super) unseen: Vec<String>,
}

/// What the server says of itself; empty where it does not say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) fsync: String,
    pub(super) synchronous_commit: String,
    pub(super) full_page_writes: String,
    pub(super) autovacuum: String,
    pub(super) synchronous_standby_names: String,
    pub(super) most_connections: i64,
    pub(super) freeze_after: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TableFacts {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) index_bytes: u64,
    pub(super) rows: u64,
    pub(super) dead: u64,
    pub(super) updates: u64,
    pub(super) hot_updates: u64,
    /// Seconds since a vacuum was done; none if there was none.
    pub(super) vacuumed: Option<i64>,
    /// Whether the table itself refuses autovacuum.
    pub(super) refuses_vacuum: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct IndexFacts {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) rows: u64,
    pub(super) is_valid: bool,
}

/// A session that holds rows back from vacuum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) pid: i32,
    pub(super) user: String,
    pub(super) application: String,
    pub(super) state: String,
    pub(super) seconds: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Prepared {
    pub(super) gid: String,
    pub(super) owner: String,
    pub(super) seconds: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) name: String,
    pub(super) is_active: bool,
    /// The write-ahead log that is kept for it.
    pub(super) bytes: u64,
    /// Transactions that it holds back from vacuum.
    pub(super) transactions: i64,
}
