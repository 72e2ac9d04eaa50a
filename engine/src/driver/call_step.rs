//! A call that has not settled: its attempts, and the phase of the one that is being made.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;
use uuid::Uuid;

use crate::decision::Verdict;
use crate::doubt::Doubt;
use crate::failure::{Code, Failure};
use crate::journal_v1 as stored;
use crate::retry::Retry;
use crate::rpc::{Level, MARGIN};
use crate::scope::CallOptions;
use crate::time::Timestamp;
use crate::transport::Reservation;
use crate::undo::Undo;

pub(super) struct CallStep {
    pub(super) level: Level,
    pub(super) request: Bytes,
    pub(super) hash: [u8; 32],
    pub(super) key: Uuid,
    pub(super) incarnation: u32,
    /// Sequence number and time of the durable start, once there is one.
    pub(super) started: Option<(u64, Timestamp)>,
    /// When every attempt that was started must have had its answer.
    pub(super) deadline: Timestamp,
    /// When the last attempt that was started was about to be sent.
    pub(super) attempted_at: Timestamp,
    pub(super) options: CallOptions,
    /// What takes the call back.
    pub(super) undo: Option<Box<Undo>>,
    /// Sequence number of the start of the step that this call takes back.
    pub(super) undoes: Option<u64>,
    /// Attempts that were begun.
    pub(super) attempts: u32,
    /// Those of them that are not counted when it is tried again: an operator forgave them, or they were given back unsent.
    pub(super) forgiven: u32,
    /// Whether an attempt may have acted; never of a read.
    pub(super) doubt: Doubt,
    phase: Phase,
}

/// What is known of a call when it becomes a step.
pub(super) struct NewCall {
    pub(super) level: Level,
    pub(super) request: Bytes,
    pub(super) hash: [u8; 32],
    pub(super) key: Uuid,
    pub(super) incarnation: u32,
    pub(super) options: CallOptions,
    pub(super) undo: Option<Box<Undo>>,
    pub(super) undoes: Option<u64>,
}

/// What a call waits for.
pub(super) enum Phase {
    /// A permit and a connection.
    Reserving,
    /// Its service, which is down.
    Down(Down),
    /// Has both; its start is still to be written.
    Ready(Box<dyn Reservation>),
    /// Its start is being made durable.
    Starting(Box<dyn Reservation>, Instant),
    /// The outcome of an attempt that may have been sent.
    Sending,
    /// The time of its next attempt.
    BackingOff(Timestamp),
    /// An operator: only a person can say whether it happened.
    Undecided,
}

/// What a step knows of the outage that it waits for.
pub(super) struct Down {
    pub(super) service: Arc<str>,
    pub(super) since: Timestamp,
    pub(super) error: String,
}

impl Phase {
    /// The table of moves of a call that does not settle.
    fn may_become(&self, next: &Self) -> bool {
        use Phase::{BackingOff, Down, Ready, Reserving, Sending, Starting, Undecided};
        match (self, next) {
            // Its service is found to be down.
            (Reserving, Down(_)) => true,
            // It has a permit and a connection: an effect is written down before it is sent, a read is sent.
            (Reserving | Down(_), Ready(_) | Sending) => true,
            // An append carries its start; a command came first; the start is durable.
            (Ready(_), Starting(..)) | (Starting(..), Ready(_) | Sending) => true,
            // It failed in a way that allows another attempt, or the run stops before it was sent or answered.
            (Reserving | Down(_) | Ready(_) | Starting(..) | Sending, BackingOff(_)) => true,
            // Its time has come, or the run stops while it does not wait for one.
            (BackingOff(_) | Undecided, Reserving | BackingOff(_)) | (Reserving, Reserving) => true,
            // It may have happened, and must not be repeated: an attempt failed, or its key is known no more.
            (Reserving | Down(_) | BackingOff(_) | Ready(_) | Sending, Undecided) => true,
            _ => false,
        }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Reserving => "reserving",
            Self::Down(_) => "down",
            Self::Ready(_) => "ready",
            Self::Starting(..) => "starting",
            Self::Sending => "sending",
            Self::BackingOff(_) => "backing off",
            Self::Undecided => "undecided",
        }
    }
}

impl CallStep {
    /// A call that no attempt was made of.
    pub(super) fn new(call: NewCall, now: Timestamp) -> Self {
        let NewCall { level, request, hash, key, incarnation, options, undo, undoes } = call;
        Self {
            level,
            request,
            hash,
            key,
            incarnation,
            started: None,
            deadline: now,
            attempted_at: now,
            options,
            undo,
            undoes,
            attempts: 0,
            forgiven: 0,
            doubt: Doubt::default(),
            phase: Phase::Reserving,
        }
    }

    /// A call whose start, with this number and time, is durable.
    pub(super) fn with_start(call: NewCall, now: Timestamp, start: (u64, Timestamp), deadline: Timestamp) -> Self {
        Self { started: Some(start), deadline, ..Self::new(call, now) }
    }

    pub(super) fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Moves to the next phase and gives the one before it.
    pub(super) fn enter(&mut self, next: Phase) -> Phase {
        debug_assert!(
            self.phase.may_become(&next),
            "a call moves from {} to {}, which the table of moves does not have",
            self.phase.name(),
            next.name()
        );
        std::mem::replace(&mut self.phase, next)
    }

    /// Writes the start of the call behind its reservation: from here on it is being made durable.
    pub(super) fn enter_starting(&mut self, deadline: Instant) {
        match std::mem::replace(&mut self.phase, Phase::Reserving) {
            Phase::Ready(reservation) => self.phase = Phase::Starting(reservation, deadline),
            other => self.phase = other,
        }
    }

    /// The start was not written: the call keeps what it has reserved.
    pub(super) fn leave_starting(&mut self) -> bool {
        match std::mem::replace(&mut self.phase, Phase::Reserving) {
            Phase::Starting(reservation, _) => {
                self.phase = Phase::Ready(reservation);
                true
            }
            other => {
                self.phase = other;
                false
            }
        }
    }

    pub(super) fn retry(&self) -> Retry {
        self.options.retry.unwrap_or_default()
    }

    /// Attempts that count when it is decided whether there is another one.
    pub(super) fn counted(&self) -> u32 {
        self.attempts.saturating_sub(self.forgiven)
    }

    /// When an attempt that begins now must have its answer so that it surely acts while the service knows the key, if the
    /// service forgets keys at all and no operator allows the attempt all the same. The first attempt too: a later one may
    /// come to the service before it (E4, E5).
    pub(super) fn key_known_until(&self, now: Timestamp) -> Option<Timestamp> {
        let Level::Keyed { horizon } = self.level else { return None };
        // A key that is forgotten before an attempt is surely over is used for one attempt only.
        let known = horizon.checked_sub(MARGIN).filter(|known| !known.is_zero() && !self.doubt.is_allowed())?;
        // As long as none may have acted, the service has not seen the key.
        let first = self.started.filter(|_| self.doubt.exists()).map_or(now, |(_, at)| at);
        Some(first.after(known))
    }

    /// Whether only an operator can say what becomes of the call.
    pub(super) fn undecided(&self, now: Timestamp) -> bool {
        self.doubt.needs_decision(self.level, self.started.map(|(_, at)| at), now)
    }

    /// An attempt failed in this way. A read leaves nothing to doubt.
    pub(super) fn failed(&mut self, outcome: stored::Outcome) {
        if self.level.has_effects() {
            self.doubt.fail(outcome);
        }
    }

    /// An operator said what becomes of the call.
    pub(super) fn decided(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::AskAgain => {
                self.doubt.allow();
                // An operator's word has all attempts before it, like a retry.
                self.forgiven = self.attempts;
            }
            Verdict::Happened(_) | Verdict::Failed(_) => self.doubt.clear(),
        }
    }

    /// The failure of a call whose time for all attempts is up, and what is known of it.
    pub(super) fn out_of_time(&self) -> (Failure, stored::Outcome) {
        let message = format!("the time for all attempts of the step is up, after {} of them", self.attempts);
        let known = if self.doubt.exists() { stored::Outcome::Ambiguous } else { stored::Outcome::NotSent };
        (Failure::new(Code::DeadlineExceeded, message), known)
    }
}
