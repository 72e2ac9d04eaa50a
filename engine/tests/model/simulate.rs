//! One seed: a world, its runs, and everything that happens to them until they rest.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use engine::engine::{EngineError, Start};
use engine::store::sqlite::CommitFault;
use engine::store::{JournalEntry, RequestKey, Requester, Store as _};
use engine::testing::{Probe, World};
use engine::workflow::NameTaken;
use engine::{Code as Status, Limits, Registry, State, Workflow};
use prost::Message;
use uuid::Uuid;

use crate::check;
use crate::code::Code;
use crate::ledger::Ledger;
use crate::messages::{Input, services};
use crate::misfortune::Lost;
use crate::operators::{Act, Order, all_runs};
use crate::program::{Random, UNDOING};
use crate::wall::Wall;
use crate::workflow::Interpreter;

/// What the model knows of a run.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) id: Uuid,
    pub(crate) input: Input,
    pub(crate) deadline: Option<Duration>,
}

pub(crate) struct Simulation {
    pub(crate) seed: u64,
    pub(crate) random: Random,
    pub(crate) runs: Vec<Run>,
    pub(crate) faults: bool,
    pub(crate) operators: bool,
    pub(crate) orders: Vec<Order>,
    pub(crate) ledger: Ledger,
    pub(crate) code: Code,
    pub(crate) wall: Wall,
    /// Whether code was begun without an end.
    flooded: bool,
    /// How many runs a replica has in memory at most.
    pub(crate) room: u32,
    pub(crate) problems: Vec<String>,
    /// Every journal as it was last seen.
    pub(crate) journals: BTreeMap<Uuid, Vec<JournalEntry>>,
    /// The longest that a point of a replica takes.
    pub(crate) delay: Duration,
    /// Whether operators decide what is in doubt while other effects of the run are still in flight.
    pub(crate) attentive: bool,
    /// Whether its runs do nothing but take back what they did.
    pub(crate) settles: bool,
    /// The longest that the answer to a claim or a release takes.
    late: Duration,
    pub(crate) lost: Lost,
}

/// Adds the workflow to what a replica can run.
fn registering(code: &Code) -> impl Fn(&mut Registry) -> Result<(), NameTaken> + use<> {
    let code = code.clone();
    move |registry| {
        let code = code.clone();
        registry.register::<Interpreter>(move || Interpreter { code: code.clone() })
    }
}

/// What came of a seed.
#[derive(Default)]
pub(crate) struct Tried {
    pub(crate) problems: Vec<String>,
    /// What services and journals saw.
    pub(crate) trace: Vec<String>,
}

pub(crate) fn try_seed(seed: u64) -> Tried {
    let tried = catch_unwind(AssertUnwindSafe(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        match runtime {
            Ok(runtime) => runtime.block_on(Simulation::new(seed).go()),
            Err(error) => Tried { problems: vec![error.to_string()], ..Tried::default() },
        }
    }));
    tried.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Tried { problems: vec![text.unwrap_or_default()], ..Tried::default() }
    })
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let delay = Duration::from_millis(random.pick(&[0, 0, 3, 30]));
        let (faults, operators) = (random.percent(65), random.percent(50));
        let late = Duration::from_millis(random.pick(&[0, 0, 40, 5_000]));
        let (wall, attentive) = (Wall::new(&mut random), random.percent(40));
        let lost = Lost::new(&mut random);
        // In some seeds, all is about effects in doubt that are settled and taken back while an operator looks on.
        let settles = seed % 8 == 5;
        let (faults, operators, attentive) = (faults || settles, operators || settles, attentive || settles);
        let lost = if settles { Lost::LATE } else { lost };
        Self {
            seed,
            random,
            runs: Vec::new(),
            faults,
            operators,
            orders: Vec::new(),
            ledger: Ledger::default(),
            code: Code::default(),
            wall,
            flooded: false,
            room: 0,
            problems: Vec::new(),
            journals: BTreeMap::new(),
            delay,
            attentive: operators && attentive,
            settles,
            late,
            lost,
        }
    }

    async fn go(mut self) -> Tried {
        let begun = tokio::time::Instant::now();
        let limits = Limits {
            linger: self.random.pick(&[Duration::ZERO, Duration::from_secs(5)]),
            runs_in_flight: self.random.pick(&[1, 2, 100, 100]),
            write_behind: Duration::from_millis(self.random.pick(&[0, 500, 500])),
            ..Limits::default()
        };
        let linger = if self.settles { Duration::from_secs(120) } else { limits.linger };
        let limits = Limits { linger, ..limits };
        self.room = limits.runs_in_flight;
        let probe = self.probe();
        let mut world = World::with(services(&self.ledger), registering(&self.code), limits, probe);
        // For so many of a hundred store operations, the caller does not learn whether they were done.
        let unanswered = if self.faults { self.random.pick(&[0, 0, 1, 3, 5]) } else { 0 };
        world.time_out(unanswered, true);
        world.answer_late(self.late);
        self.misbehave(&world);
        for n in 0..=self.random.below(3) {
            world = self.start(world, n).await;
        }
        // Some worlds never live longer than a few points.
        let crashes = self.random.pick(&[0, 3, 10, 40]);
        // In some, everything happens within the first moments of the runs.
        let hasty = self.random.percent(40);
        for _ in 0..crashes + self.random.below(8) {
            let pauses: &[u64] = if self.settles {
                &[700, 3_000, 20_000, 20_000]
            } else if hasty {
                &[0, 1, 5, 11, 23, 47, 160]
            } else {
                &[0, 10, 100, 700, 3_000, 20_000, 90_000, 700_000]
            };
            let pause = Duration::from_millis(self.random.pick(pauses));
            let probe = world.probe().clone();
            tokio::select! {
                biased;
                () = probe.death() => {}
                () = tokio::time::sleep(pause) => self.meddle(&world).await,
            }
            self.look(&world).await;
            if self.settles && !probe.is_dead() {
                self.decide_early(&world).await;
            }
            if probe.is_dead() || self.random.percent(if crashes > 0 { 50 } else { 0 }) {
                world = self.crash(world);
            }
        }
        probe_kill(&world);
        self.wall.restarted();
        let mut world = world.crash(Probe::counting());
        world.time_out(0, true);
        self.rest(&world).await;
        if self.flooded {
            return self.tried();
        }
        for _ in 0..if self.operators { 3 } else { 0 } {
            // Runs that rest are taken up again, into new failures and crashes, some by better code.
            if self.random.percent(30) {
                self.code.mend();
            }
            self.misbehave(&world);
            world.time_out(unanswered, true);
            for _ in 0..4 {
                self.operate(&world).await;
            }
            if self.random.percent(60) {
                for _ in 0..self.random.below(4) {
                    let pause = Duration::from_millis(self.random.pick(&[0, 3, 50, 900, 20_000]));
                    tokio::time::sleep(pause).await;
                    world = self.crash(world);
                }
                world.probe().kill();
                self.wall.restarted();
                world = world.crash(Probe::counting());
            }
            world.time_out(0, true);
            self.rest(&world).await;
            if self.flooded {
                return self.tried();
            }
        }
        check::at_rest(&mut self, &world).await;
        self.code.mend();
        self.lead_to_the_end(&world).await;
        if self.flooded {
            return self.tried();
        }
        check::at_the_end(&mut self, &world).await;
        let trace = check::trace(&self, &world, begun).await;
        Tried { problems: self.problems, trace }
    }

    /// The outcome of a seed that is not worth more time.
    fn tried(self) -> Tried {
        Tried { problems: self.problems, trace: Vec::new() }
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
        self.wall.restarted();
        probe_kill(&world);
        let world = world.crash(self.probe());
        self.misbehave(&world);
        world
    }

    /// Starts a run under a request id; whoever gets no answer asks again.
    async fn start(&mut self, mut world: World, n: u64) -> World {
        let number = self.seed.wrapping_mul(31).wrapping_add(n);
        let number = if self.settles { number | UNDOING } else { number };
        let input = Input { text: format!("run{n}"), number };
        let encoded = input.encode_to_vec();
        let deadline = self.random.percent(25).then(|| Duration::from_secs(self.random.pick(&[1, 30, 30, 600])));
        let id = Uuid::from_u128(u128::from(self.seed) << 8 | u128::from(n));
        let twice = self.random.percent(20);
        loop {
            let start = Start {
                workflow: Interpreter::NAME.to_owned(),
                input: encoded.clone().into(),
                asked: Some(Requester {
                    request: Some(RequestKey { id, hash: [0; 32] }),
                    ..Requester::new("model", "")
                }),
                deadline,
            };
            let probe = world.probe().clone();
            tokio::select! {
                biased;
                () = probe.death() => world = self.crash(world),
                started = start_at(&world, start, twice) => match started {
                    Ok(started) => {
                        if started.iter().any(|run| *run != started[0]) {
                            self.problems.push(format!("D4: one request started {started:?}"));
                        }
                        self.runs.push(Run { id: started[0], input, deadline });
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

    /// What operators and disks do.
    async fn meddle(&mut self, world: &World) {
        if self.random.percent(25) {
            self.wall.set(&mut self.random, world);
        }
        match self.random.below(10) {
            0 | 1 if self.faults || self.operators => {
                let fault = self.random.pick(&[CommitFault::Before, CommitFault::After]);
                world.store().fail_next_commit(fault);
            }
            2 if self.operators => {
                let grace = Duration::from_millis(self.random.pick(&[0, 50, 5_000, 60_000]));
                let probe = world.probe().clone();
                tokio::select! {
                    biased;
                    () = probe.death() => {}
                    _ = world.engine().drain(grace) => {
                        // A drain waits five seconds for the last answers.
                        if world.engine().in_flight() > 0 && self.late < Duration::from_secs(1) {
                            self.problems.push("a drain left runs in memory".to_owned());
                        }
                    }
                }
                probe.kill();
            }
            3..=8 if self.operators => self.operate(world).await,
            _ => self.signal(world).await,
        }
    }

    /// Sends a run a message that no other is like.
    async fn signal(&mut self, world: &World) {
        let Some(run) = (!self.runs.is_empty()).then(|| self.random.pick(&self.runs).id) else { return };
        let name = self.random.pick(&["left", "right"]);
        let message = Input { text: "message".to_owned(), number: self.random.next() };
        let order = Order::new(&mut self.random, run, Act::Signal { name, message });
        self.orders.push(order);
        self.ask_all(world, vec![self.orders.len() - 1]).await;
    }

    /// A journal only grows: what was durable once stays as it was.
    pub(crate) async fn look(&mut self, world: &World) {
        for row in all_runs(world).await {
            let Ok(now) = world.store().journal(row.id, 0, 100_000).await else { continue };
            let known = self.journals.entry(row.id).or_default();
            if now.len() < known.len() || now[..known.len()] != known[..] {
                self.problems.push(format!("the journal of {} lost or changed a durable entry", row.id));
            }
            *known = now;
            let reason = &row.status.reason;
            let explained = reason.starts_with("UNDO_FAILED") || self.code.explains(reason);
            if row.status.state == State::Blocked && !explained {
                self.problems.push(format!("{} is BLOCKED: {reason}", row.id));
            }
        }
    }

    /// Lets time pass; says whether code was begun without an end meanwhile.
    pub(crate) async fn floods(&mut self, world: &World, span: Duration) -> bool {
        let (slice, mut left) = (Duration::from_secs(600), span);
        while !left.is_zero() {
            tokio::time::sleep(left.min(slice)).await;
            left = left.saturating_sub(slice);
            if self.code.is_endless() {
                let calls = world.services().calls();
                self.problems.push(format!("code is begun without an end, after {calls} calls"));
                self.flooded = true;
                return true;
            }
        }
        false
    }

    /// Waits until every run has ended or only an operator can move it.
    async fn rest(&mut self, world: &World) {
        let mut pause = Duration::from_millis(500);
        // Where all is about effects in doubt, an operator looks at what is settled while it is.
        let closely = if self.settles { 130 } else { 0 };
        for look in 0..40 + closely {
            if self.floods(world, pause).await {
                return;
            }
            pause = if look < closely { Duration::from_secs(10) } else { pause * 2 };
            pause = pause.min(Duration::from_secs(4 * 3_600));
            self.look(world).await;
            self.decide_early(world).await;
            let mut all = true;
            for row in all_runs(world).await {
                all &= !row.owned;
                all &= row.status.state.is_end() || check::waits_for_an_operator(world, row.id).await;
            }
            if all && world.engine().in_flight() == 0 {
                return;
            }
        }
    }
}

/// Starts a run, perhaps by two requests with one id at the same moment.
async fn start_at(world: &World, start: Start, twice: bool) -> Result<Vec<Uuid>, EngineError> {
    if !twice {
        return Ok(vec![world.engine().start(start).await?.id]);
    }
    let (one, other) = tokio::join!(world.engine().start(start.clone()), world.engine().start(start));
    Ok(vec![one?.id, other?.id])
}

fn probe_kill(world: &World) {
    world.probe().kill();
}

/// What the program brings where nothing fails.
pub(crate) async fn undisturbed(input: &Input) -> Result<String, Status> {
    let code = Code::default();
    code.mend();
    let world = World::new(services(&Ledger::default()), registering(&code));
    let result = world.run::<Interpreter>(input.clone()).await;
    probe_kill(&world);
    result.map(|output| output.text).map_err(|failure| failure.code())
}
