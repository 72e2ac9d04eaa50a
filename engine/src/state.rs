//! The states of a run and the one table of moves between them (semantics.md S1).

use std::fmt;

/// What a run is doing. The number is stored; it never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// Accepted, not yet begun.
    Pending = 1,
    /// Makes steps.
    Running = 2,
    /// Sleeps, or waits for a message.
    Waiting = 3,
    /// A step waits for its next attempt.
    BackingOff = 4,
    /// Stopped by an operator.
    Paused = 5,
    /// Cannot continue by itself; the reason says why.
    Blocked = 6,
    /// An operator has to say whether a call happened.
    NeedsDecision = 7,
    /// Makes no new steps; what is in flight settles.
    Ending = 8,
    /// Ended well.
    Succeeded = 100,
    /// Ended with a failure.
    Failed = 101,
    /// Ended because an operator asked for it.
    Cancelled = 102,
    /// Ended by force.
    Terminated = 103,
}

use State::{
    BackingOff, Blocked, Cancelled, Ending, Failed, NeedsDecision, Paused, Pending, Running, Succeeded, Terminated,
    Waiting,
};

/// Every legal move. A run that is released or taken over keeps its state; that is no move.
pub const MOVES: &[(State, &[State])] = &[
    (
        Pending,
        &[
            Running,
            Waiting,
            BackingOff,
            Paused,
            Blocked,
            NeedsDecision,
            Ending,
            Succeeded,
            Failed,
            Cancelled,
            Terminated,
        ],
    ),
    (Running, &[Waiting, BackingOff, Paused, Blocked, NeedsDecision, Ending, Succeeded, Failed, Cancelled, Terminated]),
    (Waiting, &[Running, BackingOff, Paused, Blocked, NeedsDecision, Ending, Succeeded, Failed, Cancelled, Terminated]),
    (BackingOff, &[Running, Waiting, Paused, Blocked, NeedsDecision, Ending, Succeeded, Failed, Cancelled, Terminated]),
    // A pause ends when the run is cancelled, or its deadline passes.
    (
        Paused,
        &[
            Pending,
            Running,
            Waiting,
            BackingOff,
            Blocked,
            NeedsDecision,
            Ending,
            Succeeded,
            Failed,
            Cancelled,
            Terminated,
        ],
    ),
    (Blocked, &[Pending, Running, NeedsDecision, Ending, Succeeded, Failed, Cancelled, Terminated]),
    (
        NeedsDecision,
        &[Pending, Running, Waiting, BackingOff, Blocked, Ending, Succeeded, Failed, Cancelled, Terminated],
    ),
    (Ending, &[NeedsDecision, Blocked, Succeeded, Failed, Cancelled, Terminated]),
    (Failed, &[Pending]),
];

impl State {
    /// All states, in the order of the table.
    pub const ALL: [Self; 12] = [
        Pending,
        Running,
        Waiting,
        BackingOff,
        Paused,
        Blocked,
        NeedsDecision,
        Ending,
        Succeeded,
        Failed,
        Cancelled,
        Terminated,
    ];

    /// Whether the run is over; only RetryRun leaves FAILED again.
    pub const fn is_end(self) -> bool {
        self as u8 >= Succeeded as u8
    }

    /// Whether the table allows this move. Staying is always allowed.
    pub fn may_become(self, next: Self) -> bool {
        self == next || MOVES.iter().any(|(from, to)| *from == self && to.contains(&next))
    }

    /// The state stored as this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| *state as u8 == number)
    }

    /// The name as the admin API spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Pending => "PENDING",
            Running => "RUNNING",
            Waiting => "WAITING",
            BackingOff => "BACKING_OFF",
            Paused => "PAUSED",
            Blocked => "BLOCKED",
            NeedsDecision => "NEEDS_DECISION",
            Ending => "ENDING",
            Succeeded => "SUCCEEDED",
            Failed => "FAILED",
            Cancelled => "CANCELLED",
            Terminated => "TERMINATED",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
