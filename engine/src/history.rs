//! What a journal says: the steps that code must reach again, in order, and what is still open.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::failure::Failure;
use crate::journal::JournalError;
use crate::journal_v1 as stored;
use crate::step_id::StepId;
use crate::store::Message;
use crate::time::Timestamp;
use crate::undo::Undoable;
pub(crate) use entries::{journal_within, read_on};
pub(crate) use pending_step::{PendingKind, PendingStep};
pub(crate) use replay_cursor::{JournaledKind, JournaledStep, ReplayCursor};
use returned_signals::ReturnedSignals;
pub(crate) use set_back::move_facts;

mod entries;
mod pending_step;
mod reader;
mod replay_cursor;
mod returned_signals;
mod set_back;
mod superseded;

/// A run's journal, read.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) created: stored::Created,
    /// What happens to code again, in journal order.
    pub(crate) replay: Vec<Replay>,
    /// Number, from 1, of the last result that came to code while it was there: what code had written down immediately before
    /// is in the journal. 0 where there is none, or where that cannot be told.
    pub(crate) seen: usize,
    /// Steps by place, for the scope.
    pub(crate) past: ReplayCursor,
    /// Steps that have not settled, by place.
    pub(crate) open: BTreeMap<(Arc<str>, u32), PendingStep>,
    /// Messages whose receipt a retry made the journal forget: they may be received again.
    pub(crate) returned: Vec<Message>,
    /// Started steps that have an undo, in the order of their starts; also those that a retry forgot, if what they did stands.
    pub(crate) undoables: Vec<Undoable>,
    /// What the run's code did to its replica since an operator last took it up, and when.
    pub(crate) crashes: Vec<(Timestamp, stored::CrashRecorded)>,
    pub(crate) ending: Option<stored::Ending>,
    pub(crate) ended: Option<stored::Ended>,
}

/// One fact, as far as code sees it.
#[derive(Debug)]
pub(crate) enum Replay {
    /// Code must have reached this step by now.
    Reached(StepId),
    /// The step gets its result.
    Settled(StepId, Result<Bytes, Failure>),
}

impl History {
    /// Reads a journal. Operators' resets are applied: what they forget is not seen.
    ///
    /// # Errors
    /// If the facts are no journal.
    pub(crate) fn read(facts: Vec<stored::Fact>) -> Result<Self, JournalError> {
        let all = ReturnedSignals::of(&facts);
        let mut earlier = Vec::new();
        let (facts, incarnations) =
            crate::reset::apply_each(number(facts), |before, after| superseded::add(&mut earlier, before, after))?;
        let returned = all.returned(&facts);
        let mut history = superseded::read(facts, earlier)?;
        history.past.incarnations = incarnations;
        history.returned = returned;
        history.past.replaying = !history.replay.is_empty();
        if history.past.was_reset {
            history.seen = 0;
        }
        Ok(history)
    }

    fn new(created: stored::Created) -> Self {
        Self {
            created,
            replay: Vec::new(),
            seen: 0,
            past: ReplayCursor::default(),
            open: BTreeMap::new(),
            returned: Vec::new(),
            undoables: Vec::new(),
            crashes: Vec::new(),
            ending: None,
            ended: None,
        }
    }
}

/// Numbers facts by their place in the journal, from 1.
pub(crate) fn number(facts: Vec<stored::Fact>) -> Vec<(u64, stored::Fact)> {
    (1..).zip(facts).collect()
}
