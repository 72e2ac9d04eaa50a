//! The real program as a process: killed, stopped, frozen and started twice, while the services count what it does.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod audit;
mod clocks;
mod disk;
mod disks;
mod durability;
mod freeze;
mod kills;
mod load;
mod owners;
mod process;
mod shutdown;
mod stories;

use std::collections::BTreeMap;
use std::time::Duration;

use demo::{Faults, Settings, World};

/// Time within which runs come to their end once nothing is in their way.
const SETTLED: Duration = Duration::from_secs(40);

/// Flags for the last start, so that there is an end to new runs.
const WITHOUT_SCHEDULES: [&str; 4] =
    ["--set", "schedules.send_due.enabled=false", "--set", "schedules.analyze_emotions.enabled=false"];

/// Services that fail now and then, half of the time after they did what was asked, and users who are due every two
/// seconds and write all the time.
async fn world(seed: u64) -> World {
    let faults = Faults {
        error_rate: 0.05,
        after_effect_rate: 0.5,
        delay: Duration::from_millis(4),
        jitter: Duration::from_millis(16),
        ..Faults::default()
    };
    let settings = Settings {
        seed,
        users: 40,
        entries: 30,
        time_scale: 150.0,
        faults: BTreeMap::from([(String::new(), faults)]),
        life: Some(Duration::from_millis(150)),
        ..Settings::default()
    };
    World::start(settings).await.unwrap()
}
