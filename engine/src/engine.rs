//! The engine's handle: starts, finds, steers and drains runs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::SignedDuration;
use tokio::sync::{Notify, oneshot, watch};
use uuid::Uuid;

use crate::authoring::workflow::Registry;
use crate::driver::DriverStart;
use crate::environment::Environment;
use crate::identity;
use crate::journal::JournalError;
use crate::limits::Limits;
use crate::outage_waiters::OutageWaiters;
use crate::random::RandomSource;
use crate::retention::Retention;
use crate::rules::{self, Violation};
pub use crate::run::{Ended, Started};
use crate::run::{new_run, pending, row_of};
use crate::safeguards::Safeguards;
use crate::state::State;
use crate::store::{Created, PlaceWish, Requester, ScheduleRefusal, Store, StoreError, StoreReader};
use crate::time::{Clock, ClockSteps, Timestamp};
use crate::transport::Transport;

mod claims;
mod decisions;
mod dispatch;
mod drain;
mod look;
mod others;
mod requests;
mod resident;
mod retention;
mod retries;
mod schedules;
mod signals;
mod steering;
mod stranded;
mod unowned;

pub use drain::Drained;
pub use look::Seen;
use requests::Requests;
use resident::ClaimPacing;
pub use retries::RepeatedStep;
use schedules::Bell;
pub use schedules::{Backfill, Triggered};
pub use stranded::StrandedRuns;

/// What an engine is made of.
pub struct Parts {
    /// Where runs are kept.
    pub store: Arc<dyn Store>,
    /// How calls leave.
    pub transport: Arc<dyn Transport>,
    /// The code, and the rules of its contracts.
    pub workflows: Registry,
    /// What time it is.
    pub clock: Clock,
    /// Where ids and jitter come from.
    pub random: RandomSource,
    /// Bounds of runs and of the replica.
    pub limits: Limits,
    /// How long ended runs and audit entries are kept.
    pub retention: Retention,
}

/// Durable runs over a store and a transport. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Environment>,
    loops: Arc<Loops>,
}

/// What the loops and the commands of an engine know beyond what its runs share.
struct Loops {
    retention: Retention,
    /// Requests that are being carried out.
    requests: Requests,
    /// What the loop that claims runs is about to do, so that it is not woken for nothing.
    claim_pacing: ClaimPacing,
    /// A run left memory.
    left: Notify,
    bell: Bell,
    clock_steps: Mutex<ClockSteps>,
    /// An answer of the store did not come: there may be runs of this replica that are not in memory.
    unsure: AtomicBool,
    draining: AtomicBool,
    progress: AtomicU64,
}

/// A wish to start a run.
#[derive(Clone, Debug)]
pub struct Start {
    /// Name of the workflow.
    pub workflow: String,
    /// The encoded input message.
    pub input: Bytes,
    /// Who asks; none where the program itself does, which leaves no audit entry.
    pub asked: Option<Requester>,
    /// The workflow's own where none is said.
    pub deadline: Option<Duration>,
}

/// Why the engine did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant says what it is, with its fields")]
pub enum EngineError {
    #[error("workflow {0} is not known here")]
    UnknownWorkflow(String),
    #[error("run {0} not found")]
    NotFound(Uuid),
    #[error("workflow {workflow} takes no signal {name:?}; {}", listed(known))]
    UnknownSignal { workflow: String, name: String, known: Vec<String> },
    #[error("the input is not a {expected}: {error}")]
    InvalidInput { expected: String, error: String },
    #[error("the {part} breaks the rules of its contract: {}", rules::listed(violations))]
    RulesBroken { part: &'static str, violations: Vec<Violation> },
    #[error("{limit} is {max}, this has {value}")]
    LimitExceeded { limit: &'static str, value: u64, max: u64 },
    #[error("run {run} is {state}: {reason}")]
    Precondition { run: Uuid, state: State, reason: String },
    #[error("request_id {0} was used for another request")]
    RequestMismatch(Uuid),
    #[error("run {0} was changed meanwhile")]
    Conflict(Uuid),
    #[error("schedule {name}: {field}: {problem}")]
    InvalidSchedule { name: String, field: &'static str, problem: String },
    #[error("schedule {0} changes all the time")]
    ScheduleBusy(String),
    #[error(transparent)]
    Schedule(#[from] ScheduleRefusal),
    #[error("the replica is draining, it starts nothing new")]
    Draining,
    #[error("the journal of run {run} cannot be read: {error}")]
    Journal { run: Uuid, error: JournalError },
    #[error(transparent)]
    Store(StoreError),
}

fn listed(known: &[String]) -> String {
    if known.is_empty() { "it takes none".to_owned() } else { format!("it takes {}", known.join(", ")) }
}

impl From<StoreError> for EngineError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound(run) => Self::NotFound(run),
            StoreError::RequestMismatch(id) => Self::RequestMismatch(id),
            StoreError::Schedule(refusal) => Self::Schedule(refusal),
            StoreError::Fenced(run) => Self::Conflict(run),
            StoreError::Precondition { run, state } => {
                Self::Precondition { run, state, reason: format!("{state} does not allow it") }
            }
            StoreError::InboxFull { room, .. } => {
                Self::LimitExceeded { limit: "inbox_messages", value: u64::from(room) + 1, max: u64::from(room) }
            }
            other => Self::Store(other),
        }
    }
}

impl Engine {
    /// An engine over these parts. It drives what it is asked to start; what waits in the store is driven once
    /// [`Engine::claim_runs`] is polled.
    pub fn new(parts: Parts) -> Self {
        Self::with_safeguards(parts, Safeguards::default())
    }

    /// The same, with another way to deal with code that does what it must not.
    pub fn with_safeguards(parts: Parts, safeguards: Safeguards) -> Self {
        let Parts { store, transport, workflows, clock, random, limits, retention } = parts;
        let suspects = safeguards.breadcrumbs.as_ref().map(|breadcrumbs| breadcrumbs.suspects()).unwrap_or_default();
        let shared = Environment {
            store,
            transport,
            workflows,
            clock,
            random,
            limits: Arc::new(limits),
            safeguards,
            suspects: Mutex::new(suspects),
            quarantine: Arc::default(),
            watchers: Arc::default(),
            outage_waiters: OutageWaiters::default(),
            runs: Arc::default(),
            due: Notify::new(),
        };
        let loops = Loops {
            retention,
            requests: Requests::default(),
            claim_pacing: ClaimPacing::default(),
            left: Notify::new(),
            bell: Bell::default(),
            clock_steps: Mutex::default(),
            unsure: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            progress: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared), loops: Arc::new(loops) }
    }

    /// Starts a run. Durable when it returns; once polled it continues, also where no one polls it again.
    ///
    /// # Errors
    /// If the workflow is unknown, the input is not one, is too large or breaks the rules of its contract, the replica drains,
    /// or the store fails.
    pub async fn start(&self, start: Start) -> Result<Started, EngineError> {
        let shared = &self.shared;
        if self.is_draining() {
            return Err(EngineError::Draining);
        }
        let Some(workflow) = shared.workflows.get(&start.workflow) else {
            return Err(EngineError::UnknownWorkflow(start.workflow));
        };
        let max = shared.limits.payload_bytes;
        if start.input.len() > max {
            let value = start.input.len() as u64;
            return Err(EngineError::LimitExceeded { limit: "payload_bytes", value, max: max as u64 });
        }
        workflow.check_input(start.input.clone()).map_err(|error| EngineError::InvalidInput {
            expected: workflow.input_type.clone(),
            error: error.to_string(),
        })?;
        let now = shared.clock.now();
        let violations = shared.workflows.rules().check_message(&workflow.input_type, &start.input, now);
        if !violations.is_empty() {
            return Err(EngineError::RulesBroken { part: "input", violations });
        }
        let deadline = now.after(start.deadline.unwrap_or(workflow.deadline));
        let mut run = new_run(workflow, identity::run(&shared.random, now), now, deadline, None);
        run.change = start.asked.map(|asked| asked.to("StartRun", ""));
        let id = run.id;
        match self.admit(id) {
            Some(place) => {
                run.claimed = true;
                run.status.state = State::Running;
                let (sender, started) = oneshot::channel();
                let beginning = DriverStart::New { run: Box::new(run), started: sender, input: start.input };
                self.spawn(place, Arc::clone(workflow), beginning);
                Ok(started.await.map_err(|_| StoreError::Closed)??)
            }
            None => {
                self.loops.claim_pacing.request_room();
                pending(&mut run, workflow, start.input);
                let row = Box::new(row_of(&run));
                let creating = shared.store.create(run);
                // A claim comes after what was called before it, so the one that follows finds the run.
                shared.due.notify_one();
                Ok(match creating.await? {
                    Created::New => Started { id, row, new: true },
                    Created::Existing(row) => Started { id: row.id, row, new: false },
                })
            }
        }
    }

    /// Reads what is stored. Writing is done by the methods of the engine.
    pub fn store(&self) -> StoreReader {
        StoreReader::of(&self.shared.store)
    }

    /// The store, to write into it what no code of this release writes.
    #[cfg(any(test, feature = "testing"))]
    pub fn writable_store(&self) -> &Arc<dyn Store> {
        &self.shared.store
    }

    /// Has this replica share the places of limits with those that use the same store, and answers how many it has of each; none if
    /// no other replica can use the store.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn share_places(&self, wishes: Vec<PlaceWish>) -> Option<Result<Vec<u32>, StoreError>> {
        Some(self.shared.store.shared()?.places(wishes).await)
    }

    /// Whether other replicas can use the store.
    pub fn has_others(&self) -> bool {
        self.shared.store.shared().is_some()
    }

    /// Tells each time this replica has lost everything that it held.
    pub fn losses(&self) -> watch::Receiver<u64> {
        self.shared.store.losses()
    }

    /// Makes everything queued durable and closes the store. Nothing is asked of the engine after this.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn close_store(&self) -> Result<(), StoreError> {
        self.shared.store.close().await
    }

    /// The workflows that this replica has code of.
    pub fn workflows(&self) -> &Registry {
        &self.shared.workflows
    }

    /// The bounds that hold for its runs.
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// Runs in memory.
    pub fn in_flight(&self) -> usize {
        self.shared.runs.len()
    }

    /// How many runs this replica gave back because a service is down, by the name of the service. They come again by
    /// themselves. After a restart they are counted again once they have come.
    pub fn away(&self) -> BTreeMap<Arc<str>, usize> {
        self.shared.outage_waiters.counts()
    }

    /// How often the wall clock was set while this process has run, and how, the last time at the end.
    pub fn clock_steps(&self) -> ClockSteps {
        self.loops.clock_steps.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Bumped by every turn of the engine's loops.
    pub fn progress(&self) -> u64 {
        self.loops.progress.load(Ordering::Relaxed)
    }
}

impl Loops {
    /// Tells people that the wall clock was set (C2).
    fn clock_was_set(&self, now: Timestamp, by: SignedDuration) {
        let span = format!("{:#}", by.abs().round(jiff::Unit::Millisecond).unwrap_or(by.abs()));
        if by.is_negative() {
            tracing::warn!(by = span, %now, "the wall clock was set back; times of schedules come again, and none starts twice");
        } else {
            tracing::warn!(by = span, %now, "the wall clock was set forward; schedules decide about the times that it jumped over");
        }
        self.clock_steps.lock().unwrap_or_else(PoisonError::into_inner).add(now, by);
    }

    fn bump(&self) {
        self.progress.fetch_add(1, Ordering::Relaxed);
    }
}
