//! What a run has learned and the store does not have, and the one append that is under way.

use super::commit::Commit;
use super::operator_commands::UnacknowledgedCommand;
use crate::journal::{Buffer, Kind};
use crate::limits::Limits;
use crate::run::Starter;
use crate::store::NewRun;
use crate::time::Timestamp;

#[derive(Default)]
pub(super) struct Writes {
    pub(super) buffer: Buffer,
    /// Size of the durable journal.
    pub(super) journal_bytes: usize,
    /// The run, if it is not in the store yet.
    pub(super) create: Option<(Box<NewRun>, Starter)>,
    /// Boxed, because most runs in memory wait for something else.
    pub(super) under_way: Option<Box<Commit>>,
    /// Commands that the next append acknowledges.
    pub(super) unacknowledged: Vec<UnacknowledgedCommand>,
    /// Something has to be durable before the run can continue or be forgotten.
    requested: bool,
    flush_at: Option<Timestamp>,
}

impl Writes {
    pub(super) fn create(&mut self, run: Box<NewRun>, starter: Starter) {
        self.create = Some((run, starter));
    }

    /// Adds a fact to the next append.
    pub(super) fn push(&mut self, now: Timestamp, kind: Kind) {
        self.buffer.push(now, kind);
    }

    /// Writes a fact behind: it is durable with the next append, soon in any case.
    pub(super) fn record(&mut self, now: Timestamp, kind: Kind, limits: &Limits) {
        self.push(now, kind);
        if self.flush_at.is_none() {
            self.flush_at = Some(now.after(limits.write_behind));
        }
        self.requested |= self.buffer.len() > limits.write_behind_bytes;
    }

    /// Has what was learned written now.
    pub(super) fn request(&mut self) {
        self.requested = true;
    }

    pub(super) fn acknowledge_next(&mut self, command: UnacknowledgedCommand) {
        self.unacknowledged.push(command);
        self.request();
    }

    /// When facts that were written behind have to be durable.
    pub(super) fn flush_at(&self) -> Option<Timestamp> {
        self.flush_at
    }

    /// Has them written now, if that time has come.
    pub(super) fn flush_due(&mut self, now: Timestamp) {
        if self.flush_at.is_some_and(|at| at <= now) {
            self.request();
            self.flush_at = None;
        }
    }

    /// Whether there are facts that have to be durable now.
    pub(super) fn has_to_flush(&self) -> bool {
        self.requested && !self.buffer.is_empty()
    }

    /// An append takes everything with it.
    pub(super) fn taken(&mut self) {
        self.requested = false;
        self.flush_at = None;
    }

    /// The number that the next fact will have, if `durable` facts are durable.
    pub(super) fn next_sequence(&self, durable: u64) -> u64 {
        durable + self.under_way.as_ref().map_or(0, |commit| commit.facts()) + self.buffer.facts() + 1
    }
}
