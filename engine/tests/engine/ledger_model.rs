//! The ledger of a schedule beside a model of it, under operators, crashes, sleep and clocks at random: each nominal time has
//! one row, which says what the model says, and at most one run.
//!
//! `LEDGER_SEEDS` says how many seeds are tried, `LEDGER_FIRST` where they begin. A seed repeats.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use engine::engine::Backfill;
use engine::schedule::{CatchUp, CatchUpMode, Overlap, Spec};
use engine::store::{ListRuns, Requester, RunRow, Schedule, TickOrigin, TickOutcome, TickRow};
use engine::testing::{Probe, World};
use engine::time::Timestamp;
use engine::{Context, Failure, Limits, Registry, State, Workflow};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::common::{Input, Output, Put, services};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const BEGINNING: i64 = 1_767_225_600;
const SEEDS: u64 = 30;
/// What operators, clocks and crashes do in one seed.
const DEEDS: usize = 30;
/// Rows that a ledger keeps.
const KEPT: u64 = 500;

use TickOutcome::{Excluded, Missed, Paused, Started};

struct Job;

impl Workflow for Job {
    const NAME: &'static str = "test.job";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, _input: Input) -> Result<Output, Failure> {
        ctx.call(Put::of("work", 1)).await?;
        Ok(Output::default())
    }
}

/// Small and the same everywhere, so that a seed repeats.
struct Draws(u64);

impl Draws {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }

    fn minutes(&mut self, most: u64) -> Duration {
        MINUTE * u32::try_from(self.below(most)).unwrap()
    }
}

/// What should be known of each minute.
struct Model {
    told: BTreeMap<i64, TickOutcome>,
    /// Which minutes were missed together: these have one row.
    together: BTreeMap<i64, u64>,
    groups: u64,
    /// Minutes of which a run was made, for good.
    started: BTreeSet<i64>,
    paused_at: Option<i64>,
    mode: CatchUpMode,
    excludes: bool,
    /// The rows of all minutes up to this one were dropped.
    dropped: Option<i64>,
}

impl Model {
    fn has_row(&self, minute: i64) -> bool {
        self.dropped.is_none_or(|dropped| minute > dropped)
    }

    fn is_excluded(&self, minute: i64) -> bool {
        self.excludes && minute.rem_euclid(5) == 0
    }

    fn tell(&mut self, minute: i64, outcome: TickOutcome) {
        self.told.insert(minute, outcome);
        self.together.insert(minute, self.groups);
        if outcome == Started {
            self.started.insert(minute);
        }
    }

    /// The replica saw these minutes come.
    fn live(&mut self, after: i64, until: i64) {
        for minute in (after + 1..=until).filter(|minute| !self.started.contains(minute)).collect::<Vec<_>>() {
            let outcome = if self.is_excluded(minute) {
                Excluded
            } else if self.paused_at.is_some() {
                Paused
            } else {
                Started
            };
            self.tell(minute, outcome);
        }
    }

    /// These minutes came, and the replica looked only later.
    fn late(&mut self, after: i64, until: i64) {
        self.groups += 1;
        let minutes: Vec<i64> = (after + 1..=until).filter(|minute| !self.started.contains(minute)).collect();
        let last = minutes.iter().rev().find(|minute| !self.is_excluded(**minute)).copied();
        for minute in minutes {
            let starts = match self.mode {
                CatchUpMode::All => true,
                CatchUpMode::Last => Some(minute) == last,
                CatchUpMode::None => false,
            };
            let outcome = match self.paused_at {
                _ if self.is_excluded(minute) => Excluded,
                // What starts nothing is told as paused if the schedule was, at that time.
                Some(paused) if starts || paused < minute => Paused,
                _ if starts => Started,
                _ => Missed,
            };
            self.tell(minute, outcome);
        }
    }

    fn is_missed(&self, minute: i64) -> bool {
        self.told.get(&minute) == Some(&Missed)
    }

    /// The first minute of the row that stands for this one and the next, if these were missed; none if the model cannot say.
    fn missed_across(&self, to: i64) -> Option<i64> {
        let mut first = to + 1;
        while self.is_missed(first) && self.is_missed(first - 1) && self.has_row(first - 1) {
            if self.together.get(&first) != self.together.get(&(first - 1)) {
                return None;
            }
            first -= 1;
        }
        Some(first)
    }

    /// The clock was set back to this minute.
    fn back(&mut self, to: i64) {
        // Nothing is dealt with again up to the last start whose row is gone.
        let known = self.started.iter().rev().find(|minute| !self.has_row(**minute));
        let to = known.map_or(to, |known| to.max(*known));
        // What was missed under the clock that was ahead, and has come by now, is decided again.
        let first = self.missed_across(to).unwrap();
        self.told.retain(|minute, _| *minute <= to || self.started.contains(minute));
        if first <= to {
            self.late(first - 1, to);
            // They may be late for more than one reason, which is more than one row.
            for minute in first..=to {
                self.groups += 1;
                self.together.insert(minute, self.groups);
            }
        }
    }
}

/// A schedule, its replica and what should be known of it.
struct Trial {
    seed: u64,
    draws: Draws,
    world: World,
    stop: CancellationToken,
    model: Model,
    triggers: usize,
    backfills: BTreeMap<Uuid, (i64, i64)>,
    deleted: usize,
}

fn asked() -> Requester {
    Requester::new("test", "at random")
}

/// Every minute.
fn schedule(model: &Model) -> Schedule {
    let mut spec = Spec::every(MINUTE);
    if model.excludes {
        spec.exclude.patterns.push("*/5 * * * *".to_owned());
    }
    let mut schedule = Schedule::new("each", Job::NAME, spec);
    schedule.policy.overlap = Overlap::AllowAll;
    schedule.policy.catch_up = CatchUp { mode: model.mode, window: MINUTE * 100_000, limit: 1_000 };
    schedule
}

fn loops(world: &World) -> CancellationToken {
    let (engine, stop) = (world.engine().clone(), CancellationToken::new());
    let stopped = stop.clone();
    tokio::spawn(async move { engine.run_schedules(Vec::new(), stopped).await });
    stop
}

fn minute_of(at: Timestamp) -> i64 {
    (at.as_micros() / 1_000_000 - BEGINNING).div_euclid(60)
}

impl Trial {
    async fn begin(seed: u64) -> Self {
        let register = |registry: &mut Registry| registry.register(|| Job);
        let world = World::with(services(), register, Limits::default(), Probe::counting());
        let stop = loops(&world);
        tokio::time::sleep(SECOND).await;
        let model = Model {
            told: BTreeMap::new(),
            together: BTreeMap::new(),
            groups: 0,
            started: BTreeSet::new(),
            paused_at: None,
            mode: CatchUpMode::Last,
            excludes: false,
            dropped: None,
        };
        world.engine().create_schedule(schedule(&model), asked()).await.unwrap();
        let draws = Draws(seed);
        Self { seed, draws, world, stop, model, triggers: 0, backfills: BTreeMap::new(), deleted: 0 }
    }

    fn now(&self) -> i64 {
        minute_of(self.world.clocks().wall())
    }

    /// Time passes while the replica looks, up to a second of a minute that is far from its ends.
    async fn live(&mut self) {
        let before = self.now();
        let (wall, minutes) = (self.world.clocks().wall(), i64::try_from(self.draws.below(4)).unwrap() + 1);
        let second = i64::try_from(self.draws.below(30)).unwrap() + 12;
        let until = Timestamp::from_micros((BEGINNING + (before + minutes) * 60 + second) * 1_000_000);
        tokio::time::sleep(until.since(wall)).await;
        self.model.live(before, self.now());
    }

    /// So long that the loop has looked, and no minute is over.
    async fn look(&self) {
        tokio::time::sleep(SECOND * 6).await;
    }

    async fn do_something(&mut self) {
        let (engine, name, before) = (self.world.engine().clone(), "each".to_owned(), self.now());
        match self.draws.below(13) {
            0 => {
                engine.pause_schedule(name, asked()).await.unwrap();
                self.model.paused_at.get_or_insert(before);
            }
            1 | 2 => {
                drop(engine.resume_schedule(name, asked()).await);
                self.model.paused_at = None;
            }
            3 => {
                engine.trigger_schedule(name, Some(Overlap::AllowAll), asked()).await.unwrap();
                self.triggers += 1;
            }
            4 => {
                let from = i64::try_from(self.draws.below(40)).unwrap() - 20 + before;
                let until = from + 1 + i64::try_from(self.draws.below(10)).unwrap();
                let at = |minute: i64| Timestamp::from_micros((BEGINNING + minute * 60) * 1_000_000);
                let backfill = Backfill { from: at(from), until: at(until), at_once: 2, per_minute: 0 };
                let row = engine.backfill_schedule(name, backfill, asked()).await.unwrap();
                self.backfills.insert(row.id, (from, until));
            }
            5 => {
                let modes = [CatchUpMode::All, CatchUpMode::Last, CatchUpMode::None];
                self.model.mode = modes[usize::try_from(self.draws.below(3)).unwrap()];
                engine.update_schedule(schedule(&self.model), None, asked()).await.unwrap();
            }
            6 => {
                self.model.excludes = !self.model.excludes;
                engine.update_schedule(schedule(&self.model), None, asked()).await.unwrap();
            }
            7 => return self.crash(0).await,
            8 => return self.crash(20).await,
            9 => {
                let forward = self.draws.minutes(25);
                self.world.clocks().set_forward(forward);
                self.model.late(before, self.now());
            }
            10 => {
                let back = self.draws_back();
                self.world.clocks().set_back(back);
                self.model.back(self.now());
            }
            11 => {
                let span = self.draws.minutes(10);
                self.world.clocks().suspend(span);
                self.model.late(before, self.now());
            }
            _ => return self.delete_a_run().await,
        }
        self.look().await;
    }

    /// So many other rows come that none is left of the minutes before.
    async fn flood(&mut self) {
        for _ in 0..=KEPT {
            self.world.engine().trigger_schedule("each".to_owned(), Some(Overlap::AllowAll), asked()).await.unwrap();
        }
        self.triggers += usize::try_from(KEPT).unwrap() + 1;
        self.model.dropped = Some(self.now());
        self.look().await;
    }

    /// By how much the clock is set back: by nothing if the model cannot say what comes of it.
    fn draws_back(&mut self) -> Duration {
        let (back, now) = (self.draws.minutes(25), self.world.clocks().wall());
        let known = self.model.missed_across(minute_of(now.before(back))).is_some();
        if known { back } else { Duration::ZERO }
    }

    /// The replica dies, and another one comes after some minutes, in which the clock may be set back.
    async fn crash(&mut self, most: u64) {
        let before = self.now();
        self.stop.cancel();
        let down = if most == 0 { Duration::ZERO } else { self.draws.minutes(most) };
        tokio::time::sleep(down).await;
        let back = if self.draws.below(3) == 0 { self.draws_back() } else { Duration::ZERO };
        self.world.clocks().set_back(back);
        let world = std::mem::replace(&mut self.world, spare());
        self.world = world.crash(Probe::counting());
        self.stop = loops(&self.world);
        let now = self.now();
        if now < before {
            self.model.back(now)
        } else {
            self.model.late(before, now)
        }
        self.look().await;
    }

    /// Retention, or an operator.
    async fn delete_a_run(&mut self) {
        let runs = self.runs().await;
        let ended: Vec<&RunRow> = runs.iter().filter(|run| run.status.state == State::Succeeded).collect();
        if ended.is_empty() {
            return;
        }
        let run = ended[usize::try_from(self.draws.below(ended.len() as u64)).unwrap()].id;
        self.world.engine().delete(run, asked()).await.unwrap();
        self.deleted += 1;
    }

    async fn runs(&self) -> Vec<RunRow> {
        let filter = ListRuns { limit: 5_000, ..ListRuns::default() };
        self.world.engine().store().list(filter).await.unwrap()
    }

    /// The store loses answers for a while.
    async fn live_with_lost_answers(&mut self) {
        self.world.time_out(20, true);
        self.live().await;
        self.world.time_out(0, false);
        self.look().await;
    }

    async fn check(&self) {
        let seed = self.seed;
        let rows: Vec<TickRow> = self.world.engine().ticks("each", None, 1_000).await.unwrap();
        let own: Vec<&TickRow> = rows.iter().filter(|row| row.origin == TickOrigin::Clock).collect();
        let ledger = shown(&own);
        let mut told: BTreeMap<i64, TickOutcome> = BTreeMap::new();
        for row in &own {
            let minutes = minute_of(row.first)..=minute_of(row.last);
            assert_eq!(row.count, minutes.clone().count() as u64, "seed {seed}: {row:?}");
            for minute in minutes {
                let before = told.insert(minute, row.outcome);
                assert_eq!(before, None, "seed {seed}: minute {minute} has another row: {row:?}");
            }
        }
        let facts = self.world.engine().schedule("each").await.unwrap().facts;
        let all = facts.rows <= KEPT;
        assert_eq!(facts.started, self.model.started.len() as u64, "seed {seed}: no minute starts two runs: {ledger}");
        for (minute, expected) in &self.model.told {
            match (told.get(minute), expected) {
                (Some(found), expected) => assert_eq!(found, expected, "seed {seed}, minute {minute}: {ledger}"),
                (None, _) if all => panic!("seed {seed}: nothing is told of minute {minute}: {ledger}"),
                _ => {}
            }
        }
        let unknown = told.keys().find(|minute| !self.model.told.contains_key(minute));
        assert_eq!(unknown, None, "seed {seed}: {:?} {ledger}", self.now());
        if all {
            let missed = told.values().filter(|outcome| **outcome == Missed).count() as u64;
            assert_eq!(facts.missed, missed, "seed {seed}");
            let last = told.iter().rev().find(|(_, outcome)| **outcome == Missed).map(|(minute, _)| *minute);
            assert_eq!(facts.last_missed.map(minute_of), last, "seed {seed}");
        }
        let runs = self.runs().await;
        assert!(runs.iter().all(|run| run.status.state == State::Succeeded), "seed {seed}");
        if all {
            let started = rows.iter().filter(|row| row.outcome == Started).count();
            // One that a crash cut short is sent again under its key.
            let works: BTreeSet<_> = self.world.services().arrivals().into_iter().map(|arrival| arrival.key).collect();
            let works = works.len();
            assert_eq!((runs.len() + self.deleted, works), (started, started), "seed {seed}: one run for each start");
            let triggers = rows.iter().filter(|row| matches!(row.origin, TickOrigin::Trigger(_))).count();
            assert_eq!(triggers, self.triggers, "seed {seed}");
        }
        let uid = self.world.engine().schedule("each").await.unwrap().uid;
        for known in self.world.engine().store().backfills(uid).await.unwrap() {
            let (from, until) = self.backfills[&known.id];
            let total = u64::try_from(until - from).unwrap();
            assert!(known.ended_at.is_some(), "seed {seed}: {known:?}");
            assert_eq!((known.total, known.started + known.passed), (total, total), "seed {seed}: {known:?}");
            let of_it = rows.iter().filter(|row| row.origin == TickOrigin::Backfill(known.id));
            if all {
                assert_eq!(of_it.map(|row| row.count).sum::<u64>(), total, "seed {seed}");
            }
        }
    }
}

fn shown(rows: &[&TickRow]) -> String {
    let shown = rows.iter().rev().map(|row| {
        let (first, last, at) = (minute_of(row.first), minute_of(row.last), minute_of(row.at));
        format!("\n{} to {last}: {:?} at {at}, {}", first, row.outcome, row.reason)
    });
    shown.collect()
}

/// Stands in while a world is made into another.
fn spare() -> World {
    World::new(services(), |registry| registry.register(|| Job))
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().unwrap())
}

#[tokio::test(start_paused = true)]
async fn whatever_operators_clocks_and_crashes_do_each_time_has_the_row_that_it_should() {
    let first = number("LEDGER_FIRST", 0);
    for seed in first..first + number("LEDGER_SEEDS", SEEDS) {
        let mut trial = Trial::begin(seed).await;
        for deed in 0..DEEDS {
            if deed == DEEDS / 2 && seed % 10 == 9 {
                trial.flood().await;
            }
            if trial.draws.below(6) == 0 {
                trial.live_with_lost_answers().await;
            } else {
                trial.live().await;
            }
            trial.do_something().await;
        }
        trial.live().await;
        trial.live().await;
        trial.check().await;
        trial.stop.cancel();
    }
}
