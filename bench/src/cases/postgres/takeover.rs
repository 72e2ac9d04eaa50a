//! What comes after the kill of a replica with many calls in flight: how soon the other one has its runs, and whether anything is
//! done twice.

use std::time::{Duration, Instant};

use anyhow::ensure;
use engine::Workflow as _;
use tokio::time::sleep;

use super::Database;
use crate::How;
use crate::echo::{Manner, now, span};
use crate::load::{BYTES, Until, start_each, until_over};
use crate::process::Echo;
use crate::proto::bench::v1::EffectsRequest;
use crate::report::{Figure, Report};
use crate::sample::{bytes, median};
use crate::workflows::Effects;

/// How long each call takes, and how many a run makes.
const CALL: Duration = Duration::from_secs(1);
const STEPS: i32 = 2;

/// Once one of so many runs has its first call behind it, no call is answered any more until the kill.
const ANSWERED: usize = 8;

/// Starts in flight at the same time.
const AT_ONCE: usize = 256;

/// The lease that applies if nothing is said, in seconds, and how much later the runs may be taken.
const LEASE: f64 = 15.0;
const LATER: f64 = 5.0;

const LOOK: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(120);

/// What came after one kill, in seconds since then.
struct Kill {
    first_call: f64,
    over: f64,
    repeated: f64,
    doubled: f64,
}

pub(super) async fn measure(runs: usize, how: &How, report: &mut Report) -> anyhow::Result<()> {
    let mut kills = Vec::new();
    for _ in 0..how.rounds {
        kills.push(kill(runs, how).await?);
    }
    let of = |figure: fn(&Kill) -> f64| median(kills.iter().map(figure).collect());
    let case = "postgres";
    report.add(Figure::new(case, "kill to the first call of the other replica", of(|kill| kill.first_call), "s"));
    let over = Figure::new(case, format!("kill to the end of {runs} runs"), of(|kill| kill.over), "s");
    report.add(over.at_most(LEASE + LATER));
    report.add(Figure::new(case, "calls sent again", of(|kill| kill.repeated), "calls"));
    report.add(Figure::new(case, "effects doubled", of(|kill| kill.doubled), "effects").at_most(0.0));
    Ok(())
}

async fn kill(runs: usize, how: &How) -> anyhow::Result<Kill> {
    let echo = Echo::start_with(Manner { effect_delay: CALL, hold_after: Some(runs / ANSWERED), ..Manner::default() })?;
    let database = Database::new().await;
    let killed = database.replica(&echo, how).await?;
    let input = |number: usize| EffectsRequest { name: number.to_string(), steps: STEPS, bytes: BYTES };
    start_each(&killed, Effects::NAME, AT_ONCE, 0..runs, Until::Accepted, input).await?;
    let until = Instant::now() + PATIENCE;
    loop {
        let account = echo.account(0).await?;
        if account.effects - account.answered == runs as u64 {
            break;
        }
        ensure!(Instant::now() < until, "of {runs} runs not each has a call in flight: {account:?}");
        sleep(LOOK).await;
    }
    let other = database.replica(&echo, how).await?;
    let (begun, moment) = (Instant::now(), now());
    drop(killed.kill()?);
    echo.release().await?;
    let over = until_over(&other, Effects::NAME, PATIENCE).await?;
    let account = echo.account(moment).await?;
    let all = u64::try_from(STEPS)? * runs as u64;
    ensure!(account.answered == all, "{} of {all} effects were answered", account.answered);
    other.stop().await?;
    Ok(Kill {
        first_call: span(moment, account.first_micros).as_secs_f64(),
        over: (over - begun).as_secs_f64(),
        repeated: bytes(account.repeated),
        doubled: bytes(account.doubled),
    })
}
