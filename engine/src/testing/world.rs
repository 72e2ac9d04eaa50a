//! A replica, its store and its services, in memory and in virtual time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::clocks::Clocks;
use super::cut::Cut;
use super::faults::Faults;
use super::others::{Replica, Replicas};
use super::probed_store::ProbedStore;
use super::{Journal, Probe, Services};
use crate::authoring::workflow::{NameTaken, Registry, Workflow};
use crate::engine::{Ended, Engine, EngineError, Parts, Start};
use crate::failure::Failure;
use crate::history::journal_within;
use crate::journal_v1 as stored;
use crate::limits::Limits;
use crate::random::RandomSource;
use crate::retention::Retention;
use crate::safeguards::{ForeignWaits, Safeguards};
use crate::state::State;
use crate::store::sqlite::Sqlite;
use crate::store::{RequestKey, Requester, RunRow};
use crate::time::Clock;
use crate::view::Detail;

type Register = dyn Fn(&mut Registry) -> Result<(), NameTaken> + Send + Sync;

/// One replica over a store in memory. Time is tokio's; tests pause it.
pub struct World {
    engine: Engine,
    store: Arc<Sqlite>,
    outside: Outside,
    /// Of the replica: its successor has another one.
    clock: Clock,
    probe: Probe,
    /// Ends the loops of the replica when it goes.
    stop: DropGuard,
}

/// What one replica leaves to the next, beside the store.
struct Outside {
    services: Services,
    register: Arc<Register>,
    limits: Limits,
    retention: Retention,
    clocks: Clocks,
    random: RandomSource,
    faults: Faults,
}

/// The longest that a test waits for a run, in virtual time.
const PATIENCE: Duration = Duration::from_secs(40 * 24 * 3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

impl World {
    /// A world with these services, whose replica can run what `register` adds.
    ///
    /// # Panics
    /// If the workflows cannot be registered or SQLite does not open a database in memory.
    pub fn new(
        services: Services,
        register: impl Fn(&mut Registry) -> Result<(), NameTaken> + Send + Sync + 'static,
    ) -> Self {
        Self::with(services, register, Limits::default(), Probe::counting())
    }

    /// The same with limits and a probe.
    pub fn with(
        services: Services,
        register: impl Fn(&mut Registry) -> Result<(), NameTaken> + Send + Sync + 'static,
        limits: Limits,
        probe: Probe,
    ) -> Self {
        let clocks = Clocks::new();
        let clock = clocks.of_a_process();
        // What a test saw comes again when it runs again.
        let random = RandomSource::seeded(0);
        let store = Sqlite::in_memory(clock.clone());
        let store = Arc::new(store.unwrap_or_else(|error| fail(&format!("no store in memory: {error}"))));
        let (register, retention) = (Arc::new(register), Retention::default());
        Self::build(
            Outside { services, register, limits, retention, clocks, random, faults: Faults::default() },
            store,
            clock,
            probe,
        )
    }

    /// Several replicas over one store, in one process and one virtual time. None of them crashes.
    ///
    /// # Panics
    /// As [`World::new`].
    pub fn replicas(
        count: usize,
        services: &Services,
        register: impl Fn(&mut Registry) -> Result<(), NameTaken> + Send + Sync + 'static,
        limits: &Limits,
    ) -> Vec<Self> {
        let (clocks, replicas) = (Clocks::new(), Arc::new(Replicas::default()));
        let store = Sqlite::in_memory(clocks.of_a_process());
        let store = Arc::new(store.unwrap_or_else(|error| fail(&format!("no store in memory: {error}"))));
        let register: Arc<Register> = Arc::new(register);
        let world = |number| {
            let outside = Outside {
                services: services.clone(),
                register: Arc::clone(&register),
                limits: limits.clone(),
                retention: Retention::default(),
                clocks: clocks.clone(),
                random: RandomSource::seeded(number),
                faults: Faults::default(),
            };
            let clock = clocks.of_a_process();
            Self::build_replica(outside, Arc::clone(&store), clock, Probe::counting(), Some(replicas.join()))
        };
        (0..count as u64).map(world).collect()
    }

    fn build(outside: Outside, store: Arc<Sqlite>, clock: Clock, probe: Probe) -> Self {
        Self::build_replica(outside, store, clock, probe, None)
    }

    fn build_replica(
        outside: Outside,
        store: Arc<Sqlite>,
        clock: Clock,
        probe: Probe,
        replica: Option<Replica>,
    ) -> Self {
        let mut workflows = Registry::new();
        (outside.register)(&mut workflows).unwrap_or_else(|error| fail(&error.to_string()));
        let (own_store, faults) = (Arc::clone(&store), outside.faults.clone());
        let probed = ProbedStore { store: own_store, probe: probe.clone(), faults, replica };
        let parts = Parts {
            store: Arc::new(probed),
            transport: outside.services.seen_by(probe.clone()),
            workflows,
            clock: clock.clone(),
            random: outside.random.clone(),
            limits: own(&outside.limits, &probe),
            retention: outside.retention.clone(),
        };
        let engine =
            Engine::with_safeguards(parts, Safeguards { foreign_waits: ForeignWaits::Refused, breadcrumbs: None });
        probe.forget_by(engine.gives_back());
        let stop = CancellationToken::new();
        let claims = engine.clone();
        let stopped = stop.clone();
        tokio::spawn(async move { claims.claim_runs(stopped).await });
        Self { engine, store, outside, clock, probe, stop: stop.drop_guard() }
    }

    /// The replica is killed, and another one finds its store. Services live on.
    #[must_use]
    pub fn crash(self, probe: Probe) -> Self {
        drop(self.stop);
        let clock = self.outside.clocks.of_a_process();
        let store = self.store.reopen_as_new_owner(clock.clone()).unwrap_or_else(|error| fail(&error.to_string()));
        Self::build(self.outside, Arc::new(store), clock, probe)
    }

    /// The replica is killed, and another one adopts a copy of its store, as it would a restored backup.
    #[must_use]
    pub fn crash_and_adopt(self, probe: Probe) -> Self {
        drop(self.stop);
        let clock = self.outside.clocks.of_a_process();
        let store = self.store.adopt_as_new_owner(clock.clone()).unwrap_or_else(|error| fail(&error.to_string()));
        Self::build(self.outside, Arc::new(store), clock, probe)
    }

    /// Starts a run and kills the replica right after this step of it has settled: what comes later in the journal was
    /// not written, and what would have been sent later was not sent. Another replica takes the run over.
    ///
    /// The step is named by its path, as journals and views have it, such as `recipient[u1]/SendPush#1`.
    ///
    /// # Panics
    /// If the run ends or stops without such a step; the message has its journal.
    #[must_use]
    pub async fn start_as_if_crashed_after<W: Workflow>(self, input: W::Input, step: &str) -> (Self, Uuid) {
        self.probe.kill_after(Cut::after(W::NAME, step));
        let started = async {
            let run = self.start::<W>(input).await.unwrap_or_else(|error| fail(&error.to_string()));
            let waited = self.engine.ended(run, PATIENCE).await;
            waited.map(|_| run).unwrap_or_else(|error| fail(&error.to_string()))
        };
        tokio::select! {
            () = self.probe.death() => {}
            run = started => fail(&format!("no step {step} in the journal of the run:\n{}", self.journal(run).await)),
        }
        let Some(run) = self.probe.cut_run() else { fail("the replica was killed before the run was created") };
        (self.crash(Probe::counting()), run)
    }

    /// The same with other limits.
    #[must_use]
    pub fn crash_and_limit(mut self, limits: Limits) -> Self {
        self.outside.limits = limits;
        self.crash(Probe::counting())
    }

    /// The same under another policy of what is kept, which the replica keeps from then on.
    #[must_use]
    pub fn crash_and_keep(mut self, retention: Retention) -> Self {
        self.outside.retention = retention;
        let world = self.crash(Probe::counting());
        let (purges, stopped) = (world.engine.clone(), world.stop.token().clone());
        tokio::spawn(async move { purges.purge_runs(stopped).await });
        world
    }

    /// The same with other code: what `register` adds now.
    #[must_use]
    pub fn crash_and_change(
        mut self,
        register: impl Fn(&mut Registry) -> Result<(), NameTaken> + Send + Sync + 'static,
    ) -> Self {
        self.outside.register = Arc::new(register);
        self.crash(Probe::counting())
    }

    /// Starts a run.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub async fn start<W: Workflow>(&self, input: W::Input) -> Result<Uuid, EngineError> {
        self.start_once::<W>(input, None).await
    }

    /// Starts a run under a request id.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub async fn start_once<W: Workflow>(&self, input: W::Input, request: Option<Uuid>) -> Result<Uuid, EngineError> {
        let input: Bytes = input.encode_to_vec().into();
        let asked = request.map(|id| {
            let key = RequestKey { id, hash: crate::identity::hash(&input) };
            Requester { request: Some(key), ..Requester::new("test", "") }
        });
        let start = Start { workflow: W::NAME.to_owned(), input, asked, deadline: None };
        Ok(self.engine.start(start).await?.id)
    }

    /// Sends a run a message. Under a request id it comes once, however often it is sent.
    ///
    /// # Errors
    /// As [`Engine::signal`].
    pub async fn signal<M: Message>(
        &self,
        run: Uuid,
        name: &str,
        message: &M,
        request: Option<Uuid>,
    ) -> Result<RunRow, EngineError> {
        let message: Bytes = message.encode_to_vec().into();
        let request = request.map(|id| RequestKey { id, hash: crate::identity::hash(&message) });
        self.engine.signal(run, name, message, Requester { request, ..Requester::new("test", "") }).await
    }

    /// Runs a workflow to its end.
    ///
    /// # Errors
    /// The run's failure.
    ///
    /// # Panics
    /// If the run does not start or never ends.
    pub async fn run<W: Workflow>(&self, input: W::Input) -> Result<W::Output, Failure> {
        let run = self.start::<W>(input).await.unwrap_or_else(|error| fail(&error.to_string()));
        self.result_of::<W>(run).await
    }

    /// The result of a run, once it has ended.
    ///
    /// # Errors
    /// The run's failure.
    ///
    /// # Panics
    /// If the run never ends, or its output does not decode.
    pub async fn result_of<W: Workflow>(&self, run: Uuid) -> Result<W::Output, Failure> {
        let ended = self.end_of(run).await;
        match (&ended.output, &ended.failure) {
            (Some(output), _) => {
                Ok(W::Output::decode(output.clone()).unwrap_or_else(|error| fail(&format!("output: {error}"))))
            }
            (None, Some(failure)) => Err(failure.clone()),
            (None, None) => fail("a run ended with neither output nor failure"),
        }
    }

    /// A run once it has ended.
    ///
    /// # Panics
    /// If the run never ends.
    pub async fn end_of(&self, run: Uuid) -> Arc<Ended> {
        match self.engine.ended(run, PATIENCE).await {
            Ok(Some(ended)) => ended,
            Ok(None) => fail(&format!("run {run} never ended")),
            Err(error) => fail(&error.to_string()),
        }
    }

    /// A run once it is in this state, within a day.
    ///
    /// # Panics
    /// If it is not; the message has its journal.
    pub async fn until(&self, run: Uuid, state: State) -> Detail {
        let (mut left, mut pause) = (DAY, Duration::from_millis(10));
        loop {
            let detail = self.detail(run).await;
            let status = &detail.row.status;
            if status.state == state {
                return detail;
            }
            if left.is_zero() || status.state.is_end() {
                let (found, journal) = (status.state, self.journal(run).await);
                fail(&format!("run is {found} ({}), not {state}:\n{journal}", status.reason));
            }
            tokio::time::sleep(pause).await;
            left = left.saturating_sub(pause);
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// A run as it is durable now.
    ///
    /// # Panics
    /// If the run is unknown.
    pub async fn detail(&self, run: Uuid) -> Detail {
        self.engine.detail(run).await.unwrap_or_else(|error| fail(&error.to_string()))
    }

    /// The journal of a run, as far as it is durable.
    ///
    /// # Panics
    /// If the run is unknown or its journal cannot be read.
    pub async fn journal(&self, run: Uuid) -> Journal {
        Journal::read(self.facts(run).await)
    }

    /// All facts of a run that are durable.
    pub(super) async fn facts(&self, run: Uuid) -> Vec<stored::Fact> {
        match journal_within(&*self.store, run, usize::MAX).await {
            Ok(Ok((facts, _))) => facts,
            Ok(Err(error)) => fail(&error.to_string()),
            Err(error) => fail(&error.to_string()),
        }
    }

    /// The engine of the present replica.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// From now on so many of a hundred store operations time out, half of them after they took effect; those that the
    /// test itself asks for too, where `everybody` says so.
    pub fn time_out(&self, percent: u64, everybody: bool) {
        self.outside.faults.set(percent, everybody);
    }

    /// From now on the answer to a claim or a release takes up to this long to come, after it was done.
    pub fn answer_late(&self, up_to: Duration) {
        self.outside.faults.answer_late(up_to);
    }

    /// How many store operations timed out so far.
    pub fn timed_out(&self) -> usize {
        self.outside.faults.failed()
    }

    /// From now on the store claims runs, and its answers do not come before they are let through.
    pub fn hold_claims(&self) {
        self.outside.faults.hold_claims(true);
    }

    /// Lets the answers of claims come again, those that [`World::hold_claims`] held back too.
    pub fn let_claims_come(&self) {
        self.outside.faults.hold_claims(false);
    }

    /// The store, to make it fail.
    pub fn store(&self) -> &Sqlite {
        &self.store
    }

    /// The fake services.
    pub fn services(&self) -> &Services {
        &self.outside.services
    }

    /// The probe of the present replica.
    pub fn probe(&self) -> &Probe {
        &self.probe
    }

    /// The clock of the replica.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The clocks of the machine, to set them.
    pub fn clocks(&self) -> &Clocks {
        &self.outside.clocks
    }
}

/// The limits that a replica of a test has: where weeks go by in an instant, the store is not asked every few seconds of
/// them, and a run that forgets waits for nothing in memory.
fn own(limits: &Limits, probe: &Probe) -> Limits {
    let linger = if probe.forgets() { Duration::ZERO } else { limits.linger };
    Limits { linger, claim_interval: limits.claim_interval.max(Duration::from_secs(60)), ..limits.clone() }
}

#[expect(clippy::panic, reason = "a test cannot continue in a world that does not stand")]
pub(super) fn fail(message: &str) -> ! {
    panic!("{message}")
}
