//! A process whose wall clock is set while it runs: its schedules lose no tick, start none twice, and people see what happened.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use server::proto::orchestrator::admin::v1::schedule_service_client::ScheduleServiceClient;
use server::proto::orchestrator::admin::v1::{ListRunsRequest, ListTicksRequest, TickOutcome};
use tempfile::TempDir;

use crate::process::{Orchestrator, channel};
use crate::replicas::replicas;
use crate::world::World;

const HOUR: i64 = 3_600;

/// The wall clock of a process.
pub(crate) struct WallClock {
    directory: TempDir,
    set_by: File,
}

impl WallClock {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/processes/wall_clock.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(directory.path().join("wall_clock.so")).arg(source);
        assert!(compiler.status().unwrap().success(), "a C compiler is needed");
        let set_by = File::create(directory.path().join("set_by")).unwrap();
        let clock = Self { directory, set_by };
        clock.set(0);
        clock
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What starts a process that goes by this clock.
    pub(crate) fn launcher(&self) -> Vec<String> {
        let of = |name: &str, file: &str| format!("{name}={}", self.path(file).display());
        vec!["env".to_owned(), of("LD_PRELOAD", "wall_clock.so"), of("CLOCK_FILE", "set_by")]
    }

    /// Sets it to this many seconds after the machine's.
    pub(crate) fn set(&self, seconds: i64) {
        self.set_by.write_all_at(&(seconds * 1_000_000_000).to_ne_bytes(), 0).unwrap();
    }
}

/// What became of each second, and why, in the order of the ledger.
async fn told(orchestrator: &Orchestrator) -> BTreeMap<i64, Vec<(TickOutcome, String)>> {
    let request = ListTicksRequest { schedule: "invite".to_owned(), page_size: 1_000, ..Default::default() };
    let mut schedules = ScheduleServiceClient::new(channel(orchestrator.admin()));
    let ticks = schedules.list_ticks(request).await.unwrap().into_inner().ticks;
    let mut told: BTreeMap<i64, Vec<_>> = BTreeMap::new();
    for tick in ticks.iter().rev() {
        let (first, last) = (tick.first_time.unwrap().seconds, tick.last_time.unwrap().seconds);
        for second in first..=last {
            told.entry(second).or_default().push((tick.outcome(), tick.reason.clone()));
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_whose_wall_clocks_are_minutes_apart_go_by_the_clock_of_their_database() {
    let world = World::unreliable().await;
    let clocks = [0, 7 * 60, -7 * 60].map(|seconds| {
        let clock = WallClock::new();
        clock.set(seconds);
        clock
    });
    let mut replicas = replicas(&world, clocks.len()).await;
    let first = jiff::Timestamp::now().as_second();
    for (replica, clock) in replicas.iter_mut().zip(&clocks) {
        replica.launched_by(clock.launcher());
        replica.start(&[]).await;
    }
    tokio::time::sleep(Duration::from_secs(12)).await;

    let told = told(&replicas[1]).await;
    let now = jiff::Timestamp::now().as_second();
    assert!(told.keys().all(|second| (first..=now).contains(second)), "{first} to {now}: {told:?}");
    assert!(told.len() >= 8, "no second is left out: {told:?}");
    assert_eq!(told.values().find(|rows| rows.len() > 1), None, "each once");
    let runs = replicas[2].runs().list_runs(ListRunsRequest { page_size: 100, ..Default::default() }).await.unwrap();
    for run in runs.into_inner().runs {
        let created = run.create_time.unwrap().seconds;
        assert!((first..=now).contains(&created), "{first} to {now}: {run:?}");
    }
    for replica in &mut replicas {
        replica.stop(Duration::from_secs(30)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wall_clock_that_is_set_loses_no_tick_and_is_shown() {
    let world = World::unreliable().await;
    let clock = WallClock::new();
    let mut orchestrator = Orchestrator::over(&world);
    orchestrator.launched_by(clock.launcher());
    orchestrator.start(&[]).await;
    for hours in [6, 0, -2, 0] {
        tokio::time::sleep(Duration::from_millis(4_300)).await;
        clock.set(hours * HOUR);
    }
    tokio::time::sleep(Duration::from_secs(4)).await;

    let told = told(&orchestrator).await;
    // Those of now; the others are of the hours before and after.
    let last = jiff::Timestamp::now().as_second() - 2;
    let first = *told.keys().find(|second| **second > last - HOUR).unwrap();
    assert!(last - first > 10, "{first} to {last}");
    for second in first..=last {
        let rows = told.get(&second).map_or(&[][..], Vec::as_slice);
        assert_eq!(rows.len(), 1, "{second} of {first} to {last}: {rows:?}");
        // While the clock was wrong it came at another time.
        let (outcome, reason) = &rows[0];
        let why = ["the clock was set forward", "the clock was ahead"];
        assert!(*outcome != TickOutcome::Missed || why.iter().any(|why| reason.starts_with(why)), "{second}: {reason}");
    }
    let twice = told.iter().find(|(_, rows)| rows.len() > 1);
    assert_eq!(twice, None);

    let warnings = orchestrator.logged(&["WARN"]);
    let set: Vec<&str> = warnings
        .iter()
        .filter_map(|line| line["message"].as_str())
        .filter(|text| text.contains("wall clock"))
        .collect();
    assert_eq!(set.len(), 4, "once for each: {set:?}");
    let status = |flags: &[&str]| {
        let mut asked = Command::new(env!("CARGO_BIN_EXE_test-app"));
        let answer =
            asked.args(["status", "--server", &orchestrator.admin().to_string()]).args(flags).output().unwrap();
        String::from_utf8(answer.stdout).unwrap()
    };
    let shown = status(&[]);
    assert!(shown.contains("set 4 times since the start") && shown.contains("forward by "), "{shown}");
    let shown: serde_json::Value = serde_json::from_str(&status(&["--output", "json"])).unwrap();
    let steps = shown["clockSteps"].as_array().unwrap().iter();
    let seconds = steps.map(|step| step["by"].as_str().unwrap().trim_end_matches('s').parse::<f64>().unwrap());
    for (found, hours) in seconds.zip([2.0, -2.0, -6.0, 6.0]) {
        assert!((found - hours * 3_600.0).abs() < 1.0, "{shown}");
    }
    orchestrator.stop(Duration::from_secs(30)).await;
}
