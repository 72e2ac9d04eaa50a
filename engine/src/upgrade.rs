//! Which runs in flight other code can continue with: told before it is rolled out, from a store that may be in use. Every journal is replayed in memory; nothing is sent, and nothing is written.

use std::collections::VecDeque;
use std::sync::Arc;

use uuid::Uuid;

use crate::authoring::workflow::{MissingCode, Registry};
use crate::driver::{ReplayError, dry_run};
use crate::journal::{JournalError, decode_entry};
use crate::journal_v1 as stored;
use crate::limits::Limits;
use crate::state::State;
use crate::store::{InFlight, LookAtRuns, StoreError};
use crate::time::Clock;

/// Runs that are looked up at the same time.
const PAGE: u32 = 512;

/// The runs in flight of one store, checked one after the other in the order of their ids. Needs memory for one journal.
pub struct UpgradeCheck<'w> {
    look: Box<dyn LookAtRuns>,
    workflows: &'w Registry,
    limits: Arc<Limits>,
    clock: Clock,
    page: VecDeque<Uuid>,
    last: Option<Uuid>,
    over: bool,
}

/// One run, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedRun {
    /// The id of the run.
    pub run: Uuid,
    /// Name of its workflow.
    pub workflow: String,
    /// The version that created it.
    pub version: u32,
    /// The state that it is in.
    pub state: State,
    /// Why the code that is asked for cannot continue with it.
    pub obstacle: Option<Incompatibility>,
}

impl CheckedRun {
    /// Whether the run stands still already, so that the obstacle makes it no worse.
    pub fn stands_still(&self) -> bool {
        self.state == State::Blocked
    }
}

/// Why code cannot continue with a run. Shown as the reason that the run would have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Incompatibility {
    /// The run would wait for a release that has its code.
    #[error(transparent)]
    MissingCode(#[from] MissingCode),
    /// The run would be BLOCKED with this reason.
    #[error("{0}")]
    Blocked(String),
}

impl<'w> UpgradeCheck<'w> {
    /// Looks at this store, for these workflows and limits.
    pub fn of(look: impl LookAtRuns + 'static, workflows: &'w Registry, limits: Limits) -> Self {
        let (look, limits, clock) = (Box::new(look), Arc::new(limits), Clock::system());
        Self { look, workflows, limits, clock, page: VecDeque::new(), last: None, over: false }
    }

    /// How many runs are in flight now.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn runs(&mut self) -> Result<u64, StoreError> {
        self.look.count()
    }

    fn next_run(&mut self) -> Result<Option<CheckedRun>, StoreError> {
        loop {
            if self.page.is_empty() && !self.over {
                self.page = self.look.ids(self.last, PAGE)?.into();
                self.over = self.page.len() < PAGE as usize;
            }
            let Some(run) = self.page.pop_front() else { return Ok(None) };
            self.last = Some(run);
            // It may have ended since the page was read.
            if let Some(found) = self.look.run(run)? {
                return Ok(Some(self.checked(found)));
            }
        }
    }

    fn checked(&self, found: InFlight) -> CheckedRun {
        let InFlight { run, workflow, version, state, sequence, entries } = found;
        let obstacle = match self.workflows.misses(&workflow, version) {
            Some(missing) => Some(missing.into()),
            None => {
                self.rehearsed(run, sequence, entries).err().map(|misfit| Incompatibility::Blocked(misfit.to_string()))
            }
        };
        CheckedRun { run, workflow, version, state, obstacle }
    }

    fn rehearsed(&self, run: Uuid, expected: u64, entries: Vec<(u64, bytes::Bytes)>) -> Result<(), ReplayError> {
        let mut facts: Vec<stored::Fact> = Vec::new();
        for (sequence, entry) in entries {
            facts.extend(decode_entry(sequence, entry)?);
        }
        let found = facts.len() as u64;
        if found != expected {
            return Err(JournalError::Length { found, expected }.into());
        }
        dry_run(self.workflows, run, facts, &self.limits, &self.clock)
    }
}

impl Iterator for UpgradeCheck<'_> {
    type Item = Result<CheckedRun, StoreError>;

    /// The next run; nothing more after an error.
    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_run().transpose()?;
        if next.is_err() {
            self.page.clear();
            self.over = true;
        }
        Some(next)
    }
}
