//! `recovery`: what comes after a kill with many calls in flight: how soon, how often, and whether anything is done twice.

use std::time::{Duration, Instant};

use crate::proto::bench::v1::EffectsRequest;
use anyhow::ensure;
use engine::Workflow as _;
use tokio::time::sleep;

use crate::How;
use crate::cases::runs::Case;
use crate::echo::{Manner, span};
use crate::load::{BYTES, Until, keep_in_flight, start_each, until_over};
use crate::process::{Echo, Options, Orchestrator};
use crate::report::{Figure, Report};
use crate::sample::{bytes, count, median};
use crate::workflows::Effects;

/// How long each call takes, and how many a run makes.
const CALL: Duration = Duration::from_secs(1);
const STEPS: i32 = 2;

/// Once one of so many runs has its first call behind it, no call is answered any more until the kill.
const ANSWERED: usize = 8;

/// Starts in flight at the same time.
const AT_ONCE: usize = 256;

/// The load that makes the log grow, and how long each bit of it takes.
const GROWING: usize = 256;
const GROW_FOR: Duration = Duration::from_secs(2);

const LOOK: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) async fn measure(runs: usize, log_megabytes: u64, how: &How, report: &mut Report) -> anyhow::Result<()> {
    kills(runs, None, how, report).await?;
    kills(runs, Some(log_megabytes * 1_000_000), how, report).await
}

/// What came after one kill; times in seconds since the start of the process.
struct Kill {
    log: f64,
    ready: f64,
    first_call: f64,
    over: f64,
    repeated: f64,
    doubled: f64,
    peak: f64,
}

async fn kills(runs: usize, log: Option<u64>, how: &How, report: &mut Report) -> anyhow::Result<()> {
    let mut kills = Vec::new();
    for _ in 0..how.rounds {
        kills.push(kill(runs, log, how).await?);
    }
    let of = |figure: fn(&Kill) -> f64| median(kills.iter().map(figure).collect());
    let case = if log.is_some() { "recovery/log" } else { "recovery" };
    report.add(Figure::new(case, "log at the kill", of(|kill| kill.log), "MB"));
    report.add(Figure::new(case, "start to SERVING", of(|kill| kill.ready), "s"));
    report.add(Figure::new(case, "start to first call", of(|kill| kill.first_call), "s").at_most(0.5));
    report.add(Figure::new(case, format!("start to end of {runs} runs"), of(|kill| kill.over), "s").at_most(5.0));
    let repeated = Figure::new(case, "calls sent again", of(|kill| kill.repeated), "calls").beside(count(runs));
    report.add(repeated.at_most(1.0));
    report.add(Figure::new(case, "effects doubled", of(|kill| kill.doubled), "effects").at_most(0.0));
    report.add(Figure::new(case, "peak memory", of(|kill| kill.peak), "MB"));
    Ok(())
}

async fn kill(runs: usize, log: Option<u64>, how: &How) -> anyhow::Result<Kill> {
    let manner = Manner { effect_delay: CALL, hold_after: Some(runs / ANSWERED), ..Manner::default() };
    let echo = Echo::start_with(manner)?;
    let options = Options { folder: how.folder.clone(), ..Options::default() };
    let orchestrator = Orchestrator::start(&echo, &options).await?;
    // Who reads for long keeps the log from being cut.
    let reader = match log {
        Some(length) => Some(grow_log(&orchestrator, length).await?),
        None => None,
    };
    let input = |number: usize| EffectsRequest { name: number.to_string(), steps: STEPS, bytes: BYTES };
    start_each(&orchestrator, Effects::NAME, AT_ONCE, 0..runs, Until::Accepted, input).await?;
    let until = Instant::now() + PATIENCE;
    loop {
        let account = echo.account(0).await?;
        if account.effects - account.answered == runs as u64 {
            break;
        }
        ensure!(Instant::now() < until, "of {runs} runs not each has a call in flight: {account:?}");
        sleep(LOOK).await;
    }
    let (_, length) = orchestrator.store_bytes();
    let folder = orchestrator.kill()?;
    drop(reader);
    sleep(LOOK).await;
    echo.release().await?;

    let orchestrator = Orchestrator::start_over(&echo, &options, folder).await?;
    let (started, begun) = (orchestrator.started_micros, Instant::now() - orchestrator.ready_in);
    let over = until_over(&orchestrator, Effects::NAME, PATIENCE).await?;
    let account = echo.account(started).await?;
    let all = u64::try_from(STEPS)? * runs as u64;
    ensure!(account.answered == all, "{} of {all} effects were answered", account.answered);
    let peak = bytes(orchestrator.usage()?.peak_bytes) / 1e6;
    let ready = orchestrator.ready_in.as_secs_f64();
    orchestrator.stop().await?;
    Ok(Kill {
        log: bytes(length) / 1e6,
        ready,
        first_call: span(started, account.first_micros).as_secs_f64(),
        over: (over - begun).as_secs_f64(),
        repeated: bytes(account.repeated),
        doubled: bytes(account.doubled),
        peak,
    })
}

/// Makes load while a reader stays open, until the log has this length.
async fn grow_log(orchestrator: &Orchestrator, length: u64) -> anyhow::Result<rusqlite::Connection> {
    let reader = orchestrator.reader()?;
    reader.execute_batch("BEGIN")?;
    reader.query_row("SELECT count(*) FROM store", [], |_| Ok(()))?;
    while orchestrator.store_bytes().1 < length {
        keep_in_flight(orchestrator, Case::Chain.workflow(), GROWING, GROW_FOR).await?;
    }
    Ok(reader)
}
