//! The real program as a process: killed, stopped, frozen and started twice, while a service counts what it does.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod audit;
mod away;
mod clocks;
mod copies;
mod disk;
mod disks;
mod durability;
mod freeze;
mod kills;
mod load;
mod owners;
mod process;
mod proof;
mod replicas;
mod shutdown;
mod stories;
mod world;

use std::time::Duration;

/// Time within which runs come to their end once nothing is in their way.
const SETTLED: Duration = Duration::from_secs(40);

/// Users that each run of `test.invite` creates, also one that a schedule starts without an input.
const USERS: u32 = 4;

/// Flags for the last start, so that there is an end to new runs.
const WITHOUT_SCHEDULES: [&str; 2] = ["--set", "schedules.invite.enabled=false"];
