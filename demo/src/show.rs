//! Shows what happens: on a terminal a screen that is redrawn each second, elsewhere a line every few seconds.

mod frame;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use demo::World;
use server::proto::orchestrator::admin::v1::{Run, RunState};

use self::frame::{Frame, Style, styled};
use crate::keeper::Keeper;
use crate::lately::{self, Runs};

/// The time between two lines if there is no terminal.
const QUIET: Duration = Duration::from_secs(5);
/// The least and the most runs that are shown.
const RUNS: std::ops::RangeInclusive<usize> = 2..=7;
/// The most lines of the feed that are shown, and that are read.
const FEED: usize = 6;
const FEED_BEHIND: usize = 30;
/// The time between two measurements of the number of calls.
const BEAT: Duration = Duration::from_millis(900);

const TRY: &str = "Try next, in another terminal:";

pub(crate) struct Show {
    terminal: bool,
    began: Instant,
    said: Instant,
    greeted: bool,
    frame: Frame,
    rates: Rates,
}

/// Calls in a second, by service.
struct Rates {
    looked: Instant,
    calls: BTreeMap<String, u64>,
    rates: BTreeMap<String, u64>,
}

/// Everything that can be shown.
pub(crate) struct Scene<'a> {
    pub(crate) world: &'a World,
    /// `None` if there are only the services.
    pub(crate) keeper: Option<&'a Keeper>,
    pub(crate) runs: Option<&'a Runs>,
}

/// The sums over one service.
#[derive(Clone, Copy, Default)]
struct Sums {
    calls: u64,
    effects: u64,
    repeats: u64,
    faults: u64,
}

impl Show {
    pub(crate) fn new(terminal: bool) -> Self {
        let now = Instant::now();
        let rates = Rates { looked: now, calls: BTreeMap::new(), rates: BTreeMap::new() };
        Self { terminal, began: now, said: now, greeted: false, frame: Frame::default(), rates }
    }

    pub(crate) fn update(&mut self, scene: &Scene<'_>) -> std::io::Result<()> {
        if self.terminal {
            self.draw(scene);
            return self.frame.show();
        }
        if !self.greeted {
            self.greeted = true;
            return greet(scene);
        }
        if self.said.elapsed() >= QUIET {
            self.said = Instant::now();
            return self.say(&line(scene));
        }
        Ok(())
    }

    /// Prints something that has just happened.
    pub(crate) fn tell(&mut self, news: &str) -> std::io::Result<()> {
        if self.terminal { self.frame.above(&styled(Style::Bold, news)) } else { self.say(news) }
    }

    /// Prints the summary.
    pub(crate) fn finish(&mut self, scene: &Scene<'_>) -> std::io::Result<()> {
        if self.terminal {
            self.draw(scene);
            return self.frame.show();
        }
        self.say(&line(scene))
    }

    fn say(&self, what: &str) -> std::io::Result<()> {
        writeln!(std::io::stdout().lock(), "{:>5} s  {what}", self.began.elapsed().as_secs())
    }

    fn draw(&mut self, scene: &Scene<'_>) {
        self.frame.clear();
        self.frame.blank();
        self.services(scene.world);
        self.verdict(scene.world);
        let hints = scene.keeper.map(|keeper| hints(keeper, scene.runs)).unwrap_or_default();
        if let Some(runs) = scene.runs {
            let rows: usize = hints.iter().map(|hint| self.frame.rows_of(hint)).sum();
            let below = if hints.is_empty() { 0 } else { rows + 2 };
            self.orchestrator(scene.keeper, runs);
            let room = self.frame.room().saturating_sub(below).clamp(*RUNS.start(), *RUNS.end());
            for run in runs.newest.iter().take(room) {
                self.frame.line(&run_line(run));
            }
            let feed = self.frame.room().saturating_sub(below + 1).min(FEED);
            self.feed(scene.world, feed);
        } else {
            self.feed(scene.world, self.frame.room().min(FEED));
        }
        if !hints.is_empty() {
            self.frame.blank();
            self.frame.line(&styled(Style::Bold, TRY));
            hints.into_iter().for_each(|hint| self.frame.whole(hint));
        }
    }

    fn services(&mut self, world: &World) {
        let sums = sums(world);
        let header =
            format!("{:<14}{:>9}{:>9}{:>10}{:>10}{:>9}", "service", "calls", "per s", "effects", "repeats", "faults");
        self.frame.line(&styled(Style::Bold, &header));
        self.rates.look(&sums);
        let mut idle = Vec::new();
        for (service, _) in world.services() {
            let Sums { calls, effects, repeats, faults } = sums.get(service).copied().unwrap_or_default();
            if calls == 0 {
                idle.push(service);
                continue;
            }
            let rate = self.rates.rates.get(service).copied().unwrap_or_default();
            self.frame.line(&format!("{service:<14}{calls:>9}{rate:>9}{effects:>10}{repeats:>10}{faults:>9}"));
        }
        if !idle.is_empty() {
            self.frame.line(&styled(Style::Dim, &format!("{}: not asked yet", idle.join(", "))));
        }
        self.frame.blank();
    }

    fn verdict(&mut self, world: &World) {
        let doubled = world.ledger().doubled();
        let all = total(world);
        let verdict = match doubled.keys().next() {
            None if all.effects == 0 => styled(Style::Dim, "nothing has happened yet"),
            None => {
                let once = format!("{} effects, each of them once", all.effects);
                format!("{}: 0 doubled, {} repeats recognised", styled(Style::Good, &once), all.repeats)
            }
            Some(first) => {
                let twice = format!("{} effects happened more than once", doubled.len());
                format!("{}, for example {first}", styled(Style::Bad, &twice))
            }
        };
        self.frame.line(&verdict);
    }

    fn orchestrator(&mut self, keeper: Option<&Keeper>, runs: &Runs) {
        self.frame.blank();
        let state = match keeper.map(|keeper| keeper.pid().zip(keeper.age())) {
            None => styled(Style::Dim, "stopped"),
            Some(None) => styled(Style::Bad, "down"),
            Some(Some((pid, age))) => {
                let answers =
                    if runs.answers { styled(Style::Good, "serves") } else { styled(Style::Dim, "does not answer") };
                format!("{answers}, PID {pid}, for {} s", age.as_secs())
            }
        };
        let deaths = match keeper.map_or(0, Keeper::deaths) {
            0 => String::new(),
            1 => ", died once".to_owned(),
            deaths => format!(", died {deaths} times"),
        };
        self.frame.line(&format!("{} {state}{deaths}; {}", styled(Style::Bold, "orchestrator"), states(runs)));
    }

    fn feed(&mut self, world: &World, lines: usize) {
        let mut told: Vec<(String, usize)> = Vec::new();
        for line in world.feed().last(FEED_BEHIND) {
            match told.last_mut() {
                Some((last, times)) if *last == line => *times += 1,
                _ => told.push((line, 1)),
            }
        }
        if lines > 0 && !told.is_empty() {
            self.frame.blank();
        }
        for (line, times) in told.split_off(told.len().saturating_sub(lines)) {
            let times = if times > 1 { format!(" ({times} times)") } else { String::new() };
            self.frame.line(&styled(Style::Dim, &format!("  {line}{times}")));
        }
    }
}

impl Rates {
    fn look(&mut self, sums: &BTreeMap<String, Sums>) {
        let passed = self.looked.elapsed();
        if passed < BEAT {
            return;
        }
        self.looked = Instant::now();
        for (service, sum) in sums {
            let before = self.calls.insert(service.clone(), sum.calls).unwrap_or(0);
            let more = u128::from(sum.calls.saturating_sub(before));
            let rate = more * 1_000 / passed.as_millis().max(1);
            self.rates.insert(service.clone(), u64::try_from(rate).unwrap_or(u64::MAX));
        }
    }
}

/// The first lines if there is no terminal.
fn greet(scene: &Scene<'_>) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if let Some(keeper) = scene.keeper {
        writeln!(out, "\n{TRY}\n")?;
        hints(keeper, scene.runs).iter().try_for_each(|hint| writeln!(out, "  {hint}"))?;
    }
    writeln!(out)
}

/// The commands to try next.
fn hints(keeper: &Keeper, runs: Option<&Runs>) -> Vec<String> {
    let server = keeper.plan().server();
    let server = if server == "http://127.0.0.1:50052" { String::new() } else { format!(" --server {server}") };
    // The command line is in this program, so that nothing has to be compiled for it.
    let program = own_program();
    let cli = |command: &str| format!("{program} orchestrator {command}{server}");
    let mut hints = vec![
        cli("workflows list"),
        cli("runs start notifications.send-due --wait"),
        cli("runs list"),
        cli("schedules list"),
        cli("services list"),
    ];
    hints.extend(keeper.pid().map(|pid| format!("kill -9 {pid}")));
    hints.extend(runs.and_then(|runs| runs.example.as_ref()).map(|run| cli(&format!("runs show {run}"))));
    hints
}

/// This program as a person in the same directory can name it.
fn own_program() -> String {
    let program = std::env::current_exe().unwrap_or_else(|_| "demo".into());
    let here = std::env::current_dir().ok();
    let below = here.as_deref().and_then(|here| program.strip_prefix(here).ok());
    below.unwrap_or(&program).display().to_string()
}

fn run_line(run: &Run) -> String {
    let state = run.state();
    let style = match state {
        RunState::Succeeded => Style::Good,
        _ if lately::has_ended(state) => Style::Bad,
        RunState::Blocked | RunState::NeedsDecision => Style::Bad,
        _ => Style::Plain,
    };
    let ago = run.create_time.as_ref().map_or(0, |time| jiff::Timestamp::now().as_second() - time.seconds);
    let by = if run.schedule.is_empty() { "by hand" } else { "" };
    format!(
        "{:>6}  {:<26} {} {}{}",
        format!("{} s", ago.max(0)),
        run.workflow,
        styled(style, &format!("{:<12}", state.as_str_name())),
        lately::outcome(run),
        if by.is_empty() { String::new() } else { styled(Style::Dim, &format!(" ({by})")) },
    )
}

fn states(runs: &Runs) -> String {
    let all: usize = runs.states.values().sum();
    let mut text = format!("{all} {}", if all == 1 { "run" } else { "runs" });
    for (state, count) in &runs.states {
        // Writing to a string does not fail.
        let _ = write!(text, ", {count} {}", state.as_str_name().to_lowercase().replace('_', " "));
    }
    text
}

/// All figures in one line.
fn line(scene: &Scene<'_>) -> String {
    let Sums { calls, effects, repeats, faults } = total(scene.world);
    let doubled = scene.world.ledger().doubled().len();
    let runs = scene.runs.map(|runs| format!("{}; ", states(runs))).unwrap_or_default();
    format!("{runs}{calls} calls, {faults} of them failed, {effects} effects, {repeats} repeats, {doubled} doubled")
}

fn total(world: &World) -> Sums {
    sums(world).values().fold(Sums::default(), |all, one| Sums {
        calls: all.calls + one.calls,
        effects: all.effects + one.effects,
        repeats: all.repeats + one.repeats,
        faults: all.faults + one.faults,
    })
}

/// By short name: the last part of the package before its version.
fn sums(world: &World) -> BTreeMap<String, Sums> {
    let mut sums: BTreeMap<String, Sums> = BTreeMap::new();
    for (path, method) in world.ledger().methods() {
        let service = path.split('.').nth(1).unwrap_or(&path).to_owned();
        let sum = sums.entry(service).or_default();
        sum.calls += method.count.entered;
        sum.effects += method.count.applied;
        sum.repeats += method.deduplicated;
        sum.faults += method.failed_before + method.failed_after;
    }
    sums
}
