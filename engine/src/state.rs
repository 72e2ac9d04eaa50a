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

/// A legal move, and what causes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// The state after the move.
    pub to: State,
    /// The states before it.
    pub from: &'static [State],
    /// What causes it.
    pub because: &'static str,
}

const fn to(to: State, because: &'static str, from: &'static [State]) -> Move {
    Move { to, from, because }
}

/// States in which a run has not begun to end.
const BEFORE_THE_END: &[State] = &[Pending, Running, Waiting, BackingOff, Paused, Blocked, NeedsDecision];
/// All states but ends.
const OPEN: &[State] = &[Pending, Running, Waiting, BackingOff, Paused, Blocked, NeedsDecision, Ending];

/// Every legal move. A run that is released or taken over keeps its state; that is no move. Nor is a state that no append
/// shows: a run that is claimed, continues and waits again with one append moves directly.
pub const MOVES: &[Move] = &[
    to(Running, "a replica claims it, and its code continues", &[Pending, Waiting, BackingOff]),
    to(Running, "what stopped it is over, or the code of a newer version continues", &[Paused, Blocked, NeedsDecision]),
    to(Waiting, "it sleeps, or waits for a signal or a child", &[Pending, Running, BackingOff]),
    to(Waiting, "what stopped it is over, and it waits as before", &[Paused, NeedsDecision]),
    to(BackingOff, "an attempt failed, a service is down, or its code panicked", &[Pending, Running, Waiting]),
    to(BackingOff, "what stopped it is over, and it waits for its next attempt as before", &[Paused, NeedsDecision]),
    to(Paused, "an operator pauses it, and what was in flight has settled", &[Pending, Running, Waiting, BackingOff]),
    to(
        Blocked,
        "code and journal do not fit, the journal cannot be read, POISON, or an undo fails",
        &[Pending, Running, Waiting, BackingOff, Paused, NeedsDecision, Ending],
    ),
    to(
        NeedsDecision,
        "an effect of unknown level is in doubt",
        &[Pending, Running, Waiting, BackingOff, Paused, Blocked, Ending],
    ),
    to(Pending, "an operator resumes it", &[Paused]),
    to(Pending, "an operator decides", &[NeedsDecision]),
    to(Pending, "an operator retries it", &[Blocked, Failed]),
    to(Ending, "its code returned or failed, an operator cancels it, or its deadline passes", BEFORE_THE_END),
    to(Ending, "it was ending, and an operator decides, or retries its undo", &[NeedsDecision, Blocked]),
    to(Succeeded, "its code returned, and all steps and children have settled", OPEN),
    to(Failed, "its code failed or its deadline passed, and all is settled and undone", OPEN),
    to(Cancelled, "an operator cancelled it, and all is settled and undone", OPEN),
    to(Terminated, "an operator terminates it", OPEN),
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
        self == next || MOVES.iter().any(|row| row.to == next && row.from.contains(&self))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn moves_from(from: State) -> Vec<State> {
        State::ALL.into_iter().filter(|to| from != *to && from.may_become(*to)).collect()
    }

    #[test]
    fn each_open_state_can_end_and_no_end_is_left_but_by_a_retry() {
        for from in State::ALL {
            let expected: &[State] = match from {
                Failed => &[Pending],
                end if end.is_end() => &[],
                _ => {
                    for end in [Succeeded, Failed, Cancelled, Terminated] {
                        assert!(from.may_become(end), "{from} to {end}");
                    }
                    continue;
                }
            };
            assert_eq!(moves_from(from), expected, "{from}");
        }
    }

    #[test]
    fn a_run_that_ends_stops_only_for_an_operator() {
        assert_eq!(moves_from(Ending), [Blocked, NeedsDecision, Succeeded, Failed, Cancelled, Terminated]);
    }

    #[test]
    fn a_pause_takes_no_run_that_an_operator_is_asked_about() {
        assert!(!Blocked.may_become(Paused) && !NeedsDecision.may_become(Paused) && !Ending.may_become(Paused));
    }

    #[test]
    fn no_row_of_the_table_repeats_another_or_itself() {
        for (at, row) in MOVES.iter().enumerate() {
            assert!(!row.from.contains(&row.to), "{row:?}");
            assert!(!MOVES[..at].contains(row), "{row:?}");
        }
    }
}
