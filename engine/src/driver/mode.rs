//! What a run is about, and how that changes.
//!
//! | from | to | because |
//! |---|---|---|
//! | `NoCode` | `Running` | code has reached the end of its journal |
//! | `Running` | `NoCode` | code returned, failed or panicked, or what it waits for cannot be made |
//! | `NoCode`, `Running`, `Stopped` | `Stopped` | a pause, a fault, a panic, a journal that cannot be read |
//! | `NoCode`, `Running`, `Stopped` | `Ending` | code ended, cancel, deadline, a limit |
//! | `Ending` | `Ending`, stopped | an undo failed, or needs code that is not there |
//! | `Ending`, not stopped | `Ended` | nothing is open and nothing is left to undo |
//! | all but `Ended` | `Ended` | an operator terminates the run |
//!
//! A run that is stopped never continues in memory: once what is in flight has settled, it is given back, and loaded again
//! when it is due.

use bytes::Bytes;

use super::code::{Code, Finished};
use crate::failure::Failure;
use crate::state::State;
use crate::time::Timestamp;

pub(super) enum Mode {
    /// Code is being loaded, or has just ended: what follows decides.
    NoCode,
    Running(Code),
    /// What is in flight settles, then the run is given back.
    Stopped(Stop),
    /// No new steps; what is in flight settles, and what has to be undone is undone.
    Ending {
        end: End,
        stop: Option<Stop>,
    },
    /// The end is recorded: the next append is the last.
    Ended(End),
}

/// How a run ends.
pub(super) struct End {
    pub(super) state: State,
    pub(super) result: Result<Bytes, Failure>,
}

/// Why a run does not continue here.
pub(super) enum Stop {
    /// An operator paused it.
    Paused,
    /// It needs an operator.
    Blocked { reason: String },
    /// It needs an operator, and what it has in flight is not known.
    Unreadable { reason: String },
    /// It continues by itself at this time.
    BackOff { state: State, reason: String, until: Timestamp },
    /// It is given back so that it is loaded from its journal, now.
    Reload { state: State },
}

impl Mode {
    pub(super) fn has_code(&self) -> bool {
        matches!(self, Self::Running(_))
    }

    pub(super) fn code_mut(&mut self) -> Option<&mut Code> {
        match self {
            Self::Running(code) => Some(code),
            _ => None,
        }
    }

    /// Runs code until it waits. Code that ended is dropped.
    pub(super) fn run_code(&mut self) -> Option<Finished> {
        let finished = self.code_mut()?.run();
        if finished.is_some() {
            *self = Self::NoCode;
        }
        finished
    }

    pub(super) fn drop_code(&mut self) {
        if self.has_code() {
            *self = Self::NoCode;
        }
    }

    pub(super) fn stop(&self) -> Option<&Stop> {
        match self {
            Self::Stopped(stop) | Self::Ending { stop: Some(stop), .. } => Some(stop),
            _ => None,
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop().is_some()
    }

    pub(super) fn is_paused(&self) -> bool {
        matches!(self.stop(), Some(Stop::Paused))
    }

    pub(super) fn is_unreadable(&self) -> bool {
        matches!(self.stop(), Some(Stop::Unreadable { .. }))
    }

    /// Whether only an operator has the run continue.
    pub(super) fn needs_operator(&self) -> bool {
        matches!(self.stop(), Some(Stop::Blocked { .. } | Stop::Unreadable { .. }))
    }

    /// Whether a pause would stop the run in another way than it is stopped.
    pub(super) fn may_pause(&self) -> bool {
        let otherwise = !matches!(self.stop(), Some(Stop::Paused | Stop::Unreadable { .. } | Stop::Reload { .. }));
        !self.is_ending() && otherwise
    }

    /// How the run ends, as soon as that is decided.
    pub(super) fn end(&self) -> Option<&End> {
        match self {
            Self::Ending { end, .. } | Self::Ended(end) => Some(end),
            _ => None,
        }
    }

    pub(super) fn is_ending(&self) -> bool {
        self.end().is_some()
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self, Self::Ended(_))
    }

    pub(super) fn set_running(&mut self, code: Code) {
        debug_assert!(matches!(self, Self::NoCode), "code runs only where nothing else is decided");
        *self = Self::Running(code);
    }

    pub(super) fn set_stopped(&mut self, stop: Stop) {
        match self {
            Self::NoCode | Self::Running(_) | Self::Stopped(_) => *self = Self::Stopped(stop),
            Self::Ending { stop: stopped, .. } => *stopped = Some(stop),
            Self::Ended(_) => {}
        }
    }

    /// The time of a run that continues by itself has come.
    pub(super) fn skip_back_off(&mut self, now: Timestamp) {
        if let Self::Stopped(Stop::BackOff { until, .. })
        | Self::Ending { stop: Some(Stop::BackOff { until, .. }), .. } = self
        {
            *until = now;
        }
    }

    pub(super) fn set_ending(&mut self, end: End) {
        debug_assert!(!self.is_ending(), "a run ends one time");
        *self = Self::Ending { end, stop: None };
    }

    /// The end that is to be recorded now, if nothing but that is left to do.
    pub(super) fn conclude(&mut self) -> Option<&End> {
        match std::mem::replace(self, Self::NoCode) {
            Self::Ending { end, stop: None } => {
                *self = Self::Ended(end);
                self.end()
            }
            other => {
                *self = other;
                None
            }
        }
    }

    pub(super) fn terminate(&mut self, end: End) {
        *self = Self::Ended(end);
    }

    /// The result of a run that has ended.
    pub(super) fn take_result(&mut self) -> Option<Result<Bytes, Failure>> {
        match std::mem::replace(self, Self::NoCode) {
            Self::Ending { end, .. } | Self::Ended(end) => Some(end.result),
            _ => None,
        }
    }
}

impl Stop {
    /// What the row of the run says, if that is not said by what the run does.
    pub(super) fn says(&self) -> (State, String) {
        match self {
            Self::Paused => (State::Paused, String::new()),
            Self::Blocked { reason } | Self::Unreadable { reason } => (State::Blocked, reason.clone()),
            Self::BackOff { state, reason, .. } => (*state, reason.clone()),
            Self::Reload { state } => (*state, String::new()),
        }
    }
}
