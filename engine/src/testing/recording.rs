//! Journals that are kept in files, so that a release can be held to what the ones before it wrote.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use uuid::Uuid;

use super::{Journal, World};
use crate::authoring::workflow::Registry;
use crate::driver::dry_run;
use crate::journal::{JournalError, Kind, decode_entry};
use crate::journal_v1 as stored;
use crate::limits::Limits;
use crate::time::Clock;

/// A run's journal as it is stored: one encoded `orchestrator.journal.v1.Entry`.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    facts: Vec<stored::Fact>,
}

impl Recording {
    /// The journal of a run as it is durable now.
    ///
    /// # Panics
    /// If the run is unknown.
    pub async fn of(world: &World, run: Uuid) -> Self {
        Self { facts: world.facts(run).await }
    }

    /// Reads what [`Recording::encode`] wrote, in this release or an earlier one.
    ///
    /// # Errors
    /// If these bytes are no journal.
    pub fn decode(journal: Bytes) -> Result<Self, JournalError> {
        Ok(Self { facts: decode_entry(0, journal)? })
    }

    /// The journal as bytes, for a file.
    pub fn encode(&self) -> Vec<u8> {
        stored::Entry { facts: self.facts.clone() }.encode_to_vec()
    }

    /// The journal for people.
    pub fn journal(&self) -> Journal {
        Journal::read(self.facts.clone())
    }

    /// Name of the workflow, and the version that created the run.
    pub fn workflow(&self) -> (&str, u32) {
        match self.facts.first().and_then(|fact| fact.kind.as_ref()) {
            Some(Kind::Created(created)) => (&created.workflow, created.workflow_version),
            _ => ("", 0),
        }
    }

    /// Whether these workflows can continue with the run, from wherever its replica could have been killed: the journal is
    /// replayed up to each of its facts. Nothing is sent.
    ///
    /// # Errors
    /// The fact after which the run would be BLOCKED, and its reason.
    pub fn fits(&self, workflows: &Registry) -> Result<(), String> {
        let (workflow, version) = self.workflow();
        if let Some(missing) = workflows.misses(workflow, version) {
            return Err(missing.to_string());
        }
        let (limits, clock) = (Arc::new(Limits::default()), Clock::system());
        let lines = self.journal();
        for (length, line) in (1..).zip(lines.lines()) {
            let facts = self.facts[..length].to_vec();
            dry_run(workflows, Uuid::nil(), facts, &limits, &clock)
                .map_err(|misfit| format!("after its fact {length}, `{line}`: {misfit}"))?;
        }
        Ok(())
    }
}
