//! `fanout`: a branch of a run compared with a run of its own, and what a kill in the middle of a wide run costs.

use std::time::{Duration, Instant};

use crate::proto::bench::v1::{EffectsRequest, FanOutRequest};
use anyhow::ensure;
use engine::Workflow as _;
use tokio::time::sleep;

use crate::How;
use crate::echo::{Manner, span};
use crate::load::{BYTES, Until, start_each, until_over};
use crate::process::{Echo, Options, Orchestrator};
use crate::report::{Figure, Report};
use crate::sample::{bytes, count, median};
use crate::workflows::{Effects, FanOut};

/// Branches, or runs, at the same time.
const AT_ONCE: usize = 256;

/// Longer than what a run learned is written behind.
const WRITTEN: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) async fn measure(branches: usize, how: &How, report: &mut Report) -> anyhow::Result<()> {
    let (mut runs, mut run) = (Vec::new(), Vec::new());
    for _ in 0..how.rounds {
        runs.push(cost(branches, how, Shape::Runs).await?);
        run.push(cost(branches, how, Shape::Branches).await?);
    }
    let of = |costs: &[Cost], figure: fn(&Cost) -> f64| median(costs.iter().map(figure).collect());
    let time = Figure::new("fanout", "time of a branch, beside a run", of(&run, |cost| cost.time), "us");
    report.add(time.beside(of(&runs, |cost| cost.time)).at_most(1.5));
    let cpu = Figure::new("fanout", "CPU of a branch, beside a run", of(&run, |cost| cost.cpu), "us");
    report.add(cpu.beside(of(&runs, |cost| cost.cpu)).at_most(1.5));
    let memory = |costs| of(costs, |cost| cost.peak);
    report.add(Figure::new("fanout", "peak memory, beside runs", memory(&run), "MB").beside(memory(&runs)));

    let mut kills = Vec::new();
    for _ in 0..how.rounds {
        kills.push(kill(branches, how).await?);
    }
    let of = |figure: fn(&Kill) -> f64| median(kills.iter().map(figure).collect());
    report.add(Figure::new("fanout", "branches done at the kill", of(|kill| kill.done), "branches"));
    report.add(Figure::new("fanout", "done ones sent again", of(|kill| kill.done_again), "calls").at_most(0.0));
    report.add(Figure::new("fanout", "start to first call", of(|kill| kill.first_call), "s").at_most(0.5));
    report.add(Figure::new("fanout", "start to end", of(|kill| kill.over), "s"));
    report.add(Figure::new("fanout", "effects doubled", of(|kill| kill.doubled), "effects").at_most(0.0));
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// A run for each effect.
    Runs,
    /// A branch of one run for each.
    Branches,
}

/// Of one effect in microseconds, and megabytes for all of them.
struct Cost {
    time: f64,
    cpu: f64,
    peak: f64,
}

async fn cost(effects: usize, how: &How, shape: Shape) -> anyhow::Result<Cost> {
    let echo = Echo::start(Duration::ZERO)?;
    let options = Options { folder: how.folder.clone(), ..Options::default() };
    let orchestrator = Orchestrator::start(&echo, &options).await?;
    // Connections, statements and caches are there before anything is counted.
    of_shape(&orchestrator, "warm", effects.div_ceil(10), shape).await?;
    let before = orchestrator.usage()?;
    let took = of_shape(&orchestrator, "done", effects, shape).await?;
    let after = orchestrator.usage()?;
    orchestrator.stop().await?;
    Ok(Cost {
        time: took.as_secs_f64() * 1e6 / count(effects),
        cpu: (after.cpu - before.cpu).as_secs_f64() * 1e6 / count(effects),
        peak: bytes(after.peak_bytes) / 1e6,
    })
}

async fn of_shape(
    orchestrator: &Orchestrator,
    name: &'static str,
    effects: usize,
    shape: Shape,
) -> anyhow::Result<Duration> {
    match shape {
        Shape::Runs => {
            let input = move |number| EffectsRequest { name: format!("{name}/{number}"), steps: 1, bytes: BYTES };
            start_each(orchestrator, Effects::NAME, AT_ONCE, 0..effects, Until::Succeeded, input).await
        }
        Shape::Branches => {
            let input = wide(name, effects)?;
            start_each(orchestrator, FanOut::NAME, 1, 0..1, Until::Succeeded, move |_| input.clone()).await
        }
    }
}

fn wide(name: &str, branches: usize) -> anyhow::Result<FanOutRequest> {
    Ok(FanOutRequest {
        name: name.to_owned(),
        branches: i32::try_from(branches)?,
        limit: i32::try_from(AT_ONCE)?,
        bytes: BYTES,
    })
}

/// What came after one kill; times in seconds since the start of the process.
struct Kill {
    done: f64,
    done_again: f64,
    first_call: f64,
    over: f64,
    doubled: f64,
}

async fn kill(branches: usize, how: &How) -> anyhow::Result<Kill> {
    let echo = Echo::start_with(Manner { hold_after: Some(branches / 2), ..Manner::default() })?;
    let options = Options { folder: how.folder.clone(), ..Options::default() };
    let orchestrator = Orchestrator::start(&echo, &options).await?;
    let input = wide("done", branches)?;
    start_each(&orchestrator, FanOut::NAME, 1, 0..1, Until::Accepted, move |_| input.clone()).await?;
    let until = Instant::now() + PATIENCE;
    while echo.account(0).await?.answered < branches as u64 / 2 {
        ensure!(Instant::now() < until, "half of the branches are not done after {PATIENCE:?}");
        sleep(LOOK).await;
    }
    // Everything that was answered is durable, the rest is in flight.
    sleep(WRITTEN).await;
    let done = echo.account(0).await?.answered;
    let folder = orchestrator.kill()?;
    sleep(LOOK).await;
    echo.release().await?;

    let orchestrator = Orchestrator::start_over(&echo, &options, folder).await?;
    let (started, begun) = (orchestrator.started_micros, Instant::now() - orchestrator.ready_in);
    let over = until_over(&orchestrator, FanOut::NAME, PATIENCE).await?;
    let account = echo.account(started).await?;
    ensure!(account.answered == branches as u64, "{} of {branches} effects were answered", account.answered);
    orchestrator.stop().await?;
    Ok(Kill {
        done: bytes(done),
        done_again: bytes(account.repeated_after_answer),
        first_call: span(started, account.first_micros).as_secs_f64(),
        over: (over - begun).as_secs_f64(),
        doubled: bytes(account.doubled),
    })
}
