//! One seed: a world, its runs, and everything that happens to them until they rest.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use engine::engine::{EngineError, Start};
use engine::store::sqlite::CommitFault;
use engine::store::{Asked, JournalEntry, RequestKey};
use engine::testing::{Probe, Reply, World};
use engine::{Code, Limits, Registry, State, Workflow};
use prost::Message;
use uuid::Uuid;

use crate::check;
use crate::messages::{Charge, Input, Look, Pay, Put, services};
use crate::program::Random;
use crate::workflow::Interpreter;

/// What the model knows of a run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) id: Uuid,
    pub(crate) input: Input,
    pub(crate) deadline: Option<Duration>,
    pub(crate) retried: bool,
    /// Number of facts when the first cancel was acknowledged.
    pub(crate) cancelled: Option<u64>,
    /// Messages that were acknowledged.
    pub(crate) sent: Vec<Input>,
    /// The journal as it was last seen.
    pub(crate) journal: Vec<JournalEntry>,
}

pub(crate) struct Simulation {
    pub(crate) seed: u64,
    pub(crate) random: Random,
    pub(crate) runs: Vec<Run>,
    pub(crate) faults: bool,
    pub(crate) operators: bool,
    pub(crate) problems: Vec<String>,
    /// The longest that a point of a replica takes.
    delay: Duration,
}

fn register(registry: &mut Registry) -> Result<(), engine::workflow::NameTaken> {
    registry.register::<Interpreter>(|| Interpreter)
}

/// What broke with this seed.
pub(crate) fn try_seed(seed: u64) -> Vec<String> {
    let tried = catch_unwind(AssertUnwindSafe(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        match runtime {
            Ok(runtime) => runtime.block_on(Simulation::new(seed).go()),
            Err(error) => vec![error.to_string()],
        }
    }));
    tried.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        vec![text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()]
    })
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let delay = Duration::from_millis(random.pick(&[0, 0, 3, 30]));
        let (faults, operators) = (random.percent(65), random.percent(50));
        Self { seed, random, runs: Vec::new(), faults, operators, problems: Vec::new(), delay }
    }

    async fn go(mut self) -> Vec<String> {
        let limits = Limits {
            linger: self.random.pick(&[Duration::ZERO, Duration::from_secs(5)]),
            runs_in_flight: self.random.pick(&[1, 2, 100, 100]),
            write_behind: Duration::from_millis(self.random.pick(&[0, 500, 500])),
            ..Limits::default()
        };
        let probe = self.probe();
        let mut world = World::with(services(), register, limits, probe);
        self.misbehave(&world);
        for n in 0..=self.random.below(3) {
            world = self.start(world, n).await;
        }
        // Some worlds never live longer than a few points.
        let crashes = self.random.pick(&[0, 3, 10, 40]);
        // In some, everything happens within the first moments of the runs.
        let hasty = self.random.percent(40);
        for _ in 0..crashes + self.random.below(8) {
            let pauses: &[u64] =
                if hasty { &[0, 1, 5, 11, 23, 47, 160] } else { &[0, 10, 100, 700, 3_000, 20_000, 90_000, 700_000] };
            let pause = Duration::from_millis(self.random.pick(pauses));
            let probe = world.probe().clone();
            tokio::select! {
                () = probe.death() => {}
                () = tokio::time::sleep(pause) => self.meddle(&world).await,
            }
            self.look(&world).await;
            if probe.is_dead() || self.random.percent(if crashes > 0 { 50 } else { 0 }) {
                world = self.crash(world);
            }
        }
        probe_kill(&world);
        let world = world.crash(Probe::counting());
        self.rest(&world).await;
        let mut world = world;
        for _ in 0..if self.operators { 3 } else { 0 } {
            // Failed runs are taken up again, into new failures and crashes.
            self.misbehave(&world);
            self.retry(&world).await;
            if self.random.percent(60) {
                for _ in 0..self.random.below(4) {
                    let pause = Duration::from_millis(self.random.pick(&[0, 3, 50, 900, 20_000]));
                    tokio::time::sleep(pause).await;
                    world = self.crash(world);
                }
                world.probe().kill();
                world = world.crash(Probe::counting());
            }
            self.rest(&world).await;
        }
        check::all(&mut self, &world).await;
        self.problems
    }

    fn probe(&mut self) -> Probe {
        let fatal = match self.random.below(3) {
            0 => None,
            1 => Some(self.random.below(12)),
            _ => Some(self.random.below(150)),
        };
        Probe::slow(self.delay, fatal.and_then(|point| usize::try_from(point).ok()))
    }

    fn crash(&mut self, world: World) -> World {
        probe_kill(&world);
        let world = world.crash(self.probe());
        self.misbehave(&world);
        world
    }

    /// Starts a run under a request id; whoever gets no answer asks again.
    async fn start(&mut self, mut world: World, n: u64) -> World {
        let input = Input { text: format!("run{n}"), number: self.seed.wrapping_mul(31).wrapping_add(n) };
        let encoded = input.encode_to_vec();
        let deadline = self.random.percent(15).then(|| Duration::from_secs(self.random.pick(&[1, 30, 600])));
        let id = Uuid::from_u128(u128::from(self.seed) << 8 | u128::from(n));
        loop {
            let start = Start {
                workflow: Interpreter::NAME.to_owned(),
                input: encoded.clone().into(),
                asked: Some(Asked { request: Some(RequestKey { id, hash: [0; 32] }), ..Asked::new("model", "") }),
                deadline,
            };
            let probe = world.probe().clone();
            tokio::select! {
                () = probe.death() => world = self.crash(world),
                started = world.engine().start(start) => match started {
                    Ok(started) => {
                        let run = Run {
                            id: started.id, input, deadline, retried: false, cancelled: None, sent: Vec::new(), journal: Vec::new(),
                        };
                        self.runs.push(run);
                        return world;
                    }
                    Err(EngineError::Store(_)) => tokio::time::sleep(Duration::from_millis(300)).await,
                    Err(error) => {
                        self.problems.push(format!("start was refused: {error}"));
                        return world;
                    }
                }
            }
        }
    }

    /// Lets services fail for their next calls.
    fn misbehave(&mut self, world: &World) {
        if !self.faults {
            return;
        }
        let rate = self.random.pick(&[5, 25, 60]);
        let services = world.services();
        services.script::<Look>(replies(&mut self.random, rate));
        services.script::<Put>(replies(&mut self.random, rate));
        services.script::<Pay>(replies(&mut self.random, rate));
        services.script::<Charge>(replies(&mut self.random, rate / 2));
    }

    /// What operators and disks do.
    async fn meddle(&mut self, world: &World) {
        match self.random.below(10) {
            0 | 1 if self.faults || self.operators => {
                let fault = self.random.pick(&[CommitFault::Before, CommitFault::After]);
                world.store().fail_next_commit(fault);
            }
            2 if self.operators => {
                let grace = Duration::from_millis(self.random.pick(&[0, 50, 5_000, 60_000]));
                let probe = world.probe().clone();
                tokio::select! {
                    () = probe.death() => {}
                    _ = world.engine().drain(grace) => {
                        if world.engine().in_flight() > 0 {
                            self.problems.push("a drain left runs in memory".to_owned());
                        }
                    }
                }
                probe.kill();
            }
            3 | 6 | 7 if self.operators && self.random.percent(60) => self.cancel(world).await,
            8 | 9 => self.signal(world).await,
            4 | 5 if self.operators => self.retry(world).await,
            _ => {}
        }
    }

    async fn cancel(&mut self, world: &World) {
        let index = usize::try_from(self.random.below(self.runs.len() as u64)).unwrap_or(0);
        let Some(run) = self.runs.get_mut(index) else { return };
        let probe = world.probe().clone();
        tokio::select! {
            () = probe.death() => {}
            answer = world.engine().cancel(run.id, Asked::new("test", "the model wants it")) => if let Ok(row) = answer {
                run.cancelled.get_or_insert(row.sequence);
            }
        }
    }

    /// Sends a run a message that no other is like.
    async fn signal(&mut self, world: &World) {
        let index = usize::try_from(self.random.below(self.runs.len() as u64)).unwrap_or(0);
        let name = self.random.pick(&["left", "right"]);
        let message = Input { text: "message".to_owned(), number: self.random.next() };
        let Some(run) = self.runs.get_mut(index) else { return };
        let probe = world.probe().clone();
        tokio::select! {
            () = probe.death() => {}
            answer = world.signal(run.id, name, &message, None) => if answer.is_ok() {
                run.sent.push(message);
            }
        }
    }

    async fn retry(&mut self, world: &World) {
        for run in &mut self.runs {
            let probe = world.probe().clone();
            tokio::select! {
                () = probe.death() => run.retried = true,
                answer = world.engine().retry(run.id, Asked::new("test", "the model wants it")) => match answer {
                    Ok(_) => (run.retried, run.cancelled) = (true, None),
                    // The answer may have been lost.
                    Err(EngineError::Store(_)) => run.retried = true,
                    Err(_) => {}
                }
            }
        }
    }

    /// A journal only grows: what was durable once stays as it was.
    async fn look(&mut self, world: &World) {
        use engine::store::Store as _;
        for run in &mut self.runs {
            let Ok(now) = world.store().journal(run.id, 0, 100_000).await else { continue };
            if now.len() < run.journal.len() || now[..run.journal.len()] != run.journal[..] {
                self.problems.push(format!("the journal of {} lost or changed a durable entry", run.input.text));
            }
            run.journal = now;
            if let Ok(Some(row)) = world.store().run(run.id).await
                && row.status.state == State::Blocked
            {
                self.problems.push(format!("{} is BLOCKED: {}", run.input.text, row.status.reason));
            }
        }
    }

    /// Waits until every run has ended or only an operator can move it.
    async fn rest(&mut self, world: &World) {
        let mut pause = Duration::from_millis(500);
        for _ in 0..40 {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(4 * 3_600));
            self.look(world).await;
            let mut all = true;
            for run in &self.runs {
                let state = world.detail(run.id).await.row.status.state;
                all &= state.is_end() || check::waits_for_an_operator(world, run.id).await;
            }
            if all && world.engine().in_flight() == 0 {
                return;
            }
        }
    }
}

fn probe_kill(world: &World) {
    world.probe().kill();
}

fn replies(random: &mut Random, rate: u64) -> Vec<Reply> {
    let plain = Reply::Slow(Duration::ZERO);
    (0..4 + random.below(30))
        .map(|_| match random.below(8) {
            _ if !random.percent(rate) => plain.clone(),
            0 => Reply::NotSent,
            1 => Reply::Refuse(random.pick(&[Code::NotFound, Code::AlreadyExists, Code::FailedPrecondition])),
            2 | 3 => Reply::ActAndBreak(random.pick(&[Code::Unavailable, Code::Internal])),
            4 | 5 => Reply::BreakFirst(random.pick(&[Code::Unavailable, Code::Internal])),
            6 => Reply::Slow(Duration::from_millis(random.pick(&[10, 700, 3_000, 29_000, 40_000]))),
            _ => Reply::Hang,
        })
        .collect()
}

/// What the program brings where nothing fails.
pub(crate) async fn undisturbed(input: &Input) -> Result<String, Code> {
    let world = World::new(services(), register);
    let result = world.run::<Interpreter>(input.clone()).await;
    probe_kill(&world);
    result.map(|output| output.text).map_err(|failure| failure.code())
}
